"""The short way to an upstream: octets in, octets out, for what every plugin of a server block lets pass.

Most names that are forwarded leave the chain of plugins as they came, and so do their answers. Such a query is not
made into objects: its octets go upstream, and those of the response go back and into the cache. Nothing is decided
here that the chain would decide otherwise. A query that some plugin has to see takes the chain; so does an outcome that
some plugin has to see - a failure, records to be put into another order - and the chain finds it in its query then
and does not ask again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from dnsd.plugins.cache import Cache
from dnsd.plugins.forward import Forward
from dnsd.plugins.forward.engine import Outcome, Waiter
from dnsd.plugins.forward.forwarder import Forwarder
from dnsd.resolve.front import Block, Front
from dnsd.resolve.plugin import Plugin
from dnsd.wire import codes
from dnsd.wire.codes import Class, Rcode, Type
from dnsd.wire.name import ROOT, Name, to_wire
from dnsd.wire.query import HEADER, MIN_UDP_SIZE
from dnsd.wire.response import RETURNED, Response

TYPES = frozenset(
    type_.to_bytes(2, "big") + Class.IN.to_bytes(2, "big")
    for type_ in (
        Type.A, Type.NS, Type.CNAME, Type.SOA, Type.PTR, Type.MX, Type.TXT, Type.AAAA, Type.SRV, Type.NAPTR, Type.SVCB,
        Type.HTTPS, Type.CAA,
    )
)  # fmt: skip
"""Types that are asked by the short way, with class IN: data that no plugin treats by its type."""

_HEAD = struct.Struct("!5H").pack
_RCODES = frozenset(map(int, (Rcode.NOERROR, Rcode.NXDOMAIN)))


class Relay:
    """The short way of a server block for the root zone.

    Args:
        gates: the plugins that are asked whether they let a query pass.
        elsewhere: the zones of the listener's other server blocks.
    """

    def __init__(
        self,
        block: Block,
        gates: Iterable[Plugin],
        forwarder: Forwarder,
        cache: Cache | None,
        elsewhere: Iterable[Name],
    ) -> None:
        gates = tuple(gates)
        self.block = block
        self._passes = tuple(plugin.passes for plugin in gates)
        self._returns = tuple(plugin.returns for plugin in gates if type(plugin).returns is not Plugin.returns)
        self._forwarder = forwarder
        self._cache = cache
        self._elsewhere = tuple(map(to_wire, elsewhere))

    def ask(self, query: bytes, type_at: int, waiter: Waiter, now: float) -> bool:
        """Send a plain query upstream and tell `waiter` the outcome; False where the chain has to answer.

        `type_at` is the offset of the question's type, as `wire.query.plain` says.
        """
        end = type_at + 4
        kind = query[type_at:end]
        asked = query[HEADER:type_at].lower()
        if kind not in TYPES or asked.endswith(self._elsewhere):
            return False
        for passes in self._passes:
            if not passes(asked):
                return False
        opt = query[end:]
        if self._cache is not None and not self._cache.lacks(_key(asked, kind, opt), now):
            return False
        return self._forwarder.relay(query[HEADER:end], query[3] & codes.AD, opt, waiter, now)

    def reply(self, query: bytes, type_at: int, outcome: Outcome, server: str) -> bytes | None:
        """The reply to a query that was sent, without its id; None where the chain has to see the outcome."""
        self._forwarder.waiting -= 1
        if not isinstance(outcome, Response) or outcome.rcode not in _RCODES or outcome.flags & codes.TC:
            return None
        layout = outcome.layout
        end = type_at + 4
        opt = query[end:]
        limit = max(opt[3] << 8 | opt[4], MIN_UDP_SIZE) if opt else MIN_UDP_SIZE
        if layout.options or not layout.whole or layout.start != end or layout.end + len(opt) > limit:
            return None
        for returns in self._returns:
            if not returns(outcome):
                return None
        records = outcome.data[end : layout.end]
        if self._cache is not None:
            key = _key(query[HEADER:type_at].lower(), query[type_at:end], opt)
            ttl = self._cache.take(key, query[type_at] << 8 | query[type_at + 1], outcome, server)
            if not ttl:
                return None
            records = _with_ttl(records, layout.ttls, ttl.to_bytes(4, "big"))
        flags = codes.QR | codes.RD | outcome.flags & RETURNED | outcome.rcode
        if flags & codes.AD and not query[3] & codes.AD and not _do(opt):
            flags ^= codes.AD  # for those who asked for it (RFC 6840 section 5.8)
        answers, authorities, additionals = layout.counts
        head = _HEAD(flags, 1, answers, authorities, additionals + (1 if opt else 0))
        return head + query[HEADER:end] + records + opt


def _with_ttl(records: bytes, offsets: Iterable[int], ttl: bytes) -> bytes:
    for at in offsets:
        if records[at : at + 4] != ttl:
            records = records[:at] + ttl + records[at + 4 :]
    return records


def _do(opt: bytes) -> int:
    return opt[7] >> 7 if opt else 0


def _key(asked: bytes, kind: bytes, opt: bytes) -> bytes:
    """What `cache` keeps an answer under: name, type, class and DO."""
    return asked + kind + (b"\1" if opt and opt[7] else b"\0")


def relay_of(front: Front) -> Relay | None:
    """The short way of a listener, if its server block for the root zone has one.

    The block has to forward everything to one set of upstreams over UDP, and each other plugin of it has to be one that
    lets some queries pass.
    """
    block = front.blocks.get(ROOT)
    if block is None:
        return None
    cache: Cache | None = None
    gates: list[Plugin] = []
    for plugin in block.plugins:
        if isinstance(plugin, Forward):
            if len(plugin.forwarders) != 1 or not plugin.forwarders[0].stanza.plain:
                return None
            elsewhere = [zone for zone in front.blocks if zone]
            return Relay(block, [*gates, plugin], plugin.forwarders[0], cache, elsewhere)
        if isinstance(plugin, Cache):
            cache = plugin
        if type(plugin).answer is not Plugin.answer:
            if type(plugin).passes is Plugin.passes:
                return None
            gates.append(plugin)
    return None
