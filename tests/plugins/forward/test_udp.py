"""Source ports and ids: what somebody who forges responses has to guess (RFC 5452), and the bounds of the sockets."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable

import pytest

from dnsd.plugins.forward.udp import MAX_USES, POOL, Poller, Udp, UdpSocket
from dnsd.plugins.forward.upstream import Attempt, Upstream
from tests.plugins.forward.scripted import QUESTION, TAIL, Channel
from tests.plugins.forward.servers import LOOPS, run

EXPIRE = 10.0


class Notes:
    """An asker that notes what it is told."""

    tail, question = TAIL, QUESTION

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.failures: list[str] = []
        self.spoils: list[str] = []

    def answered(self, attempt: Attempt, data: bytes) -> None:  # noqa: ARG002  Asker
        self.answers.append(data)

    def failed(self, attempt: Attempt, error: str) -> None:  # noqa: ARG002  Asker
        self.failures.append(error)

    def spoiled(self, attempt: Attempt, error: str) -> None:  # noqa: ARG002  Asker
        self.spoils.append(error)

    def due(self, now: float) -> None:  # noqa: ARG002  Asker
        raise AssertionError("nobody set an alarm")


class Bench:
    """UDP sockets to an address where somebody listens and says nothing."""

    def __init__(self) -> None:
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.listener.bind(("127.0.0.1", 0))
        self.poller = Poller(asyncio.get_running_loop())
        self.udp = Udp(self.listener.getsockname(), "", EXPIRE, self.poller)
        self.upstream = Upstream("x", self.udp, Channel("tcp"))
        self.asker = Notes()

    def send(self, now: float = 0.0) -> Attempt:
        attempt = Attempt(self.asker, self.upstream, self.udp, 1, now)
        self.udp.send(attempt)
        return attempt

    def close(self) -> None:
        self.poller.close()
        self.listener.close()


def with_bench(test: Callable[[Bench], None], loop: str = "asyncio") -> None:
    """Run a test with a bench, and see that nothing is left of it."""

    async def body() -> None:
        bench = Bench()
        try:
            test(bench)
        finally:
            bench.close()
        assert len(bench.poller) == 0

    run(body(), loop)


def socket_of(attempt: Attempt) -> UdpSocket:
    assert isinstance(attempt.place, UdpSocket)
    return attempt.place


def test_ids_and_ports_differ_from_query_to_query() -> None:
    def test(bench: Bench) -> None:
        attempts = [bench.send() for _ in range(400)]
        assert len({attempt.id for attempt in attempts}) > 380  # 2 in 400 of 65,536 are expected to be alike
        ports = Counter(socket_of(attempt).socket.getsockname()[1] for attempt in attempts)
        assert len(ports) > POOL * 3 / 4
        assert max(ports.values()) < 40
        assert list(ports) != sorted(ports)

    with_bench(test)


def test_no_port_is_used_more_often_than_allowed() -> None:
    def test(bench: Bench) -> None:
        uses: Counter[int] = Counter()
        for _ in range(POOL * MAX_USES * 2):
            attempt = bench.send()
            uses[id(socket_of(attempt))] += 1
            bench.udp.forget(attempt)
            assert socket_of(attempt).uses <= MAX_USES
        assert len(bench.poller) <= POOL
        assert bench.udp.misses >= POOL * 2
        assert bench.udp.hits + bench.udp.misses == POOL * MAX_USES * 2

    with_bench(test)


def test_no_port_is_used_for_longer_than_allowed() -> None:
    def test(bench: Bench) -> None:
        before = {id(socket_of(bench.send(0.0))) for _ in range(200)}
        after = [socket_of(bench.send(EXPIRE)) for _ in range(200)]
        assert all(sock.opened == EXPIRE for sock in after)
        assert len(before) > 1

    with_bench(test)


def test_sockets_that_are_too_old_are_closed_once_nobody_waits_on_them() -> None:
    def test(bench: Bench) -> None:
        attempts = [bench.send(0.0) for _ in range(50)]
        assert bench.udp.sweep(EXPIRE - 1)
        assert not bench.udp.sweep(EXPIRE)
        assert len(bench.poller) == len({id(socket_of(attempt)) for attempt in attempts})
        for attempt in attempts:
            bench.udp.forget(attempt)
        assert len(bench.poller) == 0

    with_bench(test)


def test_only_the_upstream_is_listened_to() -> None:
    def test(bench: Bench) -> None:
        attempt = bench.send()
        answer = attempt.id + b"\x81\x80\0\1\0\0\0\0\0\0" + QUESTION
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(answer, socket_of(attempt).socket.getsockname())
        bench.poller._readable()
        assert bench.asker.answers == []
        bench.listener.sendto(answer, socket_of(attempt).socket.getsockname())
        bench.poller._readable()
        assert bench.asker.answers == [answer]

    with_bench(test)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_poller_reads_every_socket(loop: str) -> None:
    async def test() -> None:
        bench = Bench()
        attempts = [bench.send() for _ in range(300)]
        for attempt in attempts:
            answer = attempt.id + b"\x81\x80\0\1\0\0\0\0\0\0" + QUESTION
            bench.listener.sendto(answer, socket_of(attempt).socket.getsockname())
        for _ in range(100):
            await asyncio.sleep(0.01)
            if len(bench.asker.answers) == len(attempts):
                break
        assert len(bench.asker.answers) == len(attempts)
        bench.close()

    run(test(), loop)


def test_a_query_that_cannot_be_sent_is_not_waited_for() -> None:
    async def test() -> None:
        poller = Poller(asyncio.get_running_loop())
        udp = Udp(("255.255.255.255", 53), "", EXPIRE, poller)
        attempt = Attempt(Notes(), Upstream("x", udp, Channel("tcp")), udp, 1, 0.0)
        with pytest.raises(PermissionError):
            udp.send(attempt)
        assert len(poller) == 0
        poller.close()

    run(test())


def test_ipv6() -> None:
    async def test() -> None:
        try:
            listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("this host has no IPv6")
        poller = Poller(asyncio.get_running_loop())
        udp = Udp(("::1", listener.getsockname()[1]), "::1", EXPIRE, poller)
        udp.send(Attempt(Notes(), Upstream("x", udp, Channel("tcp")), udp, 1, 0.0))
        await asyncio.sleep(0)
        assert listener.recv(512)[2:] == TAIL
        listener.close()
        poller.close()

    run(test())
