"""TCP: framing, pipelining, time-outs, bounds, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import dns.message
import dns.rcode
import pytest

from dnsd.plugins.kubernetes import Kubernetes
from dnsd.resolve.answer import Answer
from dnsd.resolve.plugin import Next
from dnsd.resolve.query import Query
from dnsd.serve import tcp
from dnsd.wire.query import MAX_TCP_SIZE
from tests.cluster.apiobjects import endpoint_slice, namespace, service
from tests.cluster.asking import cluster
from tests.cluster.worlds import Json, filled, identity
from tests.serve.serving import PATIENCE, Serving, framed, receive, serving
from tests.wire.queries import opt, query

WEB = "web.shop.svc.cluster.local"
BIG = "big.shop.svc.cluster.local"
ITEMS: list[Json] = [
    namespace("shop"),
    service("shop", "web", "10.96.0.1"),
    service("shop", "big"),
    *(
        endpoint_slice("shop", f"big-{i}", "big", [f"10.{i}.{j // 250}.{j % 250 + 1}" for j in range(1000)])
        for i in range(5)
    ),
]


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Serving]:
    index = filled({identity(item): item for item in ITEMS})
    async with serving(cluster("", index, more="bind 127.0.0.1")) as made:
        yield made


@contextlib.asynccontextmanager
async def connected(server: Serving) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What is still sent until the server closes the connection."""
    rest = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            rest = await reader.read()
    return rest


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Keeps queries for names that begin with `slow` waiting until it is set."""
    release = asyncio.Event()
    ordinary: Callable[[Kubernetes, Query, Next], Awaitable[Answer]] = Kubernetes.answer

    async def wait(self: Kubernetes, query: Query, next_: Next) -> Answer:
        if query.name[0].startswith(b"slow"):
            await release.wait()
        return await ordinary(self, query, next_)

    monkeypatch.setattr(Kubernetes, "answer", wait)
    return release


def test_replies_come_in_the_order_of_the_queries(held: asyncio.Event) -> None:
    """Even where a later one is known and an earlier one has to wait (spec.md section 1.6)."""

    async def run() -> None:
        async with served() as server:
            await server.ask_tcp(query(WEB))
            async with connected(server) as (reader, writer):
                names = [WEB, "slow.shop.svc.cluster.local", WEB, "nothing.shop.svc.cluster.local", WEB]
                writer.write(b"".join(framed(query(name, id_=i)) for i, name in enumerate(names)))
                assert (await receive(reader))[:2] == b"\0\0"
                await asyncio.sleep(0.01)
                held.set()
                for i in range(1, len(names)):
                    assert (await receive(reader))[:2] == struct.pack("!H", i)

    asyncio.run(run())


def test_many_pipelined_queries_are_all_answered() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            count = 5000
            writer.write(b"".join(framed(query(WEB, id_=i)) for i in range(count)))
            for i in range(count):
                assert (await receive(reader))[:2] == struct.pack("!H", i)

    asyncio.run(run())


def test_octets_may_arrive_one_by_one() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            for _ in range(2):
                for octet in framed(query(WEB)):
                    writer.write(bytes([octet]))
                    await writer.drain()
                    await asyncio.sleep(0)
                reply = dns.message.from_wire(await receive(reader))
                assert reply.rcode() == dns.rcode.NOERROR

    asyncio.run(run())


IGNORED = {
    "a message of no octets": b"\0\0",
    "a message shorter than a header": framed(b"short"),
    "a response": framed(query(WEB, flags=0x8000)),
}


@pytest.mark.parametrize("octets", IGNORED.values(), ids=IGNORED)
def test_the_connection_stays_usable_after(octets: bytes) -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            for _ in range(2):
                writer.write(octets + framed(query(WEB, id_=77)))
                assert (await receive(reader))[:2] == b"\0\x4d"

    asyncio.run(run())


def test_an_answer_fills_a_message_and_no_more() -> None:
    async def run() -> None:
        async with served() as server:
            for _ in range(2):
                reply = await server.ask_tcp(query(BIG, edns=opt(512)))
                assert MAX_TCP_SIZE - 16 <= len(reply) <= MAX_TCP_SIZE
                assert reply[2] & 0x02, "TC: there is more than a message can hold"

    asyncio.run(run())


# -- time-outs, with shorter times


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(tcp, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(tcp, "WRITE_SECONDS", 0.1)


def test_the_times_are_those_of_the_reference() -> None:
    assert (tcp.FIRST_SECONDS, tcp.IDLE_SECONDS, tcp.WRITE_SECONDS) == (3.0, 10.0, 5.0)


UNFINISHED = {
    "nothing": b"",
    "half a length": b"\0",
    "a length and no message": b"\0\x40",
    "half a message": framed(query(WEB))[:-5],
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("octets", UNFINISHED.values(), ids=UNFINISHED)
def test_a_client_that_sends_no_query_is_left(octets: bytes) -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(octets)
            assert await closed(reader) == b""
            (listener,) = server.server.listeners.values()
            assert not listener.connections

    asyncio.run(run())


@pytest.mark.usefixtures("short")
def test_a_client_that_sends_no_further_query_is_left() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(framed(query(WEB)) + b"\0")
            await receive(reader)
            assert await closed(reader) == b""

    asyncio.run(run())


def test_a_client_that_trickles_octets_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Octets that make no query buy no time."""
    monkeypatch.setattr(tcp, "FIRST_SECONDS", 0.2)

    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            ended = asyncio.create_task(closed(reader))
            while not ended.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(b"\xff")
                    await writer.drain()
                await asyncio.sleep(0.02)
            assert await ended == b""

    asyncio.run(run())


@pytest.mark.usefixtures("short")
def test_a_connection_that_waits_for_us_is_not_left(held: asyncio.Event) -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(framed(query("slow.shop.svc.cluster.local", id_=3)))
            await asyncio.sleep(0.5)
            held.set()
            assert (await receive(reader))[:2] == b"\0\3"

    asyncio.run(run())


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("known", [True, False], ids=["answers from the memo", "answers made anew"])
def test_a_client_that_does_not_read_is_left_and_holds_little(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "IDLE_SECONDS", PATIENCE)  # so that it is the write that ends it

    async def run() -> None:
        async with served() as server:
            (listener,) = server.server.listeners.values()
            if known:
                await server.ask_tcp(query(BIG))
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)  # noqa: FBT003  the library's signature
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", server.port))
                wire = framed(query(BIG)) * 64 if known else b"".join(framed(query(BIG, 1, flags=i)) for i in range(64))
                sending = asyncio.create_task(send_forever(client, wire))
                while not listener.connections:
                    await asyncio.sleep(0)
                (connection,) = listener.connections
                most = 0
                async with asyncio.timeout(PATIENCE):
                    while listener.connections:
                        most = max(most, len(connection._buffer))
                        await asyncio.sleep(0.005)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                assert 0 < most <= tcp.MAX_BUFFERED + MAX_READ

    asyncio.run(run())


MAX_READ = 256 * 1024
"""Octets that asyncio reads at once."""


async def send_forever(client: socket.socket, wire: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.get_running_loop().sock_sendall(client, wire)


def test_a_slow_reader_gets_every_reply() -> None:
    """More than waits in us or in the kernel, in order and whole."""

    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            count = 300
            writer.write(b"".join(framed(query(BIG, id_=i)) for i in range(count)))
            await asyncio.sleep(0.2)
            for i in range(count):
                reply = await receive(reader)
                assert (reply[:2], len(reply) > 60_000) == (struct.pack("!H", i), True)

    asyncio.run(run())


# -- bounds and the end


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 4)

    async def run() -> None:
        async with served() as server, contextlib.AsyncExitStack() as stack:
            open_ = [await stack.enter_async_context(connected(server)) for _ in range(4)]
            for reader, writer in open_:
                writer.write(framed(query(WEB)))
                await receive(reader)
            one_more, _ = await stack.enter_async_context(connected(server))
            assert await closed(one_more) == b""
            for reader, writer in open_:
                writer.write(framed(query(WEB)))
                await receive(reader)
            open_[0][1].close()
            await open_[0][1].wait_closed()
            (listener,) = server.server.listeners.values()
            while len(listener.connections) == 4:
                await asyncio.sleep(0)
            reader, writer = await stack.enter_async_context(connected(server))
            writer.write(framed(query(WEB)))
            await receive(reader)

    asyncio.run(run())


def test_stopping_answers_what_has_arrived(held: asyncio.Event) -> None:
    """The query under way, and those that wait behind it."""

    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            names = ["slow.shop.svc.cluster.local", "slower.shop.svc.cluster.local", WEB]
            writer.write(b"".join(framed(query(name, id_=i)) for i, name in enumerate(names)))
            (listener,) = server.server.listeners.values()
            while not any(connection._task for connection in listener.connections):
                await asyncio.sleep(0)
            (connection,) = listener.connections
            draining = asyncio.create_task(connection.drain())
            await asyncio.sleep(0.01)
            assert not draining.done()
            held.set()
            for i in range(len(names)):
                assert (await receive(reader))[:2] == struct.pack("!H", i)
            assert await closed(reader) == b""
            await draining

    asyncio.run(run())


def test_stopping_waits_for_the_first_query_of_a_connection() -> None:
    """Who has just connected is about to ask."""

    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            (listener,) = server.server.listeners.values()
            while not listener.connections:
                await asyncio.sleep(0)
            (connection,) = listener.connections
            draining = asyncio.create_task(connection.drain())
            await asyncio.sleep(2 * tcp.LINGER_SECONDS)
            assert not draining.done()
            writer.write(framed(query(WEB)))
            await receive(reader)
            assert await closed(reader) == b""
            await draining

    asyncio.run(run())


def test_stopping_closes_connections_that_are_idle() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(framed(query(WEB)))
            await receive(reader)
            (listener,) = server.server.listeners.values()
            (connection,) = listener.connections
            await connection.drain()
            assert await closed(reader) == b""

    asyncio.run(run())


def test_a_plugin_that_fails_costs_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary: Callable[[Kubernetes, Query, Next], Awaitable[Answer]] = Kubernetes.answer

    async def fail(self: Kubernetes, query: Query, next_: Next) -> Answer:
        if query.name[0] == b"broken":
            raise RuntimeError("a bug")
        return await ordinary(self, query, next_)

    monkeypatch.setattr(Kubernetes, "answer", fail)

    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(framed(query("broken.shop.svc.cluster.local")) + framed(query(WEB)))
            assert dns.message.from_wire(await receive(reader)).rcode() == dns.rcode.SERVFAIL
            assert dns.message.from_wire(await receive(reader)).rcode() == dns.rcode.NOERROR
            assert [front.panics for front in server.cluster.instance.fronts.values()] == [1]

    asyncio.run(run())
