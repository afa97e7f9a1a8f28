"""The plugin `dns64`: IPv6 addresses for IPv4-only names, for clients behind a NAT64. RFC 6147, RFC 6052."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Sequence

import dnslib
from dnslib import RR
from msgspec.structs import replace
from prometheus_client.core import CounterMetricFamily, Metric

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Word
from dnsd.plugins.directive import once
from dnsd.resolve.answer import Answer, Failure, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Class, Rcode, Type

WELL_KNOWN_PREFIX = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 section 2.1."""
PREFIX_LENGTHS = (32, 40, 48, 56, 64, 96)
"""RFC 6052 section 2.2."""
DEFAULT_TTL = 600
"""Seconds that a synthesized record may live at most where no SOA says (RFC 6147 section 5.1.7)."""
IPV4_MAPPED = bytes(10) + b"\xff\xff"
"""The range that is excluded from answers by default (RFC 6147 section 5.1.4)."""
RESERVED_OCTET = 8
"""Of a synthesized address, counted from 0: bits 64 to 71 are zero (RFC 6052 section 2.2)."""


class Dns64(Plugin):
    """Answers AAAA queries that find nothing with the addresses of A records behind a prefix."""

    name = "dns64"

    def __init__(self, prefix: ipaddress.IPv6Network, *, translate_all: bool, allow_ipv4: bool) -> None:
        self.prefix = prefix
        self.translate_all = translate_all
        """Whether names that have IPv6 addresses get synthesized ones all the same."""
        self.allow_ipv4 = allow_ipv4
        """Whether clients that ask over IPv4 are served: they need not be behind the NAT64."""
        self._translated: Counter[str] = Counter()

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin; what it has for A, translated, where it has nothing for AAAA."""
        if not self._is_for(query):
            return await next_(query)
        try:
            own = _without_mapped(await next_(query))
        except Failure as failure:  # and a timeout is one (RFC 6147 section 5.1.3)
            own = failure.answer()
        if own.rcode == Rcode.NXDOMAIN or own.silent:
            return own
        has_addresses = any(record.rtype == Type.AAAA for record in own.answer)
        if has_addresses and not self.translate_all:
            return own
        self._translated[query.client.server] += 1
        ipv4 = await next_(query.asking(query.question.asked, Type.A))
        if has_addresses and not any(map(_is_ipv4, ipv4.answer)):
            return own
        return self._translate(own, ipv4)

    def _is_for(self, query: Query) -> bool:
        if query.type != Type.AAAA or query.question.class_ != Class.IN:
            return False
        if query.do and query.cd:  # the client validates, and what is synthesized is never signed (RFC 6147 section 3)
            return False
        return self.allow_ipv4 or ":" in query.client.address

    def _translate(self, own: Answer, ipv4: Answer) -> Answer:
        """The answer for A with AAAA in the place of A records (RFC 6147 sections 5.1.6 and 5.1.7)."""
        limit = next((record.ttl for record in own.authority if record.rtype == Type.SOA), DEFAULT_TTL)
        return replace(
            ipv4,
            flags=ipv4.flags & codes.TC,
            answer=[self._record(record, limit) if _is_ipv4(record) else record for record in ipv4.answer],
            validity=own.validity & ipv4.validity,
            reason=Reason(f"IPv4 addresses behind {self.prefix}"),
            cached="",
        )

    def _record(self, record: RR, limit: int) -> RR:
        packed = synthesize(self.prefix, bytes(record.rdata.data))
        return RR(record.rname, Type.AAAA, record.rclass, min(record.ttl, limit), dnslib.AAAA(tuple(packed)))

    def metrics(self) -> Iterable[Metric]:
        """How often A records were asked for."""
        translated = CounterMetricFamily(
            "coredns_dns64_requests_translated", "DNS requests translated by dns64.", labels=("server",)
        )
        for server, count in self._translated.items():
            translated.add_metric((server,), count)
        yield translated


def synthesize(prefix: ipaddress.IPv6Network, ipv4: bytes) -> bytes:
    """The 16 octets of an IPv4 address behind a prefix (RFC 6052 section 2.2)."""
    octets = bytearray(prefix.network_address.packed)
    at = prefix.prefixlen // 8
    for octet in ipv4:
        at += at == RESERVED_OCTET
        octets[at] = octet
        at += 1
    return bytes(octets)


def _without_mapped(answer: Answer) -> Answer:
    """The answer without IPv4-mapped addresses, which no client may be given (RFC 6147 section 5.1.4)."""
    if not any(_is_mapped(record) for record in answer.answer):
        return answer
    return replace(answer, answer=[record for record in answer.answer if not _is_mapped(record)])


def _is_ipv4(record: RR) -> bool:
    return record.rtype == Type.A and record.rclass == Class.IN


def _is_mapped(record: RR) -> bool:
    return record.rtype == Type.AAAA and bytes(record.rdata.data[:12]) == IPV4_MAPPED


def setup(directives: Sequence[Directive], context: Context) -> Dns64:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    directive = once(directives)
    prefix, translate_all, allow_ipv4 = WELL_KNOWN_PREFIX, False, False
    for word in words.arguments(directive, 0, 1):
        prefix = _prefix(word)
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "prefix":
                prefix = _prefix(words.arguments(option, 1, 1)[0])
            case "translate_all":
                words.arguments(option, 0, 0)
                translate_all = True
            case "allow_ipv4":
                words.arguments(option, 0, 0)
                allow_ipv4 = True
            case _:
                raise words.unknown_option(option, ["prefix", "translate_all", "allow_ipv4"])
    return Dns64(prefix, translate_all=translate_all, allow_ipv4=allow_ipv4)


def _prefix(word: Word) -> ipaddress.IPv6Network:
    network = words.network(word)
    if not isinstance(network, ipaddress.IPv6Network):
        raise CorefileError(word.position, f"'{word.text}' is not an IPv6 network", "such as 64:ff9b::/96")
    if network.prefixlen not in PREFIX_LENGTHS:
        hint = "one of " + ", ".join(f"/{length}" for length in PREFIX_LENGTHS)
        raise CorefileError(word.position, f"/{network.prefixlen} is not a length for a NAT64 prefix", hint)
    if network.network_address.packed[RESERVED_OCTET]:
        raise CorefileError(word.position, "bits 64 to 71 of a NAT64 prefix are zero", "RFC 6052 section 2.2")
    return network
