"""An engine with channels that only note what is sent, and a clock that a test sets."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field

import dns.message
import dns.rcode
import dns.rrset

from dnsd.plugins.forward.engine import TICK, Engine, Outcome, Route
from dnsd.plugins.forward.settings import Stanza
from dnsd.plugins.forward.upstream import Attempt, Upstream
from dnsd.wire.response import Response

QUERY = dns.message.make_query("www.example.com.", "A", use_edns=False, id=0)
TAIL = QUERY.to_wire()[2:]
QUESTION = QUERY.to_wire()[12:]


def response(attempt: Attempt, rcode: str = "NOERROR", *, flags: int = 0, address: str = "192.0.2.1") -> bytes:
    """What an upstream sends to an attempt of QUERY, or to a probe."""
    reply = dns.message.make_response(dns.message.from_wire(b"\0\0" + attempt.owner.tail))
    reply.set_rcode(dns.rcode.from_text(rcode))
    reply.flags |= flags
    if rcode == "NOERROR":
        reply.answer.append(dns.rrset.from_text(reply.question[0].name, 60, "IN", "A", address))
    return reply.to_wire()


@dataclass(slots=True, eq=False)
class Channel:
    """Notes what is sent on it; `refuses` makes it fail at once."""

    protocol: str
    hits: int = 0
    misses: int = 0
    refuses: bool = False
    sent: list[Attempt] = field(default_factory=list)
    forgotten: list[Attempt] = field(default_factory=list)
    late: list[Attempt] = field(default_factory=list)

    def send(self, attempt: Attempt) -> None:
        if self.refuses:
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        self.sent.append(attempt)

    def forget(self, attempt: Attempt) -> None:
        self.forgotten.append(attempt)

    def overdue(self, attempt: Attempt) -> None:
        self.late.append(attempt)


@dataclass(slots=True)
class Waiter:
    """A client."""

    outcome: Outcome | None = None
    gone: bool = False

    def done(self) -> bool:
        return self.gone or self.outcome is not None

    def set_result(self, result: Outcome) -> None:
        assert not self.done()
        self.outcome = result

    @property
    def text(self) -> str:
        """The address in the answer, or the text of the failure."""
        if isinstance(self.outcome, Response):
            return ".".join(map(str, self.outcome.answer[0].rdata.data)) if self.outcome.answer else "no data"
        return "nothing yet" if self.outcome is None else self.outcome.text


class Desk:
    """An engine and its surroundings."""

    def __init__(self, stanza: Stanza, upstreams: int = 1) -> None:
        self.now = 1000.0
        self.udp = [Channel("udp") for _ in range(upstreams)]
        self.tcp = [Channel("tcp") for _ in range(upstreams)]
        self.upstreams = [Upstream(f"192.0.2.{i + 1}:53", self.udp[i], self.tcp[i]) for i in range(upstreams)]
        self.engine = Engine(self.upstreams, stanza, lambda: self.now)

    def ask(self, route: Route = Route.DATAGRAM, tail: bytes = TAIL, question: bytes = QUESTION) -> Waiter:
        """A client's query."""
        waiter = Waiter()
        self.engine.ask(tail, question, route, waiter, self.now)
        return waiter

    def wait(self, seconds: float) -> None:
        """Let time pass, with a look at the wheel at every tick."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + TICK, end)
            self.engine.tick(self.now)

    def answer(self, attempt: Attempt, rcode: str = "NOERROR", *, flags: int = 0, address: str = "192.0.2.1") -> None:
        """Let an upstream respond."""
        attempt.owner.answered(attempt, response(attempt, rcode, flags=flags, address=address))

    @property
    def queries(self) -> list[list[Attempt]]:
        """What each upstream was sent over UDP, probes left out."""
        return [[attempt for attempt in channel.sent if attempt.owner.tail == TAIL] for channel in self.udp]

    @property
    def counts(self) -> list[int]:
        """How often each upstream was asked over UDP."""
        return [len(sent) for sent in self.queries]

    def probes(self, i: int = 0) -> list[Attempt]:
        """The probes that an upstream was sent."""
        return [attempt for attempt in self.udp[i].sent if attempt.owner.tail != TAIL]


def order_of(desk: Desk, queries: int, rcode: str = "NOERROR") -> list[int]:
    """Which upstream is asked first, query after query, all of them answered at once."""
    first: list[int] = []
    for _ in range(queries):
        before: Sequence[int] = desk.counts
        desk.ask()
        (i,) = [i for i, count in enumerate(desk.counts) if count > before[i]]
        first.append(i)
        desk.answer(desk.queries[i][-1], rcode)
    return first
