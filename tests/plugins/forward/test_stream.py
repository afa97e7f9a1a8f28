"""TCP and TLS: connections are shared, replaced and bounded; certificates are checked. Real sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dnsd.plugins.forward.stream import MAX_CONNECTIONS, MAX_PIPELINED, PoolExhausted, Stream
from dnsd.plugins.forward.upstream import Attempt, Upstream
from tests.cluster.authority import Authority
from tests.plugins.forward.servers import LOOPS, Asked, Forwarding, Server, addresses, error_text, honest, run, silent
from tests.plugins.forward.test_udp import Notes


async def until(what: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(500):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@asynccontextmanager
async def stream_to(server: Server, *, max_age: float = 0.0, max_idle: int = 0) -> AsyncIterator[Stream]:
    """The connections to a server."""
    stream = Stream(("127.0.0.1", server.port), expire=10.0, max_age=max_age, max_idle=max_idle, clock=time.monotonic)
    yield stream
    stream.close()


class Desk(Notes):
    """Sends attempts over a stream."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.upstream = Upstream("x", None, stream)

    def send(self, now: float = 0.0) -> Attempt:
        attempt = Attempt(self, self.upstream, self.upstream.stream, 1, now)
        self.upstream.stream.send(attempt)
        return attempt

    async def answer(self, now: float = 0.0) -> None:
        """Send one, and wait for the response."""
        count = len(self.answers)
        self.send(now)
        await until(lambda: len(self.answers) > count)


def with_stream(test: Callable[[Desk, Server, Stream], Awaitable[None]], server: Server, **options: float) -> None:
    async def body() -> None:
        async with server, stream_to(server, **options) as stream:  # type: ignore[arg-type]
            await test(Desk(stream), server, stream)

    run(body())


class TestPool:
    def test_one_query_after_the_other_shares_a_connection(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            for _ in range(5):
                await desk.answer()
            assert len(server.connections) == stream.misses == 1
            assert stream.hits == 4

        with_stream(test, Server(udp=False))

    def test_queries_at_one_time_have_connections_of_their_own(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            for _ in range(5):
                desk.send()
            await until(lambda: len(desk.answers) == 5)
            assert len(server.connections) == 5

        with_stream(test, Server(udp=False))

    def test_above_the_limit_of_connections_they_share_and_above_that_they_fail(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            attempts = [desk.send() for _ in range(MAX_CONNECTIONS * MAX_PIPELINED)]
            assert stream.misses == MAX_CONNECTIONS
            with pytest.raises(PoolExhausted):
                desk.send()
            await until(lambda: len(server.asked) == len(attempts))
            assert len(server.connections) == MAX_CONNECTIONS
            for attempt in attempts:
                stream.forget(attempt)
            server.behave = honest
            await desk.answer()

        with_stream(test, Server(silent, udp=False))

    def test_responses_on_one_connection_may_come_in_another_order(self) -> None:
        held: list[bytes] = []

        def behave(asked: Asked) -> list[bytes]:
            held.append(asked.answer())
            return held[::-1] if len(held) == 2 * MAX_CONNECTIONS else []

        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            for _ in range(2 * MAX_CONNECTIONS):
                desk.send()
            await until(lambda: len(held) == 2 * MAX_CONNECTIONS)
            await until(lambda: len(desk.answers) == 2)  # those of the connection that the last query was on

        with_stream(test, Server(behave, udp=False))

    def test_a_response_in_pieces(self) -> None:
        server = Server(silent, udp=False)

        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            desk.send()
            await until(lambda: len(server.asked) == 1)
            answer = server.asked[0].answer()
            for octet in struct.pack("!H", len(answer)) + answer:
                server.connections[0].write(bytes([octet]))
                await asyncio.sleep(0)
            await until(lambda: desk.answers == [answer])

        with_stream(test, server)

    def test_an_idle_connection_is_closed_after_its_time(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            await desk.answer(now=5.0)
            assert stream.sweep(5.0)
            assert not stream.sweep(time.monotonic() + 11)
            await until(lambda: server.connections[0].is_closing() or server.connections[0].transport.is_closing())

        with_stream(test, Server(udp=False))

    def test_a_busy_one_is_not(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            desk.send(now=5.0)
            assert stream.sweep(100.0)

        with_stream(test, Server(silent, udp=False))

    def test_no_connection_is_used_beyond_max_age(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            await desk.answer(now=0.0)
            await desk.answer(now=2.9)
            assert len(server.connections) == 1
            await desk.answer(now=3.0)
            assert len(server.connections) == 2

        with_stream(test, Server(udp=False), max_age=3.0)

    def test_no_more_idle_connections_than_max_idle_conns(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            for _ in range(6):
                desk.send()
            await until(lambda: len(desk.answers) == 6)
            for _ in range(3):
                desk.send()
            await until(lambda: len(desk.answers) == 9)
            assert (stream.hits, stream.misses) == (2, 7)
            assert len(server.connections) == 7

        with_stream(test, Server(udp=False), max_idle=2)

    def test_a_connection_that_gave_no_answer_in_time_gets_no_more_queries(self) -> None:
        """As after a node that an upstream ran on went away (kubernetes/dns#745)."""

        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            lost = desk.send()
            await until(lambda: len(server.connections) == 1)
            stream.overdue(lost)
            server.behave = honest
            await desk.answer()
            assert len(server.connections) == 2
            stream.forget(lost)
            await desk.answer()
            assert len(server.connections) == 2
            assert server.asked[1].peer == server.asked[2].peer

        with_stream(test, Server(silent, udp=False))

    def test_a_connection_that_the_upstream_closes_while_idle_is_replaced(self) -> None:
        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            await desk.answer()
            server.connections[0].close()
            await asyncio.sleep(0.05)
            await desk.answer()
            assert desk.failures == []

        with_stream(test, Server(udp=False))

    def test_a_query_that_meets_the_end_of_a_used_connection_is_sent_again(self) -> None:
        server = Server(udp=False)

        def behave(asked: Asked) -> list[bytes]:
            if len(server.asked) == 2:
                server.connections[-1].close()
                return []
            return [asked.answer()]

        server.behave = behave

        async def test(desk: Desk, server: Server, stream: Stream) -> None:
            await desk.answer()
            await desk.answer()
            assert desk.failures == []
            assert len(server.connections) == 2

        with_stream(test, server)

    def test_a_connection_that_cannot_be_made(self) -> None:
        async def test() -> None:
            async with Server(udp=False) as server:
                pass
            async with stream_to(server) as stream:
                desk = Desk(stream)
                desk.send()
                await until(lambda: bool(desk.failures))
                assert desk.failures == ["connection refused"]
                assert not stream.sweep(0.0)

        run(test())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


def tls_server(authority: Authority, folder: Path, *, client: bool = False) -> ssl.SSLContext:
    """TLS of a server on 127.0.0.1, known as localhost too."""
    certificate, key = authority.issue("upstream", server=True)
    (folder / "server.pem").write_bytes(certificate + key)
    (folder / "ca.pem").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.pem")
    return context


class TestTls:
    @pytest.mark.parametrize("loop", LOOPS)
    @pytest.mark.parametrize("option", ["", "tls_servername localhost", "tls_servername 127.0.0.1"])
    def test_queries_over_udp_and_tcp_go_over_tls(
        self, option: str, loop: str, authority: Authority, tmp_path: Path
    ) -> None:
        async def test() -> None:
            async with (
                Server(tls=tls_server(authority, tmp_path), udp=False) as server,
                Forwarding(
                    f"forward . tls://{server.address} {{\n tls ca.pem\n {option}\n}}", folder=str(tmp_path)
                ) as chain,
            ):
                for protocol in ("udp", "tcp"):
                    assert addresses(await chain.ask("www.example.com.", protocol=protocol)) == ["192.0.2.1"]
                assert len(server.connections) == 1

        run(test(), loop)

    def test_a_server_name_beside_the_address(self, authority: Authority, tmp_path: Path) -> None:
        async def test() -> None:
            async with (
                Server(tls=tls_server(authority, tmp_path), udp=False) as server,
                Forwarding(
                    f"forward . tls://127.0.0.1%localhost:{server.port} {{\n tls ca.pem\n}}", folder=str(tmp_path)
                ) as chain,
            ):
                assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]

        run(test())

    @pytest.mark.parametrize(
        ("option", "complaint"),
        [
            ("tls ca.pem\n tls_servername other.example", "certificate refused: Hostname mismatch"),
            ("tls\n tls_servername localhost", "certificate refused: unable to get local issuer certificate"),
        ],
        ids=["another name", "an authority that nobody trusts"],
    )
    def test_a_certificate_that_is_refused(
        self, option: str, complaint: str, authority: Authority, tmp_path: Path
    ) -> None:
        async def test() -> None:
            async with (
                Server(tls=tls_server(authority, tmp_path), udp=False) as server,
                Forwarding(f"forward . tls://{server.address} {{\n {option}\n}}", folder=str(tmp_path)) as chain,
            ):
                reply = await chain.ask("www.example.com.", use_edns=0)
                assert error_text(reply).startswith(f"23: {server.address} attempt 1 tcp-tls: {complaint}")
                assert server.asked == []

        run(test())

    def test_a_client_certificate(self, authority: Authority, tmp_path: Path) -> None:
        certificate, key = authority.issue("dnsd", server=False)
        (tmp_path / "cert.pem").write_bytes(certificate)
        (tmp_path / "key.pem").write_bytes(key)

        async def test(option: str) -> list[str]:
            async with (
                Server(tls=tls_server(authority, tmp_path, client=True), udp=False) as server,
                Forwarding(
                    f"forward . tls://{server.address} {{\n {option}\n max_fails 0\n}}", folder=str(tmp_path)
                ) as chain,
            ):
                return addresses(await chain.ask("www.example.com."))

        assert run(test("tls cert.pem key.pem ca.pem")) == ["192.0.2.1"]
        assert run(test("tls ca.pem")) == ["SERVFAIL"]

    def test_an_upstream_that_speaks_no_tls(self, authority: Authority, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_bytes(authority.pem)

        async def test() -> None:
            async with (
                Server(lambda _: [b"\0" * 600], udp=False) as server,
                Forwarding(
                    f"forward . tls://{server.address} {{\n tls ca.pem\n read_timeout 300ms\n max_fails 0\n}}",
                    folder=str(tmp_path),
                ) as chain,
            ):
                assert addresses(await chain.ask("www.example.com.")) == ["SERVFAIL"]

        run(test())
