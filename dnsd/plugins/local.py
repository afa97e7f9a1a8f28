"""The plugin `local`: answers names that mean the asking host itself, so that nobody outside is asked for them.

RFC 6761 section 6.3 for `localhost.`, RFC 6303 section 4.2 for the reverse zones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import dnslib
from dnslib import RR, DNSLabel
from prometheus_client.core import CounterMetricFamily, Metric

from dnsd.cluster.schema import zone_of
from dnsd.corefile import read as words
from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import once
from dnsd.resolve.answer import ALWAYS, Answer, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Rcode, Type, type_text
from dnsd.wire.name import Name, is_under, to_text
from dnsd.wire.records import address, record, soa

log = logging.getLogger("dnsd.plugin.local")

TTL = 604_800
"""Seconds: a week, as BIND's and Debian's zone files for these names have it."""
LOCALHOST: Name = (b"localhost",)
ROOT_AT_LOCALHOST: Name = (b"root", b"localhost")
LOOPBACK: Name = (b"1", b"0", b"0", b"127", b"in-addr", b"arpa")
ZONES: tuple[Name, ...] = (LOCALHOST, *((octet, b"in-addr", b"arpa") for octet in (b"0", b"127", b"255")))
ADDRESSES: Mapping[int, bytes] = {Type.A: bytes((127, 0, 0, 1)), Type.AAAA: bytes(15) + b"\1"}


class Local(Plugin):
    """Answers `localhost.`, names below it, names that begin with it, and three reverse zones."""

    name = "local"

    def __init__(self, *, prefix: bool = True) -> None:
        self.prefix = prefix
        """Whether `localhost.example.com.` is the asking host: a resolver's search path makes such names."""
        self.requests = 0
        """Queries for names below `localhost.` and names that begin with it."""

    async def answer(self, query: Query, next_: Next) -> Answer:
        """What the name stands for, whoever asks."""
        name = query.name
        if len(name) > 1 and (name[-1:] == LOCALHOST or (self.prefix and name[:1] == LOCALHOST)):
            self.requests += 1
            log.debug("localhost query for %s %s from %s", to_text(name), type_text(query.type), query.client.address)
            return _answer(name, _host(query))
        zone = zone_of(name, ZONES)
        if zone is None:
            return await next_(query)
        if name == zone or is_under(LOOPBACK, name):  # names above one that exists exist too (RFC 8020)
            return _answer(zone, (_host(query) if zone == LOCALHOST else []) or _rest(query))
        return Answer(Rcode.NXDOMAIN, authority=(_soa(zone),), validity=ALWAYS, reason=_REASON)

    def metrics(self) -> Iterable[Metric]:
        """How often resolvers put `localhost` before or below something."""
        counter = CounterMetricFamily(
            "coredns_local_localhost_requests", "Requests for names below localhost, or beginning with it."
        )
        counter.add_metric([], self.requests)
        yield counter


_REASON = Reason("a name of the asking host itself")


def _host(query: Query) -> list[RR]:
    """The loopback address of the family asked for."""
    packed = ADDRESSES.get(query.type)
    return [] if packed is None else [address(query.name, TTL, packed)]


def _rest(query: Query) -> list[RR]:
    """What the zones have besides addresses."""
    name = query.name
    if name == LOOPBACK and query.type == Type.PTR:
        return [record(name, Type.PTR, TTL, dnslib.PTR(DNSLabel(LOCALHOST)))]
    if name in ZONES and query.type == Type.SOA:
        return [_soa(name)]
    if name in ZONES and query.type == Type.NS:
        return [record(name, Type.NS, TTL, dnslib.NS(DNSLabel(LOCALHOST)))]
    return []


def _answer(zone: Name, records: Sequence[RR]) -> Answer:
    return Answer(answer=records, authority=() if records else (_soa(zone),), validity=ALWAYS, reason=_REASON)


def _soa(owner: Name) -> RR:
    return soa(owner, TTL, LOCALHOST, ROOT_AT_LOCALHOST, (1, 0, 0, 0, TTL))


def setup(directives: Sequence[Directive], context: Context) -> Local:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    directive = once(directives)
    words.arguments(directive, 0, 0)
    prefix = True
    for option in directive.options:
        if option.name.text != "localhost_prefix":
            raise words.unknown_option(option, ["localhost_prefix"])
        words.no_options(option)
        prefix = words.choice(words.arguments(option, 1, 1)[0], "on", "off") == "on"
    return Local(prefix=prefix)
