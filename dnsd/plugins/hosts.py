"""The plugin `hosts`: addresses and names from a file such as /etc/hosts, and from lines in the Corefile. hosts(5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dnslib
import msgspec
from dnslib import RR, DNSLabel
from msgspec.structs import replace
from prometheus_client.core import GaugeMetricFamily, Metric

from dnsd.cluster.index import Key, pack_address
from dnsd.cluster.schema import reverse_address, zone_of
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option
from dnsd.plugins import textfile
from dnsd.plugins.directive import fallthrough, once, zones
from dnsd.plugins.textfile import TextFile, Unreadable
from dnsd.resolve.answer import Answer, Failure, Reason, Validity
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.name import BadName, Name
from dnsd.wire.records import address, record

log = logging.getLogger("dnsd.plugin.hosts")

DEFAULT_PATH = "/etc/hosts"
DEFAULT_TTL = 3600
MAX_TTL = 65_535
"""Seconds."""
DEFAULT_RELOAD = 5.0
"""Seconds between two looks at the file."""

MAX_ADDRESSES = 4096
"""Of a name: a message has room for no more."""
MAX_NAMES = 256
"""Of an address: lists of unwanted names have a million at 0.0.0.0, which nobody needs and anybody can ask for."""

OCTETS: Mapping[int, int] = {Type.A: 4, Type.AAAA: 16}
"""Of an address, by type."""


class NoSuchHost(Failure):
    """A name in our zones that no line has. Hosts files have no SOA record, so NXDOMAIN cannot be said properly."""


@dataclass(slots=True)
class Table:
    """Addresses by name and names by address, in the order of the lines; nothing is in it twice."""

    addresses: dict[Name, list[bytes]] = field(default_factory=dict)
    """Packed: 4 or 16 octets."""
    names: dict[bytes, list[Name]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.addresses.values())) + sum(map(len, self.names.values()))

    def add(self, packed: bytes, name: Name, *, reverse: bool) -> None:
        """Note that `name` has an address."""
        addresses = self.addresses.setdefault(name, [])
        if packed in addresses or len(addresses) == MAX_ADDRESSES:
            return
        addresses.append(packed)
        hosts = self.names.setdefault(packed, []) if reverse else None
        if hosts is not None and len(hosts) < MAX_NAMES:
            hosts.append(name)


class Settings(msgspec.Struct, frozen=True):
    """What a directive says."""

    zones: tuple[Name, ...]
    ttl: int = DEFAULT_TTL
    reverse: bool = True
    """Whether addresses have PTR records."""
    reload: float = DEFAULT_RELOAD
    """Seconds; 0 for never."""
    fallthrough: tuple[Name, ...] = ()


class Hosts(Plugin):
    """Answers A, AAAA and PTR from two tables: that of the file, replaced when the file changes, and the Corefile's."""

    name = "hosts"

    def __init__(self, settings: Settings, file: TextFile, inline: Table, context: Context) -> None:
        self.settings = settings
        self._file = file
        self._inline = inline
        self._from_file = Table()
        self._changed = context.changed
        self._key: Key = ("hosts", file.path)
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None
        try:
            self.take(file.changed() or "")
        except Unreadable as error:  # it may come yet
            self._trouble = str(error)

    async def start(self) -> None:
        """Begin to look after the file."""
        if self._trouble:
            log.warning("%s", self._trouble)
        if self.settings.reload:
            self._task = asyncio.create_task(textfile.follow(self._file, self.settings.reload, self.take, log))

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take(self, text: str) -> None:
        """Answer from this text from now on; what was kept of the answers from before is dropped."""
        self._from_file = parse(text, self._file.path, self.settings)
        self._changed(frozenset({self._key}))

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The records of the name; a name that is in no line goes on where `fallthrough` says so."""
        if query.type == Type.PTR:
            pointers = self._pointers(query.name)
            return self._found(pointers) if pointers else await self._pass(query, next_)
        if zone_of(query.name, self.settings.zones) is None:
            return await next_(query)
        addresses = self._addresses(query.name)
        if not addresses:
            if zone_of(query.name, self.settings.fallthrough) is None:
                raise NoSuchHost(f"no line for {names.to_text(query.name)}")
            return await self._pass(query, next_)
        octets = OCTETS.get(query.type)
        return self._found([address(query.name, self.settings.ttl, one) for one in addresses if len(one) == octets])

    def _addresses(self, name: Name) -> list[bytes]:
        tables = (self._from_file, self._inline)
        return list(dict.fromkeys(packed for table in tables for packed in table.addresses.get(name, ())))

    def _pointers(self, name: Name) -> list[RR]:
        packed = reverse_address(name)
        if packed is None:
            return []
        tables = (self._from_file, self._inline)
        found = dict.fromkeys(host for table in tables for host in table.names.get(packed, ()))
        return [record(name, Type.PTR, self.settings.ttl, dnslib.PTR(DNSLabel(host))) for host in found]

    def _found(self, records: Sequence[RR]) -> Answer:
        reason = Reason("a line of the hosts file or of the Corefile")
        return Answer(Rcode.NOERROR, codes.AA, records, validity=Validity(frozenset({self._key})), reason=reason)

    async def _pass(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin, which is right until there is a line for the name."""
        answer = await next_(query)
        return replace(answer, validity=answer.validity & Validity(frozenset({self._key})))

    def metrics(self) -> Iterable[Metric]:
        """How much there is, and from when."""
        entries = GaugeMetricFamily(
            "coredns_hosts_entries", "The combined number of entries in hosts and Corefile.", labels=("hostsfile",)
        )
        entries.add_metric((self._file.path,), len(self._from_file) + len(self._inline))
        yield entries
        yield GaugeMetricFamily(
            "coredns_hosts_reload_timestamp_seconds",
            "The timestamp of the last reload of hosts file.",
            self._file.modified,
        )


def parse(text: str, path: str, settings: Settings) -> Table:
    """The lines of a hosts file, `ADDRESS NAME...`; names outside the zones are left out.

    Lines that cannot be used are left out as well: lists of other people's make have some, and the rest is good.
    """
    table = Table()
    unusable: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        packed = pack_address(fields[0].partition("%")[0])
        if packed is None or len(fields) < 2:
            unusable.append(number)
            continue
        try:
            hosts = [names.lower(names.from_text(field)) for field in fields[1:]]
        except BadName:
            unusable.append(number)
            continue
        for host in hosts:
            if zone_of(host, settings.zones) is not None:
                table.add(packed, host, reverse=settings.reverse)
    if unusable:
        log.info("%s: %d lines are no address with names, the first is line %d", path, len(unusable), unusable[0])
    return table


def setup(directives: Sequence[Directive], context: Context) -> Hosts:
    """The plugin, from its directive: a file, zones, and lines of the file's form among the options."""
    directive = once(directives)
    path, zone_words = DEFAULT_PATH, directive.arguments[1:]
    if directive.arguments:
        path = str(Path(context.directory) / directive.arguments[0].text)
    settings = Settings(zones(zone_words, context))
    lines: list[Option] = []
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "ttl":
                settings = replace(settings, ttl=words.integer(words.arguments(option, 1, 1)[0], 1, MAX_TTL))
            case "no_reverse":
                words.arguments(option, 0, 0)
                settings = replace(settings, reverse=False)
            case "reload":
                settings = replace(settings, reload=words.duration(words.arguments(option, 1, 1)[0]))
            case "fallthrough":
                settings = replace(settings, fallthrough=fallthrough(option))
            case _:
                lines.append(option)
    inline = Table()
    for line in lines:
        _add_line(line, inline, settings)
    return Hosts(settings, TextFile(path), inline, context)


def _add_line(line: Option, table: Table, settings: Settings) -> None:
    packed = pack_address(line.name.text.partition("%")[0])
    if packed is None:
        raise words.unknown_option(line, ["ttl", "no_reverse", "reload", "fallthrough"])
    for word in words.arguments(line, 1):
        try:
            host = names.lower(names.from_text(word.text))
        except BadName as error:
            raise CorefileError(word.position, str(error)) from error
        if zone_of(host, settings.zones) is None:
            log.warning("%s: '%s' is in no zone of 'hosts', and is never answered", word.position, word.text)
        else:
            table.add(packed, host, reverse=settings.reverse)
