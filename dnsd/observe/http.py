"""A small HTTP/1.1 server for a handful of pages. Knows no page; what it does not need of HTTP it does not do.

Every limit is strict, because anybody in the cluster can reach it: who sends nothing, sends too much or does not read
is cut off, and who opens too many connections loses the oldest, so that a probe of the kubelet always gets through.
A request with a body is answered without reading it, and the connection is closed. RFC 9112.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from dnsd.serve.server import ListenError

log = logging.getLogger("dnsd.observe.http")

SECONDS = 5.0
"""That a client may take to send a request, to read a response, and to think in between (spec.md section 7.1)."""
MAX_HEAD = 8 * 1024
"""Octets of a request line with its header; a scraper's has some 300."""
MAX_CONNECTIONS = 64
"""Of one listener. Few have reason to connect: the kubelet, a scraper or two, somebody with curl."""
BACKLOG = 64
"""Connections that wait to be accepted."""

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """What a page says."""

    body: bytes
    status: int = HTTPStatus.OK
    content_type: str = TEXT


Page = Callable[[], Awaitable[Response]]

NOT_FOUND = Response(b"404 page not found\n", HTTPStatus.NOT_FOUND)
FAILED = Response(b"500 internal server error\n", HTTPStatus.INTERNAL_SERVER_ERROR)


class BadRequest(Exception):
    """Octets that are no request that we take; says which status is the answer."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request matters here."""

    method: str
    path: str
    keep_alive: bool


def read_request(head: bytes) -> Request:
    """A request from its first line and header, the empty line at the end included.

    Raises:
        BadRequest: it is none.
    """
    line, *rest = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[1]:
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    header: dict[str, str] = {}
    for field in rest[:-2]:
        name, colon, value = field.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(HTTPStatus.BAD_REQUEST)
        header[name.lower()] = value.strip()
    if target.startswith("http://"):
        target = "/" + target.removeprefix("http://").partition("/")[2]
    options = {option.strip().lower() for option in header.get("connection", "").split(",")}
    persistent = "close" not in options if version == "HTTP/1.1" else "keep-alive" in options
    has_body = header.get("content-length", "0") != "0" or "transfer-encoding" in header
    return Request(method, target.partition("?")[0], persistent and not has_body)


def write_response(response: Response, *, keep_alive: bool, body: bool = True) -> bytes:
    """The octets of a response; `body` is False in reply to HEAD."""
    head = (
        f"HTTP/1.1 {int(response.status)} {HTTPStatus(response.status).phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    return head.encode("ascii") + (response.body if body else b"")


class HttpListener:
    """Serves pages, by their exact path, on one address. Pages may come and go while it listens."""

    def __init__(self, address: str, seconds: float = SECONDS, connections: int = MAX_CONNECTIONS) -> None:
        self.address = address
        """`HOST:PORT`; no host means every address of this machine."""
        self.pages: dict[str, Page] = {}
        self._seconds = seconds
        self._limit = connections
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """Oldest first."""

    async def open(self) -> None:
        """Begin to listen.

        Raises:
            ListenError: the address cannot be used.
        """
        sockets = await _bound(self.address)
        for sock in sockets:
            self._servers.append(
                await asyncio.start_server(self._serve, sock=sock, limit=MAX_HEAD, backlog=BACKLOG),
            )

    @property
    def bound(self) -> list[tuple[str, int]]:
        """Addresses and ports that are listened on."""
        return [sock.getsockname()[:2] for server in self._servers for sock in server.sockets]

    async def close(self) -> None:
        """Listen no more, and cut off who is connected."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        tasks = list(self._connections)
        for task in tasks:
            self._cut(task)
        if tasks:
            await asyncio.wait(tasks)

    def _cut(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task).transport.abort()
        task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio runs this in a task of its own
        if len(self._connections) >= self._limit:
            self._cut(next(iter(self._connections)))
        self._connections[task] = writer
        writer.transport.set_write_buffer_limits(0)  # so that `drain` waits until the kernel has everything
        try:
            while await self._answer(reader, writer):
                pass
            writer.close()
            async with asyncio.timeout(self._seconds):
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # the client is gone or does nothing, or we end
        finally:
            self._connections.pop(task, None)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether another may follow."""
        try:
            async with asyncio.timeout(self._seconds):
                head = await reader.readuntil(b"\r\n\r\n")
            request = read_request(head)
        except asyncio.LimitOverrunError:
            return await self._refuse(writer, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except BadRequest as error:
            return await self._refuse(writer, error.status)
        response = await self._respond(request.path)
        await self._send(writer, write_response(response, keep_alive=request.keep_alive, body=request.method != "HEAD"))
        return request.keep_alive

    async def _respond(self, path: str) -> Response:
        page = self.pages.get(path)
        if page is None:
            return NOT_FOUND
        try:
            return await page()
        except Exception:  # a page that fails must not end a listener
            log.exception("%s failed", path)
            return FAILED

    async def _refuse(self, writer: asyncio.StreamWriter, status: HTTPStatus) -> bool:
        body = f"{int(status)} {status.phrase}\n".encode()
        await self._send(writer, write_response(Response(body, status), keep_alive=False))
        return False

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        async with asyncio.timeout(self._seconds):
            await writer.drain()


async def _bound(address: str) -> list[socket.socket]:
    """Sockets bound to `HOST:PORT`: one for all addresses, else one for each address of the host."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        return [_wildcard(int(port))] if host in ("", "::") else await _each(host, int(port))
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error


def _wildcard(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


async def _each(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of a host; an address family that this machine does not have is left out."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, place in found:
            own_port = port or (sockets[0].getsockname()[1] if sockets else 0)
            try:
                sockets.append(socket.create_server((place[0], own_port, *place[2:]), family=family))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    if not sockets and missing is not None:
        raise missing
    return sockets
