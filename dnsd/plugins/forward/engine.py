"""The forwarder without sockets: which upstream is asked when, what is an answer, and when to give up.

Every decision is taken in `Engine` and `Exchange`, from what channels report and from `now`; so each time-out can be
tested without waiting for it. The rules:

1. One question in flight is asked once, however many clients wait for the answer: identical queries in flight would
   help whoever wants to forge one (CVE-2023-30464).
2. The next upstream is asked when one fails, when one does not answer within `read_timeout`, and once, as a hedge, when
   the first takes longer than it usually does. Where there is one upstream only, it is asked again.
3. Whoever was asked is listened to until the end. Only a response with the id and the question that were sent counts;
   anything else changes nothing (CVE-2023-28452).
4. An upstream that failed is asked last until it answers a probe, and not at all once enough probes failed, unless all
   have.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from dnsd.plugins.forward.failures import NoHealthyUpstream, UpstreamTimeout, UpstreamUnreachable
from dnsd.plugins.forward.settings import Policy, Stanza
from dnsd.plugins.forward.upstream import MAX_PATIENCE, Asker, Attempt, Channel, Probe, Upstream, cause
from dnsd.plugins.forward.wheel import Wheel
from dnsd.resolve.answer import Failure
from dnsd.wire import codes
from dnsd.wire.records import BadRecord
from dnsd.wire.response import Response, read

DEADLINE = 4.5
"""Seconds that a query may take in all: a stub resolver gives up after 5, and SERVFAIL has to reach it before."""
ATTEMPTS_PER_UPSTREAM = 2
"""Times that one query is sent for each upstream that there is (spec.md section 6.1)."""
TICK = 0.02
"""Seconds to which time-outs are accurate."""
MAX_NOTES = 32
"""Failed attempts that a failure names: twice as many as there can be upstreams, and some."""

Outcome: TypeAlias = Response | Failure


class Waiter(Protocol):
    """Who waits for an outcome; an asyncio future is one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Outcome, /) -> None:
        """Tell the outcome."""


class Route(enum.IntEnum):
    """How an upstream is asked."""

    DATAGRAM = 0
    """Over UDP; a truncated response is the answer."""
    WHOLE = 1
    """Over UDP, and over TCP where the response is truncated."""
    STREAM = 2
    """Over TCP."""


class Engine:
    """The exchanges of one stanza."""

    def __init__(self, upstreams: Sequence[Upstream], settings: Stanza, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.clock = clock
        self.wheel: Wheel[Asker] = Wheel(TICK)
        self.broken = 0
        """Queries sent to any upstream because all are down."""
        self._in_flight: tuple[dict[bytes, Exchange], ...] = tuple({} for _ in Route)
        """By route and query."""
        self._turn = 0
        self._upstreams: list[Upstream] = []
        self._orders: list[list[Upstream]] = []
        self.max_attempts = 0
        self.patience = 0.0
        """Seconds until an exchange is given up."""
        self.use(upstreams)

    @property
    def upstreams(self) -> Sequence[Upstream]:
        """Whom this engine asks."""
        return self._upstreams

    def use(self, upstreams: Sequence[Upstream]) -> None:
        """Ask these from now on."""
        self._upstreams = list(upstreams)
        self._orders = [self._upstreams[i:] + self._upstreams[:i] for i in range(len(self._upstreams))]
        most = ATTEMPTS_PER_UPSTREAM * len(self._upstreams)
        self.max_attempts = min(most, self.settings.max_attempts or most)
        self.patience = min(DEADLINE, self.max_attempts * self.settings.read_timeout)

    def __len__(self) -> int:
        """Questions in flight."""
        return sum(map(len, self._in_flight))

    def ask(self, tail: bytes, question: bytes, route: Route, waiter: Waiter, now: float) -> None:
        """Send a query, which is `tail` after an id that the channel chooses, and tell `waiter` the outcome.

        Raises:
            NoHealthyUpstream: all are down, and the stanza wants to know that at once.
        """
        in_flight = self._in_flight[route]
        exchange = in_flight.get(tail)
        if exchange is not None:
            exchange.waiters.append(waiter)
            return
        exchange = Exchange(self, tail, question, route, waiter, self._order(), now)
        in_flight[tail] = exchange
        exchange.try_next(now)

    def done(self, exchange: Exchange) -> None:
        """Strike an exchange off."""
        del self._in_flight[exchange.route][exchange.tail]

    def tick(self, now: float) -> None:
        """Do what has become due."""
        for asker in self.wheel.expired(now):
            asker.due(now)

    def failed(self, upstream: Upstream, now: float) -> None:
        """Begin to probe an upstream."""
        health = self.settings.health
        if health.max_fails and upstream.probe is None:
            channel = upstream.stream if self.settings.force_tcp else upstream.datagram or upstream.stream
            upstream.probe = Probe(upstream, health, channel, self.wheel, self.clock)
            upstream.probe.begin(now)

    def stop(self) -> None:
        """End the probes, and wait for nothing any more."""
        for upstream in self._upstreams:
            if upstream.probe is not None:
                upstream.probe.end()
        self.wheel.clear()

    def _order(self) -> Sequence[Upstream]:
        """The upstreams in the order in which a query is to try them."""
        count = len(self._upstreams)
        first = 0
        if count > 1:
            if self.settings.policy is Policy.RANDOM:
                first = int(random.random() * count)  # noqa: S311  spreads load and keeps no secret
            elif self.settings.policy is Policy.ROUND_ROBIN:
                first = self._turn = (self._turn + 1) % count
        order = self._orders[first]
        well = [upstream for upstream in order if upstream.probe is None]
        if len(well) == count:
            return order
        limit = self.settings.health.max_fails
        well += [upstream for upstream in order if upstream.probe is not None and upstream.failures <= limit]
        if well:
            return well
        self.broken += 1
        if self.settings.fail_fast:
            raise NoHealthyUpstream("no healthy upstream: " + ", ".join(upstream.name for upstream in order))
        return self._orders[int(random.random() * count)]  # noqa: S311  as above


class Exchange:
    """One question on its way, who waits for the answer, and whom it was sent to."""

    __slots__ = (
        "attempts", "count", "deadline", "engine", "fallback", "next", "notes", "order", "question", "route", "settled",
        "tail", "waiters",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        tail: bytes,
        question: bytes,
        route: Route,
        waiter: Waiter,
        order: Sequence[Upstream],
        now: float,
    ) -> None:
        self.engine = engine
        self.tail = tail
        self.question = question
        self.route = route
        self.waiters = [waiter]
        self.order = order
        self.deadline = now + engine.patience
        self.next = now
        """When another attempt is made."""
        self.attempts: list[Attempt] = []
        """Those that may still be answered."""
        self.count = 0
        """Attempts made."""
        self.notes: list[str] = []
        """Attempts that failed, and why."""
        self.fallback: Response | None = None
        """What to answer if nothing better comes."""
        self.settled = False
        """Whether the waiters have been told; attempts may outlive that, to learn how their upstreams are doing."""

    def try_next(self, now: float) -> None:
        """Ask the next upstream, or the one after it; give up if there is none, and nobody left to wait for."""
        while self.count < self.engine.max_attempts:
            upstream = self.order[self.count % len(self.order)]
            channel = upstream.stream if self.route is Route.STREAM else upstream.datagram or upstream.stream
            if self._send(upstream, channel, now):
                return
        if not self.attempts:
            self._give_up()

    def _send(self, upstream: Upstream, channel: Channel, now: float) -> bool:
        self.count += 1
        attempt = Attempt(self, upstream, channel, self.count, now)
        self.attempts.append(attempt)
        try:
            channel.send(attempt)
        except OSError as error:
            if attempt in self.attempts:
                self._strike(attempt, cause(error))
                self.engine.failed(upstream, now)
            return False
        self._wait(now)
        return True

    def _wait(self, now: float) -> None:
        """Choose the moment of the next attempt."""
        engine = self.engine
        wait = engine.settings.read_timeout
        if self.count == 1 and engine.max_attempts > 1:
            wait = min(wait, self.order[0].patience if len(self.order) > 1 else MAX_PATIENCE)
        self.next = now + wait
        engine.wheel.add(min(self.next, self.deadline), self)

    def due(self, now: float) -> None:
        """Time for the next attempt, to give up, or to find an upstream too slow."""
        timeout = self.engine.settings.read_timeout
        for attempt in self.attempts:
            if not attempt.late and now >= attempt.sent + timeout:
                attempt.late = True
                attempt.channel.overdue(attempt)
                self.engine.failed(attempt.upstream, now)
        if self.settled:
            self._listen_on()
            return
        if now >= self.deadline:
            self._give_up()
            return
        more = self.count < self.engine.max_attempts
        if more and now >= self.next:
            self.try_next(now)
        if not self.settled:
            moments = [attempt.sent + timeout for attempt in self.attempts if not attempt.late]
            self.engine.wheel.add(min(self.next if more else self.deadline, self.deadline, *moments), self)

    def answered(self, attempt: Attempt, data: bytes) -> None:
        """A response arrived: take it, or find out that it is not enough."""
        now = self.engine.clock()
        try:
            response = read(data, self.question)
        except BadRecord as error:
            self.spoiled(attempt, f"unreadable response: {error}")
            return
        self.attempts.remove(attempt)
        attempt.upstream.responded(now - attempt.sent, response.rcode)
        if self.settled:
            self._listen_on()
            return
        if response.flags & codes.TC and self.route is Route.WHOLE and attempt.channel is attempt.upstream.datagram:
            self.fallback = response
            if self._send(attempt.upstream, attempt.upstream.stream, now):
                return
        elif response.rcode in self.engine.settings.failover and self.count < len(self.order):
            self.fallback = response
            self.notes.append(f"{attempt}: {codes.rcode_text(response.rcode)}")
            self.try_next(now)
            return
        self._settle(response)

    def failed(self, attempt: Attempt, error: str) -> None:
        """There will be no response to this attempt: make another one."""
        now = self.engine.clock()
        self._strike(attempt, error)
        if not attempt.late:
            self.engine.failed(attempt.upstream, now)
        if self.settled:
            self._listen_on()
        else:
            self.try_next(now)

    def spoiled(self, attempt: Attempt, error: str) -> None:
        """A response over UDP cannot be read or trusted: ask the same upstream over TCP, where nobody can forge one."""
        if attempt.channel is not attempt.upstream.datagram or self.settled:
            self.failed(attempt, error)
            return
        self._strike(attempt, error)
        now = self.engine.clock()
        if not self._send(attempt.upstream, attempt.upstream.stream, now):
            self.try_next(now)

    def _strike(self, attempt: Attempt, error: str) -> None:
        self.attempts.remove(attempt)
        if len(self.notes) < MAX_NOTES:
            self.notes.append(f"{attempt}: {error}")

    def _listen_on(self) -> None:
        """After the end: wait for what is still out, so that its upstream is known to be well or not."""
        for attempt in [attempt for attempt in self.attempts if attempt.late]:
            attempt.channel.forget(attempt)
            self.attempts.remove(attempt)
        if self.attempts:
            self.engine.wheel.add(self.attempts[0].sent + self.engine.settings.read_timeout, self)
        else:
            self.engine.wheel.discard(self)

    def _settle(self, outcome: Outcome) -> None:
        self.settled = True
        self.engine.done(self)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(outcome)
        self.waiters.clear()
        if self.attempts:
            self._listen_on()
        else:
            self.engine.wheel.discard(self)

    def _give_up(self) -> None:
        silent = [f"{attempt}: i/o timeout" for attempt in self.attempts]
        kind = UpstreamTimeout if silent else UpstreamUnreachable
        for attempt in self.attempts:
            attempt.channel.forget(attempt)
        self.attempts.clear()
        self._settle(self.fallback or kind("; ".join([*self.notes, *silent])))
