"""The short way to an upstream: it gives what the chain gives, and is left to the chain where a plugin has a say."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsd.plugins.relay import TYPES
from dnsd.serve.face import Face
from dnsd.serve.server import ListenError, Server
from dnsd.wire.query import Message, accept, plain
from tests.plugins import harness
from tests.plugins.forward.servers import Asked, addresses, run
from tests.plugins.forward.servers import Server as Upstream
from tests.serve.serving import ATTEMPTS, PATIENCE, udp_client
from tests.wire.queries import query

USUAL = """
    errors
    forward . UPSTREAM {
        max_concurrent 1000
    }
    cache 30
    loadbalance
    prometheus 127.0.0.1:0
"""
"""What forwards in most Corefiles."""


@dataclass
class Pair:
    """A listener and its upstream."""

    upstream: Upstream
    server: Server
    chained: list[str] = field(default_factory=list)
    """Names that the chain was asked for."""

    @property
    def face(self) -> Face:
        (listener,) = self.server.listeners.values()
        return listener.faces[0]

    async def ask(self, message: dns.message.Message | bytes) -> dns.message.Message:
        """The reply to one datagram."""
        data = message if isinstance(message, bytes) else message.to_wire()
        (listener,) = self.server.listeners.values()
        loop = asyncio.get_running_loop()
        with udp_client("127.0.0.1", listener.udp[0][0].getsockname()[1]) as client:
            await loop.sock_sendall(client, data)
            reply = await asyncio.wait_for(loop.sock_recv(client, 65535), PATIENCE)
        return dns.message.from_wire(reply)


@contextlib.asynccontextmanager
async def pair(
    behave: Callable[[Asked], Iterable[bytes]], corefile: str = USUAL, *, short: bool = True
) -> AsyncIterator[Pair]:
    """A server in this process, with an upstream that behaves as a test says; `short` False leaves only the chain."""
    async with Upstream(behave) as upstream:
        body = corefile.replace("UPSTREAM", upstream.address)
        chain = harness.build(f".:0 {{\n    bind 127.0.0.1\n{body}\n}}\n")
        server = Server(time.monotonic)
        for _ in range(ATTEMPTS):
            with contextlib.suppress(ListenError):
                await server.start(chain.instance)
                break
        await harness.start(chain)
        made = Pair(upstream, server)
        (front,) = chain.instance.fronts.values()
        resolve = front.resolve

        async def noted(query: object) -> object:
            made.chained.append(str(query.name[0], "ascii"))  # type: ignore[attr-defined]
            return await resolve(query)  # type: ignore[arg-type]

        front.resolve = noted  # type: ignore[assignment, method-assign]
        if not short:
            made.face.relay = None
        try:
            yield made
        finally:
            await server.close()
            await chain.instance.stop()


# -- both ways give the same

OWNERS = ("NAME", "alias.example.net.", "example.org.", "ns.example.org.")
RECORDS = (
    "A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1", "CNAME alias.example.net.", "MX 10 mail.example.org.",
    "NS ns.example.org.", 'TXT "text"', "SRV 0 5 80 ns.example.org.", "HTTPS 1 . alpn=h2",
    "SOA ns.example.org. hostmaster.example.org. 7 7200 3600 1209600 60",
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What an upstream says, whatever it is asked."""

    rcode: str
    flags: int
    sections: tuple[tuple[tuple[str, int, str], ...], ...]
    error: bool
    truncated: bool

    def __call__(self, asked: Asked) -> list[bytes]:
        asking = asked.message
        reply = dns.message.make_response(asking, recursion_available=True)
        reply.set_rcode(dns.rcode.from_text(self.rcode))
        reply.flags |= self.flags
        for section, rows in zip((reply.answer, reply.authority, reply.additional), self.sections, strict=True):
            for owner, ttl, text in rows:
                name = asked.name if owner == "NAME" else owner
                section.append(dns.rrset.from_text(name, ttl, "IN", *text.split(" ", 1)))
        if asking.edns >= 0:
            reply.use_edns(
                options=[dns.edns.EDEOption(dns.edns.EDECode.FILTERED, "filtered")] if self.error else [], payload=1232
            )
        if self.truncated and asked.protocol == "udp":
            reply.flags |= dns.flags.TC
        return [reply.to_wire(max_size=65_535)]


rows = st.tuples(
    st.sampled_from(OWNERS), st.sampled_from([0, 1, 5, 29, 30, 31, 300, 90_000, 2**31]), st.sampled_from(RECORDS)
)
said = st.builds(
    Said,
    st.sampled_from(["NOERROR", "NOERROR", "NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"]),
    st.sampled_from([0, dns.flags.AA, dns.flags.AD, dns.flags.AA | dns.flags.AD]),
    st.tuples(*(st.lists(rows, max_size=count).map(tuple) for count in (4, 2, 2))),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)
asking = st.fixed_dictionaries(
    {},
    optional={
        "rdtype": st.sampled_from(["A", "AAAA", "MX", "TXT", "HTTPS", "SRV"]),
        "use_edns": st.just(0),
        "payload": st.sampled_from([512, 1232, 1233, 4096]),
        "want_dnssec": st.booleans(),
        "flags": st.sampled_from([dns.flags.RD, dns.flags.RD | dns.flags.AD]),
    },
)


def shown(message: dns.message.Message) -> tuple[object, ...]:
    """What a client sees, but for an order that is drawn, and letter case, which compression takes from other names."""
    sections = [sorted("\n".join(map(str, section)).lower().split("\n")) for section in message.sections]
    return message.flags, message.rcode(), message.edns, message.payload, message.ednsflags, message.options, sections


def counted(face: Face) -> object:
    """What metrics tell, but for times, and sizes of replies: of records put into another order they are exact."""
    face.memo.settle()
    series = {tuple(labels): series for labels, series in face.tally.series.items()}
    return {labels: (numbers.count, numbers.request_octets.buckets) for labels, numbers in series.items()}


@settings(max_examples=150, deadline=None)
@given(said, asking, st.sampled_from(["www.example.org.", "WWW.Example.ORG.", "a.", "x" * 60 + ".example.org."]))
def test_a_client_cannot_tell_by_which_way_the_answer_came(said: Said, asking: dict[str, object], name: str) -> None:
    options = {"rdtype": "A", **asking}

    async def asked(*, short: bool) -> tuple[object, ...]:
        async with pair(said, short=short) as server:
            message = dns.message.make_query(name, **options)  # type: ignore[arg-type]
            replies = [shown(await server.ask(message)) for _ in range(3)]  # asked, kept, and given again
            metrics = {
                (sample.name, *sample.labels.values()): sample.value
                for built in server.server.instance.blocks  # type: ignore[union-attr]
                for plugin in built.plugins
                for metric in plugin.metrics()
                for sample in metric.samples
                if "duration" not in sample.name and server.upstream.address not in sample.labels.values()
            }
            return replies, counted(server.face), metrics, len(server.upstream.names)

    async def both() -> None:
        assert await asked(short=True) == await asked(short=False)

    run(both())


# -- which way


def usual(asked: Asked) -> list[bytes]:
    """Two addresses for `two`, one for every other name."""
    return [asked.answer(count=2 if asked.name.lower().startswith("two") else 1)]


TAKEN = {
    "an address": query("www.example.org", 1),
    "in capitals": query("WWW.EXAMPLE.ORG", 1),
    "with AD": query("www.example.org", 1, flags=0x0120),
}
LEFT = {
    "another class": query("www.example.org", 1, class_=3),
    "ANY": query("www.example.org", 255),
    "HINFO, of which loop's probes are": query("www.example.org", 13),
    "without RD": query("www.example.org", 1, flags=0),
    "with CD": query("www.example.org", 1, flags=0x0110),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_a_plain_query_does_not_see_the_chain(data: bytes) -> None:
    async def test() -> None:
        async with pair(usual) as server:
            await server.ask(data)
            assert server.chained == []
            assert len(server.upstream.names) == 1

    run(test())


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT)
def test_any_other_query_takes_the_chain(data: bytes) -> None:
    async def test() -> None:
        async with pair(usual) as server:
            await server.ask(data)
            assert server.chained == ["www"]

    run(test())


CHAINED = {
    "a plugin that sees every query": "log\nforward . UPSTREAM",
    "a plugin that changes every answer": "forward . UPSTREAM\nminimal",
    "several stanzas": "forward example.org UPSTREAM\nforward . UPSTREAM",
    "a stanza that passes on": "forward . UPSTREAM {\n next NXDOMAIN\n}",
    "TCP only": "forward . UPSTREAM {\n force_tcp\n}",
    "a name that is excepted": "forward . UPSTREAM {\n except example.org\n}",
    "a name that is not kept": "forward . UPSTREAM\ncache {\n disable success example.org\n}",
    "a cache for another zone": "forward . UPSTREAM\ncache example.net",
}


@pytest.mark.parametrize("corefile", CHAINED.values(), ids=CHAINED)
def test_a_block_that_has_a_say_is_asked(corefile: str) -> None:
    async def test() -> None:
        async with pair(usual, corefile) as server:
            await server.ask(dns.message.make_query("www.example.org.", "A"))
            assert server.chained == ["www"]

    run(test())


def test_a_name_of_another_block_is_asked_there() -> None:
    async def test() -> None:
        corefile = USUAL + "}\nexample.net:0 {\n    bind 127.0.0.1\n    whoami\n"
        async with pair(usual, corefile) as server:
            await server.ask(dns.message.make_query("www.example.net.", "A"))
            assert server.upstream.names == []
            await server.ask(dns.message.make_query("www.notexample.net.", "A"))
            assert server.upstream.names == ["www.notexample.net."]

    run(test())


# -- what comes of it


def test_an_outcome_that_a_plugin_has_to_see_is_not_asked_for_again() -> None:
    async def test() -> None:
        async with pair(usual) as server:
            reply = await server.ask(dns.message.make_query("two.example.org.", "A"))
            assert addresses(reply) == ["192.0.2.1", "192.0.2.2"]
            assert server.chained == ["two"]
            assert server.upstream.names == ["two.example.org."]

    run(test())


def test_a_failure_is_logged_and_told_by_the_chain(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with pair(usual) as server:
            await server.upstream.close()
            reply = await server.ask(dns.message.make_query("www.example.org.", "A", use_edns=0))
            assert reply.rcode() == dns.rcode.SERVFAIL
            (error,) = reply.options
            assert isinstance(error, dns.edns.EDEOption)
            assert "connection refused" in str(error.text)
        assert "2 www.example.org. A: " in caplog.text

    run(test())


def test_clients_that_ask_the_same_at_the_same_time_are_one_query_upstream() -> None:
    async def test() -> None:
        async with pair(usual) as server:
            names = ["www.example.org."] * 20
            replies = await asyncio.gather(*(server.ask(dns.message.make_query(name, "A")) for name in names))
            assert {tuple(addresses(reply)) for reply in replies} == {("192.0.2.1",)}
            assert len(server.upstream.names) < len(names)

    run(test())


def test_too_many_queries_are_refused_by_the_chain() -> None:
    async def test() -> None:
        corefile = "forward . UPSTREAM {\n max_concurrent 1\n}"
        async with pair(lambda asked: [] if asked.name.startswith("slow") else [asked.answer()], corefile) as server:
            slow = asyncio.create_task(server.ask(dns.message.make_query("slow.example.org.", "A")))
            while not server.upstream.asked:
                await asyncio.sleep(0.001)
            assert (await server.ask(dns.message.make_query("www.example.org.", "A"))).rcode() == dns.rcode.REFUSED
            slow.cancel()

    run(test())


def test_a_stop_waits_for_what_is_under_way() -> None:
    """SIGTERM: queries that were received are answered, also those that an upstream has."""

    async def test() -> None:
        late: list[Asked] = []
        async with pair(lambda asked: late.append(asked) or []) as server:  # type: ignore[func-returns-value]
            waiting = asyncio.create_task(server.ask(dns.message.make_query("www.example.org.", "A")))
            while not late:
                await asyncio.sleep(0.001)
            closing = asyncio.create_task(server.server.close())
            await asyncio.sleep(0.05)
            assert not closing.done()
            server.upstream._transport.sendto(late[0].answer(), late[0].peer)  # type: ignore[union-attr]
            assert addresses(await waiting) == ["192.0.2.1"]
            await closing
            server.server.listeners.clear()

    run(test())


# -- plain queries


@settings(max_examples=500)
@given(st.binary(max_size=12), st.lists(st.binary(min_size=1, max_size=70), max_size=6), st.binary(max_size=20))
def test_what_is_plain_passes_the_gate_and_has_its_type_there(head: bytes, labels: list[bytes], rest: bytes) -> None:
    usual_head = bytes((0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, len(rest) % 2))
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    for data in (usual_head + name + b"\0\1\0\1" + rest[1:], head + name + rest, usual_head + name + rest):
        at = plain(data)
        if at:
            message = accept(data)
            assert isinstance(message, Message)
            assert int.from_bytes(data[at : at + 2], "big") == message.question.type
            assert data[12 : at + 4] == message.question.wire
            assert message.edns is None or not message.edns.options


def test_types_that_mean_more_than_data_are_not_relayed() -> None:
    """Meta types, and the parent's DS (RFC 4035 section 3.1.4.1)."""
    left = {1: False, 13: True, 41: True, 43: True, 250: True, 251: True, 252: True, 255: True}
    for type_, expected in left.items():
        assert (type_.to_bytes(2, "big") + b"\0\1" not in TYPES) == expected


def test_random_octets_are_not_plain() -> None:
    chance = random.Random(1)
    assert not any(plain(chance.randbytes(chance.randrange(80))) for _ in range(20_000))
