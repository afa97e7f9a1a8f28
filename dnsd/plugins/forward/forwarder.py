"""One stanza at work: its engine, its sockets, and the timer between them. The only module here that knows the loop."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dnsd.corefile.syntax import Position, Word
from dnsd.plugins.forward import hosts, targets
from dnsd.plugins.forward.engine import TICK, Engine, Outcome, Route, Waiter
from dnsd.plugins.forward.failures import TooManyQueries, UpstreamsUnknown
from dnsd.plugins.forward.settings import Scheme, Stanza, Target
from dnsd.plugins.forward.stream import Stream
from dnsd.plugins.forward.udp import Poller, Udp
from dnsd.plugins.forward.upstream import Channel, Upstream
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Option, Type
from dnsd.wire.query import Edns, Question
from dnsd.wire.response import RETURNED, Response

if TYPE_CHECKING:
    from dnsd.plugins.forward.https import Https

MAX_CONCURRENT = 16_384
"""Queries that wait for upstreams of one stanza where `max_concurrent` does not say: some 30 MB of them."""
SWEEP_SECONDS = 1.0
"""Between two looks for connections that are too old."""
UDP_SIZE = 1232
"""Octets of a response that an upstream may send over UDP: fits into every network without fragments (RFC 9715)."""
RESOLV_CONF = "/etc/resolv.conf"
"""Who is asked for the host names of upstreams where `resolver` does not say."""

_PASSED = codes.RD | codes.AD | codes.CD
"""Flags of a query that go on to the upstream."""
_HEAD = struct.Struct("!5H").pack
_OPT = struct.pack("!BHHIH", 0, Type.OPT, UDP_SIZE, 0, 0)
_OPT_DO = struct.pack("!BHHIH", 0, Type.OPT, UDP_SIZE, codes.DO, 0)


class Forwarder:
    """Sends queries to the upstreams of one stanza."""

    def __init__(self, stanza: Stanza, clock: Callable[[], float]) -> None:
        self.stanza = stanza
        self.waiting = 0
        """Queries that wait for an upstream."""
        self.rejected = 0
        """Queries refused because too many were waiting."""
        self.asks_ad = False
        """Whether AD is set in every query: `cache` needs to know whether an answer is authentic (RFC 6840)."""
        self.engine = Engine((), stanza, clock)
        self._clock = clock
        self._limit = stanza.max_concurrent or MAX_CONCURRENT
        self._loop: asyncio.AbstractEventLoop
        self._poller: Poller | None = None
        self._channels: list[Udp | Stream | Https] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._resolving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Get ready to ask; upstreams named by host names are looked up first."""
        self._loop = asyncio.get_running_loop()
        if any(target.by_name for target in self.stanza.targets):
            self._resolving = self._loop.create_task(self._resolve())
        else:
            self._use(self.stanza.targets)

    async def stop(self) -> None:
        """Finish the queries that wait, then close everything. The engine's deadline bounds how long that takes."""
        while self.waiting:  # noqa: ASYNC110  a counter costs each query less than an event would
            await asyncio.sleep(TICK)
        if self._resolving is not None:
            self._resolving.cancel()
            await asyncio.gather(self._resolving, return_exceptions=True)
        self.engine.stop()
        for timer in (self._ticker, self._sweeper):
            if timer is not None:
                timer.cancel()
        for channel in self._channels:
            if isinstance(channel, Stream):
                channel.close()
            elif not isinstance(channel, Udp):
                await channel.close()
        if self._poller is not None:
            self._poller.close()
            self._poller = None

    @property
    def ready(self) -> bool:
        """Whether there is somebody to ask."""
        return bool(self.engine.upstreams)

    async def answer(self, query: Query) -> Answer:
        """What an upstream answers.

        Raises:
            Failure: none does, or too many queries wait already.
        """
        edns, stanza = query.edns, self.stanza
        flags = query.message.flags & _PASSED
        if self.asks_ad:
            flags |= codes.AD
        if stanza.force_tcp or (query.tcp and not stanza.prefer_udp):
            route = Route.STREAM
        elif query.tcp or (edns is not None and edns.size > UDP_SIZE):
            route = Route.WHOLE
        else:
            route = Route.DATAGRAM
        opt = b"" if edns is None else _OPT_DO if edns.do else _OPT
        if edns is not None and edns is not query.message.edns:
            opt = _with_options(opt, edns, query.message.edns)
        if query.outcome is not None:
            return _answer(_response(query.outcome))
        self.waiting += 1
        try:
            outcome = await self._ask(query.question, flags, opt, route)
        finally:
            self.waiting -= 1
        return _answer(_response(outcome))

    def relay(self, question: bytes, ad: int, opt: bytes, waiter: Waiter, now: float) -> bool:
        """Send the question section of a plain query on, and tell `waiter` the outcome; False where that cannot be.

        `ad` is the query's AD bit, `opt` its OPT record. `waiting` counts the query until `waiter` counts it down.
        """
        engine = self.engine
        if self.waiting >= self._limit or not engine.upstreams:
            return False
        flags = codes.RD | codes.AD if ad or self.asks_ad else codes.RD
        if opt:
            tail = _HEAD(flags, 1, 0, 0, 1) + question + (_OPT_DO if opt[7] else _OPT)
            route = Route.WHOLE if opt[3] << 8 | opt[4] > UDP_SIZE else Route.DATAGRAM
        else:
            tail, route = _HEAD(flags, 1, 0, 0, 0) + question, Route.DATAGRAM
        self.waiting += 1
        try:
            engine.ask(tail, question, route, waiter, now)
        except Failure as failure:
            waiter.set_result(failure)
        if self._ticker is None:
            self._wind()
        return True

    async def look_up(self, question: Question) -> Response:
        """The response to a question of our own.

        Raises:
            Failure: there is none.
        """
        return _response(await self._ask(question, codes.RD, b"", Route.WHOLE))

    def _ask(self, question: Question, flags: int, opt: bytes, route: Route) -> asyncio.Future[Outcome]:
        """Send a question; what will come of it.

        Raises:
            Failure: it cannot be sent.
        """
        if self.waiting > self._limit:
            self.rejected += 1
            raise TooManyQueries(f"concurrent queries exceeded maximum {self._limit}")
        if not self.engine.upstreams:
            raise UpstreamsUnknown("the addresses of the upstreams are not known yet")
        future: asyncio.Future[Outcome] = self._loop.create_future()
        wire = question.wire
        self.engine.ask(_HEAD(flags, 1, 0, 0, 1 if opt else 0) + wire + opt, wire, route, future, self._clock())
        if self._ticker is None:
            self._wind()
        return future

    # -- timers

    def _wind(self) -> None:
        """Tick as long as something is in flight, and sweep as long as a connection is open."""
        if len(self.engine.wheel):
            self._ticker = self._loop.call_later(TICK, self._tick)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _tick(self) -> None:
        self._ticker = None
        self.engine.tick(self._clock())
        if len(self.engine.wheel):
            self._wind()

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._clock()
        open_ = [channel for channel in self._channels if channel.sweep(now)]
        if open_:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    # -- upstreams

    async def _resolve(self) -> None:
        resolvers = self.stanza.resolvers or _system_resolvers()
        helper = Forwarder(Stanza((), resolvers), self._clock)
        helper.start()
        try:
            self._use(await hosts.addresses(self.stanza.targets, helper.look_up))
        finally:
            await helper.stop()

    def _use(self, found: Iterable[Target]) -> None:
        self.engine.use([self._upstream(target) for target in found])

    def _upstream(self, target: Target) -> Upstream:
        stanza = self.stanza
        address = target.host, target.port
        server_name = stanza.server_name or target.server_name
        datagram: Udp | None = None
        stream: Stream | Https
        if target.scheme is Scheme.HTTPS:
            from dnsd.plugins.forward.https import Https  # aiohttp takes 10 MB, and few forward over HTTPS

            assert stanza.tls is not None  # noqa: S101  the directive's reader saw to that
            stream = Https(
                target,
                tls=stanza.tls,
                server_name=server_name,
                source=stanza.source_address,
                expire=stanza.expire,
                post=stanza.doh_post,
            )
        else:
            stream = Stream(
                address,
                source=stanza.source_address,
                tls=stanza.tls if target.scheme is Scheme.TLS else None,
                server_name=server_name,
                expire=stanza.expire,
                max_age=stanza.max_age,
                max_idle=stanza.max_idle_connections,
                clock=self._clock,
            )
        self._channels.append(stream)
        if target.scheme is Scheme.DNS:
            if self._poller is None:
                self._poller = Poller(self._loop)
            datagram = Udp(address, stanza.source_address, _life(stanza), self._poller)
            self._channels.append(datagram)
        return Upstream(str(target), datagram, stream)

    @property
    def channels(self) -> Iterable[tuple[Upstream, Channel]]:
        """Every way to every upstream."""
        for upstream in self.engine.upstreams:
            if upstream.datagram is not None:
                yield upstream, upstream.datagram
            yield upstream, upstream.stream


def _with_options(opt: bytes, edns: Edns, asked: Edns | None) -> bytes:
    """OPT with the options that a plugin put into a query (`rewrite edns0`); the client's own are between it and us."""
    own = asked.options if asked is not None else ()
    added = b"".join(
        struct.pack("!2H", code, len(data)) + data for code, data in edns.options if (code, data) not in own
    )
    return opt[:-2] + struct.pack("!H", len(added)) + added


def _life(stanza: Stanza) -> float:
    return min(stanza.expire, stanza.max_age) if stanza.max_age else stanza.expire


def _system_resolvers() -> tuple[Target, ...]:
    word = Word(RESOLV_CONF, Position(RESOLV_CONF, 1, 1))
    return targets.read(word, Path("/"))


def _response(outcome: Outcome) -> Response:
    if isinstance(outcome, Failure):
        raise type(outcome)(outcome.text)  # each waiter has a traceback of its own
    return outcome


def _answer(response: Response) -> Answer:
    options = response.layout.options
    return Answer(
        response.rcode,
        response.flags & RETURNED,
        response.answer,
        response.authority,
        response.additional,
        options=tuple(_errors(options)) if options else (),
        forwarded=True,
    )


def _errors(options: bytes) -> Iterable[tuple[int, bytes]]:
    """The Extended DNS Errors among an upstream's options; all others are between it and us (RFC 8914, RFC 6891)."""
    at = 0
    with suppress(struct.error):
        while at < len(options):
            code, length = struct.unpack_from("!2H", options, at)
            data = options[at + 4 : at + 4 + length]
            at += 4 + length
            if code == Option.EDE and len(data) == length >= 2:
                yield code, data
