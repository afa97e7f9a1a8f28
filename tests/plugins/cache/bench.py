"""A cache with a clock that the test sets and an upstream that says what the test wants. No sockets, no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from msgspec.structs import replace
from prometheus_client.metrics_core import Metric

from dnsd.cluster.index import Key
from dnsd.cluster.store import Clusters
from dnsd.plugins.cache import Cache, setup
from dnsd.resolve.answer import ONCE, Answer, Failure
from dnsd.resolve.plugin import Context
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.codes import Ede
from dnsd.wire.response import read
from tests.corefile.memory import parse_text
from tests.plugins.asking import make_query

T = TypeVar("T")
Upstream: TypeAlias = Callable[[Query], Answer]

SOA = "ns.example.com. hostmaster.example.com. 1 7200 3600 1209600 300"


class Down(Failure):
    """No upstream answers."""

    error = Ede.NO_REACHABLE_AUTHORITY


def forwarded(
    query: Query,
    *answer: str,
    rcode: str = "NOERROR",
    authority: tuple[str, ...] = (),
    additional: tuple[str, ...] = (),
    flags: int = codes.AA | codes.RA,
    keys: frozenset[Key] = frozenset(),
) -> Answer:
    """What `forward` makes of a response; records are `[OWNER] TTL TYPE DATA`, without owner the question's."""
    asked = query.question.wire
    message = dns.message.from_wire(bytes((0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)) + asked)
    reply = dns.message.make_response(message)
    reply.set_rcode(dns.rcode.from_text(rcode))
    for section, rows in ((reply.answer, answer), (reply.authority, authority), (reply.additional, additional)):
        for row in rows:
            owner, _, rest = row.partition(" ")
            if owner.isdigit():
                owner, rest = names.to_text(query.question.asked), row
            ttl, type_, data = rest.split(" ", 2)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", type_, data))
    response = read(reply.to_wire(), asked)
    return Answer(
        response.rcode,
        flags,
        response.answer,
        response.authority,
        response.additional,
        replace(ONCE, keys=keys),
        forwarded=True,
    )


def address(ttl: int = 60, text: str = "192.0.2.1", **options: Any) -> Upstream:
    """An upstream that has one address for every name."""
    return lambda query: forwarded(query, f"{ttl} A {text}", **options)


def denial(rcode: str = "NXDOMAIN", ttl: int = 300, soa: str = SOA, **options: Any) -> Upstream:
    """An upstream that has no name, or no data."""
    return lambda query: forwarded(query, rcode=rcode, authority=(f"example.com. {ttl} SOA {soa}",), **options)


def servfail(query: Query) -> Answer:
    """An upstream that fails."""
    return forwarded(query, rcode="SERVFAIL", flags=codes.RA)


def down(query: Query) -> Answer:
    """No upstream."""
    raise Down("192.0.2.53:53 attempt 1 udp: i/o timeout")


@dataclass
class Bench:
    """The cache, its clock and its upstream."""

    options: str = ""
    upstream: Upstream = field(default_factory=address)
    now: float = 1000.0
    asked: int = 0
    """Queries that reached the upstream."""
    gate: Callable[[], Awaitable[object]] | None = None
    """What the upstream waits for before it answers."""
    clusters: Clusters = field(default_factory=lambda: Clusters(lambda *_: None))  # type: ignore[arg-type]
    cache: Cache = field(init=False)

    def __post_init__(self) -> None:
        head, _, body = self.options.partition("{")
        text = f"cache {head}" + ("{\n" + body.replace("}", "\n}").replace(";", "\n") if body else "")
        (block,) = parse_text(f". {{\n{text}\n}}\n")
        context = Context(((),), ".", self.clusters, lambda: self.now, self._next, dict, self.clusters.changed)
        self.cache = setup(block.directives, context)

    async def _next(self, query: Query) -> Answer:
        self.asked += 1
        if self.gate is not None:
            await self.gate()
        return self.upstream(query)

    async def ask(self, name: str = "www.example.com.", type_: str = "A", **options: Any) -> Answer:
        """A query."""
        return await self.cache.answer(make_query(name, type_, **options), self._next)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def count(self, name: str, **labels: str) -> float:
        """A metric of the cache; 0 where there is none."""
        labels = {"server": "dns://:53", "zones": ".", "view": "", **labels}
        families: list[Metric] = list(self.cache.metrics())
        found = [
            s.value for f in families for s in f.samples if s.name == f"coredns_cache_{name}" and s.labels == labels
        ]
        return found[0] if found else 0.0


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test."""
    return asyncio.run(test)


def text(answer: Answer) -> str:
    """An answer on one line: rcode, and TTL and data of each record."""
    rows = [
        f"{record.ttl} {record.rdata}"
        for section in (answer.answer, answer.authority, answer.additional)
        for record in section
    ]
    return " | ".join([codes.rcode_text(answer.rcode), *rows])


def lasts(answer: Answer, now: float) -> float | None:
    """Seconds that an answer may be given again without asking, None where it may not."""
    return answer.validity.until - now if answer.validity.keep else None
