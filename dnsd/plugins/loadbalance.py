"""The plugin `loadbalance`: another order of addresses each time. spec.md section 6, RFC 1794."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from dnslib import RR

from dnsd.corefile import read as words
from dnsd.corefile.syntax import Directive
from dnsd.resolve.answer import Answer
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Rcode, Type


class RoundRobin(Plugin):
    """CNAMEs first, then what is neither address nor mail exchanger, then addresses shuffled, then MX shuffled."""

    name = "loadbalance"

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Shuffle, and let whoever keeps the answer rotate it."""
        answer = await next_(query)
        if answer.rcode != Rcode.NOERROR or query.type in (Type.AXFR, Type.IXFR):
            return answer
        return replace(
            answer,
            answer=shuffled(answer.answer),
            authority=shuffled(answer.authority),
            additional=shuffled(answer.additional),
            rotate=True,
        )


def shuffled(records: Sequence[RR]) -> Sequence[RR]:
    """The records in a new order."""
    if len(records) < 2:
        return records
    aliases, others, addresses, exchangers = [], [], [], []
    for record in records:
        if record.rtype == Type.CNAME:
            aliases.append(record)
        elif record.rtype in (Type.A, Type.AAAA):
            addresses.append(record)
        elif record.rtype == Type.MX:
            exchangers.append(record)
        else:
            others.append(record)
    random.shuffle(addresses)
    random.shuffle(exchangers)
    return [*aliases, *others, *addresses, *exchangers]


def setup(directives: Sequence[Directive], context: Context) -> RoundRobin:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    for directive in directives:
        for word in words.arguments(directive, 0, 1):
            words.choice(word, "round_robin")
        words.no_options(directive)
    return RoundRobin()
