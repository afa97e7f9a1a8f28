"""The plugin `loop`: finds out whether what goes upstream comes back here, and then lets nothing go upstream.

A probe, a question for a name that nobody can guess, is sent to this server's own listener. If it reaches the plugin
twice, the upstream of `forward` leads back to us. The process does not end for that (CVE-2026-26018): names
that other plugins of the block answer are answered, the others are refused with a reason. spec.md section 6.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import dnslib
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import bare, once
from dnsd.resolve.answer import Answer, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query, question
from dnsd.wire import codes, records
from dnsd.wire.codes import Ede, Rcode, Type
from dnsd.wire.name import MAX_NAME, Name, to_text, wire_length
from dnsd.wire.query import HEADER

log = logging.getLogger("dnsd.plugin.loop")

MAX_SEEN = 256
"""Probes that are remembered; there are a few a minute, and only what was sent upstream can be sent back."""
NONCE_OCTETS, SECRET_OCTETS = 8, 16
"""Random octets of a probe's two labels. The second is the same for all workers of one server."""

LOOPING = (
    "a query that was sent upstream came back to this server; names that would be forwarded are refused until that "
    "ends, all others are answered. Name resolvers in 'forward' that do not ask this server again; where it reads "
    "/etc/resolv.conf and the node runs systemd-resolved, let the kubelet's resolvConf be "
    "/run/systemd/resolve/resolv.conf"
)
REASON = Reason("forwarding loop: the upstream asks this server again", Ede.NO_REACHABLE_AUTHORITY)

Ask = Callable[[bytes, str, int], Awaitable[bytes]]
"""Sends a query to an address and port, and returns the reply; OSError where nobody is there."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds."""

    answer: float = 6.0
    """That a probe may take: more than `forward` gives a query."""
    retry: float = 1.0
    """Between a probe that got no answer and the next; twice as long each time."""
    patience: float = 30.0
    """After which, without any answer, there are no more probes."""
    settle: float = 2.0
    """That a probe is waited for after its answer: a second copy of it may still be under way."""
    recheck: float = 30.0
    """Between probes while there is a loop."""


class Loop(Plugin):
    """Watches for its own probes, and refuses what would go round in circles.

    Args:
        zone: the zone of the server block whose names are most likely to be forwarded.
        listener: address and port of the server itself.
        clock: seconds on the monotonic clock.
        ask: how a probe is sent.
        times: how long everything takes.
    """

    name = "loop"

    def __init__(
        self,
        zone: Name,
        listener: tuple[str, int],
        clock: Callable[[], float],
        ask: Ask | None = None,
        times: Times | None = None,
    ) -> None:
        self._zone = zone
        self._listener = listener
        self._clock = clock
        self._ask = ask or ask_by_udp
        self._times = times or Times()
        self._secret = secrets.token_hex(SECRET_OCTETS).encode()
        self._marker = secrets.token_hex(SECRET_OCTETS).encode()
        """What the answer to a probe that came back says, so that the worker that sent it knows too."""
        self._watching = True
        self._seen: set[bytes] = set()
        self._came_back = False
        self._task: asyncio.Task[None] | None = None
        self.looping = False

    async def start(self) -> None:
        """Send the first probe."""
        self._task = asyncio.get_running_loop().create_task(self.run())

    async def stop(self) -> None:
        """Probe no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def metrics(self) -> Iterable[Metric]:
        """Whether there is a loop, for an alert: the process does not end for it."""
        family = GaugeMetricFamily("dnsd_loop_detected", "Whether queries sent upstream come back.", labels=["zone"])
        family.add_metric([to_text(self._zone)], float(self.looping))
        yield family

    # -- queries

    def passes(self, name: bytes) -> bool:  # noqa: ARG002  a probe is of a type that is never passed by
        """Unless there is a loop."""
        return not self.looping

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Let queries pass, unless they would come back."""
        if self._watching and self._is_probe(query):
            nonce = query.name[0]
            if nonce in self._seen:
                return self._detected(query)
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(nonce)
            return await next_(query)
        if self.looping:
            return Answer(Rcode.REFUSED, reason=REASON)
        return await next_(query)

    def _is_probe(self, query: Query) -> bool:
        name = query.name
        return query.type == Type.HINFO and len(name) == len(self._zone) + 2 and name[1:] == (self._secret, *self._zone)

    def _detected(self, query: Query) -> Answer:
        """A probe that is here for the second time."""
        self._looping(f"{query.client.address}:{query.client.port} -> {query.client.server}")
        text = b"".join(bytes((len(part),)) + part for part in (b"loop", self._marker))
        record = records.record(query.question.asked, Type.HINFO, 0, dnslib.RD(text))
        return Answer(Rcode.NOERROR, codes.AA, (record,))

    def _looping(self, where: str) -> None:
        self._came_back = True
        if not self.looping:
            self.looping = True
            log.error('Loop (%s) detected for zone "%s": %s', where, to_text(self._zone), LOOPING)

    # -- probes

    async def run(self) -> None:
        """Probe until it is known that there is no loop, or that nobody answers."""
        while True:
            self._came_back = False
            answered = await self._probe()
            await asyncio.sleep(self._times.settle)
            if not self._came_back:
                break
            await asyncio.sleep(self._times.recheck)
        if self.looping:
            log.info("the loop is gone: names are forwarded again")
        elif not answered:
            log.warning("no answer to a probe: whether there is a loop is not known")
        self.looping = self._watching = False
        self._seen.clear()

    async def _probe(self) -> bool:
        """Send probes until one is answered; False where that takes too long.

        SERVFAIL is no answer: no upstream could be asked yet.
        """
        end = self._clock() + self._times.patience
        pause = self._times.retry
        while self._clock() < end:
            nonce = secrets.token_hex(NONCE_OCTETS).encode()
            asked = question((nonce, self._secret, *self._zone), Type.HINFO)
            header = struct.pack("!6H", secrets.randbits(16), codes.RD, 1, 0, 0, 0)
            try:
                async with asyncio.timeout(self._times.answer):
                    reply = await self._ask(header + asked.wire, *self._listener)
                if self._marker in reply:
                    self._looping(f"{self._listener[0]}:{self._listener[1]}")
                if reply[3] & 0xF != Rcode.SERVFAIL:
                    return True
            except (OSError, TimeoutError):
                pass  # our own listener is not open yet, or too busy
            await asyncio.sleep(pause)
            pause *= 2
        return False


class _Exchange(asyncio.DatagramProtocol):
    """One query and its reply."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.DatagramTransport", transport).sendto(self._query)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  the socket is connected
        if not self.reply.done() and len(data) >= HEADER and data[:2] == self._query[:2] and data[2] & 0x80:
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def ask_by_udp(query: bytes, host: str, port: int) -> bytes:
    """Send a query, and return the reply.

    Raises:
        OSError: nobody listens there.
    """
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(lambda: _Exchange(query), remote_addr=(host, port))
    try:
        return await exchange.reply
    finally:
        transport.close()


def setup(directives: Sequence[Directive], context: Context) -> Loop | None:
    """The plugin, from its directive; none where no probe can be sent.

    That is so where no zone is served over plain DNS, where the kernel picks the port, and where the zone's own name
    leaves no room for a probe's.
    """
    once(directives)
    bare(directives)
    zones = [zone for zone in context.zones if context.ports.get(zone)]
    if not zones:
        return None
    zone = zones[-1]
    if wire_length(zone) + 2 * (NONCE_OCTETS + SECRET_OCTETS + 1) > MAX_NAME:
        return None
    return Loop(zone, (context.listen[0] if context.listen else "127.0.0.1", context.ports[zone]), context.clock)
