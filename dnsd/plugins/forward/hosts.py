"""Finds the addresses of upstreams that a stanza names by host name, by asking other name servers. Knows no policy."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from dnsd.plugins.forward.settings import MAX_UPSTREAMS, Target
from dnsd.resolve.answer import Failure
from dnsd.resolve.query import question
from dnsd.wire import name as names
from dnsd.wire.codes import Type
from dnsd.wire.query import Question
from dnsd.wire.response import Response

log = logging.getLogger("dnsd.plugin.forward")

RETRY = 5.0
"""Seconds between two tries."""


async def addresses(targets: Sequence[Target], ask: Callable[[Question], Awaitable[Response]]) -> tuple[Target, ...]:
    """The targets with every host name replaced by its addresses; tries until each has one."""
    found: list[Target] = []
    for target in targets:
        if not target.by_name:
            found.append(target)
            continue
        texts = await _wait_for(target.host, ask)
        server_name = target.server_name or target.host
        found += [replace(target, host=text, by_name=False, server_name=server_name) for text in texts]
    if len(found) > MAX_UPSTREAMS:
        log.warning("%d upstreams, the first %d are used", len(found), MAX_UPSTREAMS)
    return tuple(found[:MAX_UPSTREAMS])


async def _wait_for(host: str, ask: Callable[[Question], Awaitable[Response]]) -> list[str]:
    while True:
        texts = await _look_up(host, ask)
        if texts:
            return texts
        await asyncio.sleep(RETRY)


async def _look_up(host: str, ask: Callable[[Question], Awaitable[Response]]) -> list[str]:
    texts: list[str] = []
    for type_ in (Type.A, Type.AAAA):
        try:
            response = await ask(question(names.from_text(host), type_))
        except Failure as failure:
            log.warning("cannot look up the upstream %s: %s", host, failure.text)
            continue
        texts += [
            str(ipaddress.ip_address(bytes(record.rdata.data))) for record in response.answer if record.rtype == type_
        ]
    if not texts:
        log.warning("the upstream %s has no address", host)
    return texts
