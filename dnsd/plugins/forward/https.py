"""DNS over HTTPS to one upstream (RFC 8484). Knows no policy; aiohttp keeps the connections."""

from __future__ import annotations

import asyncio
import base64
import ssl

import aiohttp

from dnsd.plugins.forward.settings import Target
from dnsd.plugins.forward.upstream import Attempt, cause
from dnsd.wire.query import MAX_TCP_SIZE

MAX_CONNECTIONS = 16
"""Connections to one upstream; HTTP/1.1 has one request under way on each."""
MAX_REQUESTS = 1024
"""Requests to one upstream, those included that wait for a connection."""
REQUEST_TIMEOUT = 5.0
"""Seconds; nobody waits for an answer for as long."""
MEDIA_TYPE = "application/dns-message"


class TooManyRequests(OSError):
    """As many requests are under way as may be."""


class BadResponse(OSError):
    """The upstream speaks HTTP, but says something else than a DNS message."""


class Https:
    """Requests to one upstream. The id of each message is 0, which makes equal questions equal to HTTP's caches."""

    protocol = "https"

    def __init__(
        self, target: Target, *, tls: ssl.SSLContext, server_name: str, source: str, expire: float, post: bool
    ) -> None:
        self.hits = 0
        self.misses = 0
        host = f"[{target.host}]" if ":" in target.host else target.host
        self._url = f"https://{host}:{target.port}{target.path}"
        self._tls = tls
        self._host = server_name
        self._server_name = server_name or target.host
        self._source = source
        self._expire = expire
        self._post = post
        self._session: aiohttp.ClientSession | None = None
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}

    def send(self, attempt: Attempt) -> None:
        """Begin a request.

        Raises:
            TooManyRequests: too many are under way.
        """
        if len(self._tasks) >= MAX_REQUESTS:
            raise TooManyRequests(f"{MAX_REQUESTS} requests are under way")
        task = asyncio.get_running_loop().create_task(self._request(attempt))
        self._tasks[attempt] = task

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for this attempt any more."""
        task = self._tasks.pop(attempt, None)
        if task is not None:
            task.cancel()

    def overdue(self, attempt: Attempt) -> None:
        """A slow request says nothing about the others."""

    def sweep(self, now: float) -> bool:  # noqa: ARG002  aiohttp closes idle connections
        """Whether requests are under way."""
        return bool(self._tasks)

    async def close(self) -> None:
        """End every request, and close the connections."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _request(self, attempt: Attempt) -> None:
        try:
            message = await self._exchange(b"\0\0" + attempt.owner.tail)
            problem = "response to another question" if not attempt.asked(message) else ""
        except TimeoutError:
            message, problem = b"", "i/o timeout"
        except aiohttp.ClientConnectorError as error:
            message, problem = b"", cause(error.os_error)
        except (aiohttp.ClientError, OSError) as error:
            message, problem = b"", str(error)
        if self._tasks.pop(attempt, None) is None:
            return
        if problem:
            attempt.owner.failed(attempt, problem)
        else:
            attempt.owner.answered(attempt, message)

    async def _exchange(self, message: bytes) -> bytes:
        if self._session is None:
            self.misses += 1
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    keepalive_timeout=self._expire,
                    local_addr=(self._source, 0) if self._source else None,
                    ssl=self._tls,
                ),
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT),
                headers={"Accept": MEDIA_TYPE} | ({"Host": self._host} if self._host else {}),
            )
        else:
            self.hits += 1
        if self._post:
            request = self._session.post(
                self._url, data=message, headers={"Content-Type": MEDIA_TYPE}, server_hostname=self._server_name
            )
        else:
            text = base64.urlsafe_b64encode(message).rstrip(b"=").decode()
            request = self._session.get(self._url, params={"dns": text}, server_hostname=self._server_name)
        async with request as response:
            if response.status != 200 or response.content_type != MEDIA_TYPE:
                raise BadResponse(f"HTTP status {response.status}, content {response.content_type}")
            return await _read_all(response)


async def _read_all(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_TCP_SIZE:
            raise BadResponse("response of more than 65,535 octets")
    return bytes(body)
