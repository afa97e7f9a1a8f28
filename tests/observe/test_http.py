"""The little HTTP server, over real sockets: what it answers, and that nobody can hold it up (RFC 9112)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.observe.http import MAX_CONNECTIONS, MAX_HEAD, BadRequest, HttpListener, Response, read_request
from dnsd.serve.server import ListenError

PATIENCE = 30.0
"""Seconds until a test that waits has failed."""


async def hello() -> Response:
    return Response(b"hello", content_type="text/x-greeting")


async def sorry() -> Response:
    return Response(b"not now", HTTPStatus.SERVICE_UNAVAILABLE)


async def broken() -> Response:
    raise ValueError("a bug")


@dataclass
class Connection:
    """A client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self) -> tuple[str, dict[str, str], bytes]:
        """Status line, header and body of the next response."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *fields = head.strip().split("\r\n")
            header = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            return status, header, await self.reader.readexactly(int(header["content-length"]))

    async def ended(self) -> bool:
        """Whether the server closes the connection without another word."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read() == b""
            return True


@dataclass
class Serving:
    """A listener and who talks to it."""

    listener: HttpListener
    connections: list[Connection] = field(default_factory=list)

    async def connect(self) -> Connection:
        ((host, port),) = self.listener.bound
        made = Connection(*await asyncio.open_connection(host, port))
        self.connections.append(made)
        return made

    async def ask(self, data: bytes) -> tuple[str, dict[str, str], bytes]:
        connection = await self.connect()
        connection.send(data)
        return await connection.response()


@contextlib.asynccontextmanager
async def serving(seconds: float = PATIENCE, connections: int = MAX_CONNECTIONS) -> AsyncIterator[Serving]:
    listener = HttpListener("127.0.0.1:0", seconds, connections)
    listener.pages = {"/hello": hello, "/sorry": sorry, "/broken": broken}
    await listener.open()
    made = Serving(listener)
    try:
        yield made
    finally:
        await listener.close()
        for connection in made.connections:
            connection.writer.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


HOST = b"Host: localhost\r\n"

ANSWERS = {
    "a page": (b"GET /hello HTTP/1.1\r\n" + HOST + b"\r\n", "HTTP/1.1 200 OK", b"hello"),
    "any method": (b"DELETE /hello HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", b"hello"),
    "a query string does not count": (b"GET /hello?a=b HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", b"hello"),
    "an absolute target": (b"GET http://localhost/hello HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", b"hello"),
    "an absolute target without a path": (
        b"GET http://[ HTTP/1.1\r\n\r\n",
        "HTTP/1.1 404 Not Found",
        b"404 page not found\n",
    ),
    "HTTP/1.0": (b"GET /hello HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK", b"hello"),
    "the status of the page": (b"GET /sorry HTTP/1.1\r\n\r\n", "HTTP/1.1 503 Service Unavailable", b"not now"),
    "no such page": (b"GET /hello/ HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found", b"404 page not found\n"),
    "the path is exact": (b"GET /Hello HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found", b"404 page not found\n"),
    "a page that fails": (
        b"GET /broken HTTP/1.1\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error",
        b"500 internal server error\n",
    ),
    "no request": (b"hello\r\n\r\n", "HTTP/1.1 400 Bad Request", b"400 Bad Request\n"),
    "a line folded as nobody does any more": (
        b"GET /hello HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 400 Bad Request",
        b"400 Bad Request\n",
    ),
    "another protocol": (
        b"PRI * HTTP/2.0\r\n\r\n",
        "HTTP/1.1 505 HTTP Version Not Supported",
        b"505 HTTP Version Not Supported\n",
    ),
    "a header that is too long": (
        b"GET /hello HTTP/1.1\r\nA: " + b"a" * MAX_HEAD + b"\r\n\r\n",
        "HTTP/1.1 431 Request Header Fields Too Large",
        b"431 Request Header Fields Too Large\n",
    ),
}


@pytest.mark.parametrize("rule", ANSWERS)
def test_is_answered(rule: str) -> None:
    request, status, body = ANSWERS[rule]

    async def test() -> None:
        async with serving() as server:
            found = await server.ask(request)
            assert (found[0], found[2]) == (status, body)

    run(test)


def test_a_header_as_long_as_allowed_is_read() -> None:
    async def test() -> None:
        async with serving() as server:
            request = b"GET /hello HTTP/1.1\r\nA: "
            request += b"a" * (MAX_HEAD - len(request) - 4) + b"\r\n\r\n"
            assert (await server.ask(request))[0] == "HTTP/1.1 200 OK"

    run(test)


def test_a_response_says_what_it_is() -> None:
    async def test() -> None:
        async with serving() as server:
            _, header, _ = await server.ask(b"GET /hello HTTP/1.1\r\n\r\n")
            assert header["content-type"] == "text/x-greeting"
            assert header["connection"] == "keep-alive"
            assert header["date"].endswith(" GMT")

    run(test)


def test_head_gets_the_header_alone() -> None:
    async def test() -> None:
        async with serving() as server:
            connection = await server.connect()
            connection.send(b"HEAD /hello HTTP/1.1\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                data = await connection.reader.read()
            assert b"Content-Length: 5\r\n" in data
            assert data.endswith(b"\r\n\r\n")

    run(test)


def test_requests_follow_each_other_on_one_connection() -> None:
    async def test() -> None:
        async with serving() as server:
            connection = await server.connect()
            connection.send(b"GET /hello HTTP/1.1\r\n\r\nGET /sorry HTTP/1.1\r\n\r\n")
            assert [(await connection.response())[2] for _ in range(2)] == [b"hello", b"not now"]

    run(test)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /hello HTTP/1.0\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nConnection: Close\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /hello HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_no_request_follows_where_none_can(request_: bytes) -> None:
    async def test() -> None:
        async with serving() as server:
            connection = await server.connect()
            connection.send(request_)
            _, header, _ = await connection.response()
            assert header["connection"] == "close"
            assert await connection.ended()

    run(test)


def test_who_does_not_finish_a_request_is_cut_off() -> None:
    async def test() -> None:
        async with serving(seconds=0.05) as server:
            silent, slow = await server.connect(), await server.connect()
            slow.send(b"GET /hello HTTP/1.1\r\n")
            assert await silent.ended()
            assert await slow.ended()

    run(test)


def test_who_does_not_read_is_cut_off() -> None:
    async def test() -> None:
        async with serving(seconds=0.2) as server:

            async def endless() -> Response:
                return Response(b"x" * 64 * 1024 * 1024)

            server.listener.pages["/endless"] = endless
            connection = await server.connect()
            connection.send(b"GET /endless HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                while server.listener._connections or not connection.reader._buffer:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)

    run(test)


def test_one_connection_too_many_ends_the_oldest() -> None:
    async def test() -> None:
        async with serving(connections=3) as server:
            crowd = []
            for _ in range(3):
                connection = await server.connect()
                connection.send(b"GET /hello HTTP/1.1\r\n\r\n")
                await connection.response()
                crowd.append(connection)
            assert (await server.ask(b"GET /hello HTTP/1.1\r\n\r\n"))[2] == b"hello"
            assert await crowd[0].ended()
            crowd[1].send(b"GET /hello HTTP/1.1\r\n\r\n")
            assert (await crowd[1].response())[2] == b"hello"
            assert len(server.listener._connections) == 3

    run(test)


def test_closing_cuts_everybody_off_and_frees_the_port() -> None:
    async def test() -> None:
        async with serving() as server:
            connection = await server.connect()
            connection.send(b"GET /hello HTTP/1.1\r\n\r\n")
            await connection.response()
            ((host, port),) = server.listener.bound
            await server.listener.close()
            assert await connection.ended()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(host, port)

    run(test)


def test_no_host_means_every_address_of_both_families() -> None:
    async def test() -> None:
        listener = HttpListener(":0")
        listener.pages = {"/hello": hello}
        await listener.open()
        try:
            ((_, port),) = listener.bound
            for host in ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]:
                connection = Connection(*await asyncio.open_connection(host, port))
                connection.send(b"GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n")
                assert (await connection.response())[2] == b"hello"
                connection.writer.close()
        finally:
            await listener.close()

    run(test)


def test_a_host_name_means_each_of_its_addresses_on_one_port() -> None:
    async def test() -> None:
        listener = HttpListener("localhost:0")
        await listener.open()
        assert "127.0.0.1" in {host for host, _ in listener.bound}
        assert len({port for _, port in listener.bound}) == 1
        await listener.close()

    run(test)


def test_an_address_that_cannot_be_used_is_named() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(ListenError, match=f"cannot listen on {address}: Address already in use"):
                await HttpListener(address).open()
        with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:8080"):
            await HttpListener("192.0.2.1:8080").open()

    run(test)


@given(st.binary(max_size=300))
def test_no_octets_make_the_reader_fail_in_another_way(data: bytes) -> None:
    try:
        request = read_request(data + b"\r\n\r\n")
    except BadRequest:
        return
    assert request.method.isalpha()
    assert "?" not in request.path
