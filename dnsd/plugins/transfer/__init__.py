"""The plugin `transfer`: whole zones to those who may have them, and word to them when one changes.

AXFR is RFC 5936, IXFR RFC 1995 (a whole zone, or nothing but its SOA), NOTIFY RFC 1996.
Knows who may ask, and how a zone becomes messages; what is in a zone is the business of the plugins that serve it.
"""

from __future__ import annotations

import ipaddress
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dnslib import RR
from msgspec.structs import replace

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Word
from dnsd.plugins.directive import zones
from dnsd.plugins.transfer.notify import Notifier, Target
from dnsd.resolve.answer import ONCE, Answer, Failure, Reason, Refused
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.name import Name
from dnsd.wire.records import Buffer

log = logging.getLogger("dnsd.plugin.transfer")

MESSAGE_OCTETS = 16_000
"""Of records, not compressed, in one message: compression pointers reach 16,383 octets, and packing them takes a few
milliseconds in which nobody else is answered."""
MAX_TRANSFERS = 10
"""Under way at a time, each at the pace of its client; a secondary that is refused comes back."""
DNS_PORT = 53

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Contents:
    """A zone as it is at this moment."""

    soa: RR
    records: Iterable[RR]
    """All but the SOA, made as they are taken."""

    @property
    def serial(self) -> int:
        """Of the SOA record."""
        serial: int = self.soa.rdata.times[0]
        return serial


class Transferable(ABC):
    """A plugin that has whole zones."""

    @abstractmethod
    def contents(self, zone: Name) -> Contents | None:
        """The zone with exactly this name, or None where it is not served here.

        Raises:
            Failure: it is, and cannot be told at present.
        """


class Busy(Failure):
    """As many transfers are under way as may be."""


@dataclass(frozen=True, slots=True)
class Rule:
    """To whom zones may go."""

    zones: tuple[Name, ...]
    networks: tuple[Network, ...]
    targets: tuple[Target, ...]
    """Whom to tell when a zone changes."""

    def allows(self, address: str) -> bool:
        """Whether a client may have the zones."""
        client = ipaddress.ip_address(address.partition("%")[0])
        return any(client in network for network in self.networks)


class Transfer(Plugin):
    """Answers AXFR and IXFR; all other queries pass."""

    name = "transfer"

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._notifier = Notifier()
        self.sources: tuple[Transferable, ...] = ()
        self.running = 0
        """Transfers under way."""

    async def stop(self) -> None:
        """Tell nobody any more."""
        await self._notifier.stop()

    def notify(self, zone: Name) -> None:
        """Tell those who may have `zone` and whose address is known that it has changed (RFC 1996)."""
        rule = self._rule(zone)
        for target in rule.targets if rule else ():
            self._notifier.tell(zone, target)

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The zone as one message after the other; a single SOA for who has it already (RFC 1995 section 4)."""
        if query.type not in (Type.AXFR, Type.IXFR):
            return await next_(query)
        zone, client = names.to_text(query.name), query.client.address
        theirs = query.message.serial if query.type == Type.IXFR else None
        if not query.tcp and theirs is None:
            raise Refused("zones are transferred over TCP")
        rule = self._rule(query.name)
        if rule is None or not rule.allows(client):
            raise Refused(f"{zone} is not to be transferred to {client}")
        if query.type == Type.IXFR and theirs is None:
            raise Failure("IXFR without the SOA record that the client has")
        contents = self._contents(query.name)
        if theirs is not None and (not query.tcp or not _is_newer(contents.serial, theirs)):
            log.info("%s has %s at serial %d; it is at %d", client, zone, theirs, contents.serial)
            return Answer(flags=codes.AA, answer=(contents.soa,), validity=ONCE, reason=Reason("the zone's SOA"))
        if self.running >= MAX_TRANSFERS:
            raise Busy(f"{MAX_TRANSFERS} transfers are under way")
        messages = self._messages(contents, zone, client)
        return replace(next(messages), more=messages)

    def _rule(self, name: Name) -> Rule | None:
        """The rule with the longest zone that `name` is under, by labels."""
        found = [(len(zone), rule) for rule in self._rules for zone in rule.zones if names.is_under(name, zone)]
        return max(found, key=lambda item: item[0])[1] if found else None

    def _contents(self, zone: Name) -> Contents:
        for source in self.sources:
            contents = source.contents(zone)
            if contents is not None:
                return contents
        raise Refused(f"{names.to_text(zone)} is not the name of a zone here")

    def _messages(self, contents: Contents, zone: str, client: str) -> Iterator[Answer]:
        """SOA, records, SOA, in messages of up to MESSAGE_OCTETS."""
        self.running += 1
        sent = 0
        try:
            for part in _parts(contents):
                sent += len(part)
                yield Answer(Rcode.NOERROR, codes.AA, part, validity=ONCE, reason=Reason("a zone transfer"))
            log.info("%s went to %s: %d records, serial %d", zone, client, sent, contents.serial)
        finally:
            self.running -= 1


def _parts(contents: Contents) -> Iterator[list[RR]]:
    part, octets = [contents.soa], size(contents.soa)
    for record in contents.records:
        more = size(record)
        if octets + more > MESSAGE_OCTETS:
            yield part
            part, octets = [], 0
        part.append(record)
        octets += more
    yield [*part, contents.soa]


def size(record: RR) -> int:
    """Octets of a record in a message, or a few more where its names are compressed there."""
    buffer = Buffer()
    record.rdata.pack(buffer)
    return names.wire_length(record.rname.label) + 10 + len(buffer.data)


def _is_newer(ours: int, theirs: int) -> bool:
    """Whether a serial is after another (RFC 1982 section 3.2)."""
    return 0 < (ours - theirs) % 2**32 < 2**31


def setup(directives: Sequence[Directive], context: Context) -> Transfer:
    """The plugin, from its directives."""
    plugin = Transfer([_read(directive, context) for directive in directives])

    def find_sources() -> None:
        plugin.sources = tuple(found for found in context.plugins.values() if isinstance(found, Transferable))

    context.on_ready.append(find_sources)
    return plugin


def _read(directive: Directive, context: Context) -> Rule:
    networks: list[Network] = []
    targets: list[Target] = []
    for option in directive.options:
        words.no_options(option)
        if option.name.text != "to":
            raise words.unknown_option(option, ["to"])
        for word in words.arguments(option, 1):
            _to(word, networks, targets)
    if not networks:
        raise CorefileError(directive.name.position, "'transfer' needs 'to'", "addresses, networks, or * for everybody")
    return Rule(zones(directive.arguments, context), tuple(networks), tuple(targets))


def _to(word: Word, networks: list[Network], targets: list[Target]) -> None:
    """One argument of `to`: `*`, a network, an address, or an address with the port to notify."""
    if word.text == "*":
        networks += [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
        return
    if "/" in word.text:
        networks.append(words.network(word))
        return
    host, port = _split_port(word)
    address = words.ip_address(Word(host, word.position))
    networks.append(ipaddress.ip_network(str(address).partition("%")[0]))
    targets.append((str(address), port))


def _split_port(word: Word) -> Target:
    """The address and port of `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`."""
    host, colon, port = word.text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return word.text.strip("[]"), DNS_PORT
    return host.strip("[]"), words.integer(Word(port, word.position), 1, 65_535)
