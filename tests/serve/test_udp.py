"""UDP, with batches and without: the same answers, to whom they belong, from where they were asked."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
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
from dnsd.serve import mmsg, udp
from dnsd.wire.query import MAX_UDP_QUERY
from tests.cluster.apiobjects import endpoint_slice, namespace, service
from tests.cluster.asking import cluster
from tests.cluster.worlds import Json, filled, identity
from tests.serve.serving import PATIENCE, Serving, serving, udp_client
from tests.wire.queries import opt, query

WEB = "web.shop.svc.cluster.local"
BIG = "big.shop.svc.cluster.local"
ITEMS: list[Json] = [
    namespace("shop"),
    service("shop", "web", "10.96.0.1"),
    service("shop", "big"),
    *(
        endpoint_slice("shop", f"big-{i}", "big", [f"10.{i}.{j // 250}.{j % 250 + 1}" for j in range(1000)])
        for i in range(1)
    ),
]


@contextlib.asynccontextmanager
async def served(*, batches: bool = True, bind: str = "bind 127.0.0.1") -> AsyncIterator[Serving]:
    index = filled({identity(item): item for item in ITEMS})
    async with serving(cluster("", index, more=bind), batches=batches) as made:
        assert (made.udp._batch is not None) == batches
        yield made


both = pytest.mark.parametrize("batches", [True, False], ids=["batches", "one at a time"])


def addresses(reply: bytes) -> list[str]:
    message = dns.message.from_wire(reply)
    return [data.to_text() for rrset in message.answer for data in rrset]


def test_batches_are_there_on_this_platform() -> None:
    """Else the tests below would prove less than they say."""
    assert mmsg.available()


@both
def test_hits_and_misses_are_answered_alike(batches: bool) -> None:
    async def run() -> None:
        async with served(batches=batches) as server:
            first = await server.ask_udp(query(WEB, id_=1))
            second = await server.ask_udp(query(WEB, id_=2))
            assert addresses(first) == addresses(second) == ["10.96.0.1"]
            assert (first[:2], second[:2]) == (b"\0\1", b"\0\2")
            assert first[2:] == second[2:]
            assert sum(entry.hits for entry in server.faces[0].memo.young.entries.values()) == 1

    asyncio.run(run())


@both
def test_each_client_gets_its_own_reply(batches: bool) -> None:
    """More queries at once than a batch has room for: hits, misses, errors and silence in one mixture."""

    async def run() -> None:
        async with served(batches=batches) as server:
            await server.ask_udp(query(WEB))
            loop = asyncio.get_running_loop()
            clients = [udp_client("127.0.0.1", server.port) for _ in range(3 * mmsg.BATCH)]
            try:
                for i, client in enumerate(clients):
                    kinds = (
                        query(WEB, id_=i),
                        query(f"n{i}.shop.svc.cluster.local", id_=i),
                        query(WEB, id_=i, flags=0x2000),
                        query(WEB, id_=i, flags=0x8000),
                    )
                    client.send(kinds[i % 4])
                for i, client in enumerate(clients):
                    if i % 4 == 3:
                        continue
                    reply = await asyncio.wait_for(loop.sock_recv(client, 65535), PATIENCE)
                    assert struct.unpack_from("!H", reply) == (i,)
                    assert dns.message.from_wire(reply).rcode() == (0, 3, 4)[i % 4]
                for client in clients[3::4]:
                    with pytest.raises(BlockingIOError):
                        client.recv(1)
            finally:
                for client in clients:
                    client.close()

    asyncio.run(run())


ASKED_AT = ["127.0.0.1", "127.0.0.2", "127.9.9.9", "::1"]


@both
@pytest.mark.parametrize("host", ASKED_AT)
def test_a_wildcard_socket_replies_from_the_address_that_was_asked(batches: bool, host: str) -> None:
    """The client's socket is connected: a reply from anywhere else would not reach it."""

    async def run() -> None:
        async with served(batches=batches, bind="") as server:
            for i in range(3):  # a miss, and hits
                reply = await server.ask_udp(query(WEB, id_=i), host)
                assert (reply[:2], addresses(reply)) == (struct.pack("!H", i), ["10.96.0.1"])

    asyncio.run(run())


@both
@pytest.mark.parametrize("bind", ["bind 127.0.0.1", ""], ids=["bound", "wildcard"])
def test_a_reply_larger_than_a_slot_is_sent_whole(batches: bool, bind: str) -> None:
    async def run() -> None:
        async with served(batches=batches, bind=bind) as server:
            wire = query(BIG, edns=opt(65_000))
            replies = [await server.ask_udp(wire) for _ in range(3)]
            assert all(len(reply) > mmsg.SLOT for reply in replies)
            assert all(len(addresses(reply)) == 1000 for reply in replies)

    asyncio.run(run())


@both
def test_a_query_may_have_4096_octets(batches: bool) -> None:
    async def run() -> None:
        async with served(batches=batches) as server:
            room = MAX_UDP_QUERY - len(query(WEB, edns=opt())) - 4
            assert addresses(await server.ask_udp(query(WEB, edns=opt(options=((12, bytes(room)),))))) == ["10.96.0.1"]
            cut = await server.ask_udp(query(WEB, edns=opt(options=((12, bytes(room + 1)),))))
            assert dns.message.from_wire(cut).rcode() == dns.rcode.FORMERR

    asyncio.run(run())


@both
def test_port_zero_gets_no_reply(batches: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with served(batches=batches) as server:
            began: list[bytes] = []
            monkeypatch.setattr(server.udp._face, "answer", began.append)
            server.udp._begin(query(WEB), (("127.0.0.1", 0), b""))
            assert not server.udp._tasks
            assert not began

    asyncio.run(run())


# -- the slow path is bounded


def hold_back(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Keep every query waiting until the event is set."""
    release = asyncio.Event()
    ordinary: Callable[[Kubernetes, Query, Next], Awaitable[Answer]] = Kubernetes.answer

    async def wait(self: Kubernetes, query: Query, next_: Next) -> Answer:
        await release.wait()
        return await ordinary(self, query, next_)

    monkeypatch.setattr(Kubernetes, "answer", wait)
    return release


@both
def test_too_many_queries_under_way_are_shed(batches: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        release = hold_back(monkeypatch)
        async with served(batches=batches) as server:
            loop = asyncio.get_running_loop()
            with udp_client("127.0.0.1", server.port) as client:
                for i in range(udp.MAX_IN_FLIGHT):
                    client.send(query(f"n{i}", id_=0))
                    if i % 32 == 31:
                        while len(server.udp._tasks) <= i - 32:
                            await asyncio.sleep(0)
                while len(server.udp._tasks) < udp.MAX_IN_FLIGHT:
                    await asyncio.sleep(0)
                client.send(query(WEB, id_=7))
                reply = await asyncio.wait_for(loop.sock_recv(client, 65535), PATIENCE)
                message = dns.message.from_wire(reply)
                assert (message.id, message.rcode()) == (7, dns.rcode.SERVFAIL)
                assert server.udp.losses.shed == 1
                release.set()

    asyncio.run(run())


@both
def test_stopping_answers_what_was_received(batches: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        release = hold_back(monkeypatch)
        async with served(batches=batches) as server:
            loop = asyncio.get_running_loop()
            with udp_client("127.0.0.1", server.port) as client:
                client.send(query(WEB, id_=9))
                while not server.udp._tasks:
                    await asyncio.sleep(0)
                closing = asyncio.create_task(server.udp.stop())
                await asyncio.sleep(0.01)
                assert not closing.done()
                release.set()
                reply = await asyncio.wait_for(loop.sock_recv(client, 65535), PATIENCE)
                assert (reply[:2], addresses(reply)) == (b"\0\t", ["10.96.0.1"])
                await closing

    asyncio.run(run())


# -- a kernel that does not take replies


class Kernel:
    """Stands between a batch and sendmmsg: each call takes as many replies as the script says, or fails."""

    def __init__(self, batch: mmsg.Batch, script: list[int | OSError]) -> None:
        self._send = batch.send
        self.script = script

    def send(self, first: int, count: int) -> int:
        step = self.script.pop(0) if self.script else count - first
        if isinstance(step, OSError):
            raise step
        return self._send(first, min(count, first + step))


SCRIPTS: dict[str, tuple[list[int | OSError], set[int], int]] = {
    # what the kernel does, which of five replies are lost, how many lines are logged
    "takes all": ([], set(), 0),
    "takes two, then the rest": ([2], set(), 0),
    "takes one at a time": ([1, 1, 1, 1, 1], set(), 0),
    "is interrupted": ([1, OSError(errno.EINTR, "sendmmsg"), 4], set(), 0),
    "refuses the first": ([OSError(errno.EPERM, "sendmmsg")], {0}, 1),
    "refuses the third": ([2, OSError(errno.EPERM, "sendmmsg"), 2], {2}, 1),
    "refuses two": ([OSError(errno.EPERM, "sendmmsg"), 1, OSError(errno.EPERM, "sendmmsg")], {0, 2}, 1),
    "refuses for two reasons": ([OSError(errno.EPERM, "a"), 1, OSError(errno.ENETUNREACH, "b")], {0, 2}, 2),
    "has no room after two": ([2, OSError(errno.EAGAIN, "sendmmsg")], set(), 0),
    "has no room at all": ([OSError(errno.EAGAIN, "sendmmsg")], set(), 0),
}


@pytest.mark.parametrize("miss", [False, True], ids=["hits only", "a miss among them"])
@pytest.mark.parametrize(("script", "lost", "lines"), SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("bind", ["bind 127.0.0.1", ""], ids=["bound", "wildcard"])
def test_no_reply_reaches_the_wrong_client_when_the_kernel(
    script: list[int | OSError],
    lost: set[int],
    lines: int,
    bind: str,
    miss: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        async with served(bind=bind) as server:
            await server.ask_udp(query(WEB))
            batch = server.udp._batch
            assert batch is not None
            monkeypatch.setattr(batch, "send", Kernel(batch, list(script)).send)
            loop = asyncio.get_running_loop()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(udp_client("127.0.0.1", server.port)) for _ in range(5)]
                if miss:  # moves the replies behind it to other places
                    other = stack.enter_context(udp_client("127.0.0.1", server.port))
                    other.send(query("nothing.shop.svc.cluster.local"))
                for i, client in enumerate(clients):
                    client.send(query(WEB, id_=1000 + i))
                for i, client in enumerate(clients):
                    if i not in lost:
                        reply = await asyncio.wait_for(loop.sock_recv(client, 65535), PATIENCE)
                        assert struct.unpack_from("!H", reply) == (1000 + i,)
                        assert addresses(reply) == ["10.96.0.1"]
                for i in lost:
                    with pytest.raises(BlockingIOError):
                        clients[i].recv(1)
                assert server.udp.losses.unsent == len(lost)
                again = await server.ask_udp(query(WEB, id_=5))
                assert (again[:2], addresses(again)) == (b"\0\5", ["10.96.0.1"]), "the batch is whole again"

    with caplog.at_level(logging.WARNING, "dnsd"):
        asyncio.run(run())
    assert len([record for record in caplog.records if "was lost" in record.getMessage()]) == lines


def test_replies_that_wait_for_room_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with served() as server:
            with udp_client("127.0.0.1", server.port) as client:
                peer = client.getsockname()
                for i in range(udp.MAX_UNSENT + 3):
                    server.udp._keep(query(WEB, id_=i), (peer, b""))
                assert len(server.udp._unsent) == udp.MAX_UNSENT
                assert server.udp.losses.unsent == 3
                loop = asyncio.get_running_loop()
                first = await asyncio.wait_for(loop.sock_recv(client, 65535), PATIENCE)
                assert first == query(WEB, id_=0), "in the order in which they came"
                while server.udp._unsent:
                    await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING, "dnsd"):
        asyncio.run(run())
    assert sum("was lost" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOBUFS, errno.EHOSTUNREACH])
def test_a_reply_that_cannot_be_sent_alone_is_counted_and_logged_once(
    error: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with served(batches=False) as server:
            fails = True

            def send_now(reply: bytes, peer: udp.Peer) -> None:
                if fails:
                    raise OSError(error, "no")
                server.udp._socket.sendto(reply, peer[0])

            monkeypatch.setattr(server.udp, "_send_now", send_now)
            with udp_client("127.0.0.1", server.port) as client:
                for i in range(3):
                    client.send(query(WEB, id_=i))
                while server.udp.losses.unsent < 3:
                    await asyncio.sleep(0.001)
            fails = False
            assert addresses(await server.ask_udp(query(WEB))) == ["10.96.0.1"]

    with caplog.at_level(logging.WARNING, "dnsd"):
        asyncio.run(run())
    assert sum("was lost" in record.getMessage() for record in caplog.records) == 1


def test_a_client_that_is_gone_does_not_disturb_the_others() -> None:
    """Its port is closed: the kernel is told so by ICMP, and may tell it to the socket's next call."""

    async def run() -> None:
        async with served() as server:
            for i in range(20):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                    gone.sendto(query(WEB, id_=i), ("127.0.0.1", server.port))
                reply = await server.ask_udp(query(WEB, id_=i))
                assert reply[:2] == struct.pack("!H", i)

    asyncio.run(run())
