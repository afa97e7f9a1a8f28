"""The plugin `file`: answers for zones from zone files. spec.md section 6.3, RFC 1034, RFC 1035.

Knows the directive and how a looked-up answer becomes a reply; the rules of names are in `lookup`, those of the files
in `source`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from dnslib import RR
from msgspec.structs import replace

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive
from dnsd.plugins.directive import fallthrough, zones
from dnsd.plugins.file.lookup import Found, lookup
from dnsd.plugins.file.source import ZoneFile, key_of
from dnsd.plugins.file.tokens import ZoneError
from dnsd.plugins.file.zone import Zone
from dnsd.plugins.transfer import Contents, Transfer, Transferable
from dnsd.resolve.answer import Answer, Failure, NoPlugin, NotServed, Reason, Refused, Validity
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.codes import Ede, Rcode, Type
from dnsd.wire.name import Name

log = logging.getLogger("dnsd.plugin.file")

RELOAD_SECONDS = 60.0
"""Between two looks at a zone file, as in the reference."""
MAX_DEPTH = 10
"""CNAMEs that lead from one zone to another for one query."""


class NotLoaded(Failure):
    """The zone's file could not be read yet."""

    error = Ede.NOT_READY


class File(Plugin, Transferable):
    """Answers names of its zones, and passes the rest on."""

    name = "file"

    def __init__(self, files: Sequence[ZoneFile], resolve: Next) -> None:
        self.files = files
        self._resolve = resolve
        self._of_zone = {zone: file for file in files for zone in file.zones}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Tell secondaries about the zones, and begin to look for changes."""
        for file in self.files:
            file.notify_all()
            if file.interval:
                self._tasks.append(asyncio.create_task(file.follow()))

    async def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def contents(self, zone: Name) -> Contents | None:
        """What a transfer of a zone carries."""
        file = self._of_zone.get(zone)
        if file is None:
            return None
        loaded = _loaded(file, zone)
        return Contents(loaded.soa, loaded.records())

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Answer names of our zones; where `fallthrough` says so, what the zone does not have goes on."""
        origin = next((query.name[i:] for i in range(len(query.name) + 1) if query.name[i:] in self._of_zone), None)
        if origin is None:
            try:
                return await next_(query)
            except NoPlugin as failure:  # a server that is authoritative for zones refuses the others
                raise NotServed(failure.text) from failure
        if query.type in (Type.AXFR, Type.IXFR):
            raise Refused(f"{names.to_text(query.name)} is not to be transferred")
        file = self._of_zone[origin]
        found = lookup(_loaded(file, origin), query.question.asked, query.type, do=query.do)
        validity = Validity(frozenset({key_of(origin)}))
        if found.passes and not found.answer and file.falls_through(query.name):
            answer = await next_(query)
            return replace(answer, validity=answer.validity & validity)
        if found.target is not None and query.depth < MAX_DEPTH:
            return await self._chase(query, found, found.target, validity)
        return _to_answer(found, validity)

    async def _chase(self, query: Query, found: Found, target: Name, validity: Validity) -> Answer:
        """Ask the server's own front door for a CNAME's target; its rcode is that of the whole (RFC 6604 section 3)."""
        other = await self._resolve(replace(query.asking(target), depth=query.depth + 1))
        answer = _to_answer(found, validity & other.validity.steady())
        if not other.written and other.rcode == Rcode.REFUSED:
            return answer
        rcode = other.rcode if other.rcode in (Rcode.NXDOMAIN, Rcode.SERVFAIL) else Rcode.NOERROR
        authority: Sequence[RR] = answer.authority if other.answer and rcode == Rcode.NOERROR else other.authority
        return replace(
            answer,
            rcode=rcode,
            flags=answer.flags | other.flags & codes.TC,
            answer=[*answer.answer, *other.answer],
            authority=authority,
        )


def _loaded(file: ZoneFile, origin: Name) -> Zone:
    zone = file.zones[origin]
    if zone is None:
        raise NotLoaded(f"{file.path} could not be read yet")
    return zone


def _to_answer(found: Found, validity: Validity) -> Answer:
    flags = 0 if found.referral else codes.AA
    return Answer(found.rcode, flags, found.answer, found.authority, found.additional, validity, Reason(found.reason))


def setup(directives: Sequence[Directive], context: Context) -> File:
    """The plugin, from its directives."""
    files = [_read(directive, context) for directive in directives]
    seen: set[Name] = set()
    for directive, file in zip(directives, files, strict=True):
        for zone in sorted(seen.intersection(file.zones)):
            log.warning("%s: %s has a file already; this one counts", directive.name.position, names.to_text(zone))
        seen.update(file.zones)

    def find_transfer() -> None:
        transfer = context.plugins.get("transfer")
        if isinstance(transfer, Transfer):
            for file in files:
                file.notify = transfer.notify

    context.on_ready.append(find_transfer)
    return File(files, context.resolve)


def _read(directive: Directive, context: Context) -> ZoneFile:
    path, *given = words.arguments(directive, 1)
    interval, passing = RELOAD_SECONDS, tuple[Name, ...]()
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "reload":
                interval = words.duration(words.arguments(option, 1, 1)[0])
            case "fallthrough":
                passing = fallthrough(option)
            case _:
                raise words.unknown_option(option, ["reload", "fallthrough"])
    file = ZoneFile(str(Path(context.directory) / path.text), zones(given, context), interval, passing, context.changed)
    try:
        file.load()
    except ZoneError as error:
        raise CorefileError(path.position, str(error)) from error
    except OSError as error:
        if not interval:
            raise CorefileError(path.position, f"cannot read {file.path}: {error.strerror}") from error
        log.warning("cannot read %s: %s; trying again in %gs", file.path, error.strerror, interval)
    return file
