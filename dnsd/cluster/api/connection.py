"""One HTTP session with the API server: who we are, how long to wait, what a refusal means. Knows no kind of object."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Self, TypeAlias

import aiohttp
import yarl

from dnsd import __version__
from dnsd.cluster.api import credentials
from dnsd.cluster.api.credentials import Credentials, ServiceAccount
from dnsd.cluster.api.messages import DECODE_ERRORS, Status, decode_status
from dnsd.cluster.api.timing import Timing
from dnsd.cluster.store import SourceSettings

CONNECT_SECONDS = 10.0
"""How long TCP and TLS may take to come up: a lost SYN is sent again after 1, 3 and 7 seconds."""

ANSWER_SECONDS = 30.0
"""How long the API server may think before it sends headers; it gives up on its own storage sooner."""

MAX_STATUS_OCTETS = 64 * 1024
"""How much of a refusal is read; a Status has a few hundred octets."""

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 15, 5, 3
"""Seconds, seconds and probes until TCP gives up a peer that is gone without a word. A watch may be silent for minutes;
so a dead node is found out after 30 seconds, as client-go does with its health check of HTTP/2."""

CLOSING_TURNS = 5
"""Turns of the loop after which a connection that was shut down is gone: TLS and TCP take two each."""

RequestObserver: TypeAlias = Callable[[str, str, str, float], None]
"""Told of each request: method, host with port, status code or `<error>`, seconds until the headers of the answer."""


class ApiError(Exception):
    """The API server refused: HTTP status (or that of an ERROR event), and what it said."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}".strip())
        self.code = code


class Forbidden(ApiError):
    """Status 403: the service account may not do this. RBAC is missing."""


class Expired(ApiError):
    """The resourceVersion or continue token is of no use to the server any more: list again (status 410)."""


def refusal(code: int, body: bytes) -> ApiError:
    """Return what a Status means. `code` is that of the HTTP response; 0 where the Status came as an event."""
    try:
        status = decode_status(body)
    except DECODE_ERRORS:
        status = Status(message=" ".join(body[:200].decode(errors="replace").split()))
    code = code or status.code
    if code == 410 or status.version_too_large:
        return Expired(code, status.message)
    if code == 403:
        return Forbidden(code, status.message)
    return ApiError(code, status.message)


def kept_alive(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket for this address that finds out by itself when the other side is gone."""
    opened = socket.socket(address[0], address[1], address[2])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    return opened


class Connection:
    """A session, as an asynchronous context manager. Credentials are read with the first request."""

    def __init__(
        self,
        settings: SourceSettings,
        account: ServiceAccount,
        timing: Timing,
        observe: RequestObserver | None = None,
    ) -> None:
        self._settings = settings
        self._account = account
        self._timing = timing
        self._observe = observe
        self._credentials: Credentials | None = None
        self._reading = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=self._open),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Not compressed: the network inside a cluster is cheaper than the CPU time of both ends.
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"dnsd/{__version__}",
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        # A request that was cancelled leaves TLS waiting for the other side's goodbye, for 30 s and without an owner.
        for opened in self._sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        for _ in range(CLOSING_TURNS):
            await asyncio.sleep(0)

    def _open(self, address: aiohttp.AddrInfoType) -> socket.socket:
        opened = kept_alive(address)
        self._sockets.add(opened)
        return opened

    @contextlib.asynccontextmanager
    async def get(self, path: str, query: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a GET, and give its response of status 200 as long as the context lasts.

        A 401 or a certificate that does not verify makes the credentials be read again, once.

        Raises:
            CredentialsError: the credentials cannot be read.
            ApiError: the API server answered with another status.
            aiohttp.ClientError, OSError: there is no connection.
            TimeoutError: there was no answer in time.
        """
        used = await self._current(None)
        try:
            response = await self._send(used, path, query)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            response = await self._send(await self._current(used), path, query)
        if response.status == 401:
            _end(response)
            response = await self._send(await self._current(used), path, query)
        try:
            if response.status != 200:
                raise refusal(response.status, await _beginning(response))
            yield response
        finally:
            _end(response)

    async def _current(self, refused: Credentials | None) -> Credentials:
        """Return the credentials, other ones than those that were refused."""
        async with self._reading:
            if self._credentials is None or self._credentials is refused:
                self._credentials = await credentials.load(self._settings, self._account, self._timing.monotonic)
            return self._credentials

    async def _send(self, used: Credentials, path: str, query: Mapping[str, str]) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the connection is not open")
        authorization = await used.authorization()
        began = self._timing.monotonic()
        url = yarl.URL(used.url + path)
        code = "<error>"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self._session.get(
                    url,
                    params=query,
                    headers={"Authorization": authorization} if authorization else {},
                    ssl=used.tls or True,
                    server_hostname=used.server_hostname,
                    proxy=used.proxy,
                    allow_redirects=False,  # a token is for this server and nobody else
                )
            code = str(response.status)
            return response
        except TimeoutError as error:
            raise TimeoutError(f"{url.authority} did not answer in time") from error
        finally:
            if self._observe is not None:
                self._observe("GET", url.authority, code, self._timing.monotonic() - began)


def _end(response: aiohttp.ClientResponse) -> None:
    """Give the connection back if the body was read; if not, cut it: TLS would wait for the other side's goodbye."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()
    response.close()


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async with asyncio.timeout(ANSWER_SECONDS):
        while len(body) < MAX_STATUS_OCTETS and (chunk := await response.content.readany()):
            body += chunk
    return body
