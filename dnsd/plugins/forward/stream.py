"""TCP and TLS to one upstream: a pool of connections, each with many queries under way (RFC 7766, RFC 7858).

Knows no policy. An idle connection is used before a new one is opened, the one that was idle longest first; only where
all are busy and no more may be opened do queries share one, so that a slow answer holds up others as late as possible.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable
from typing import cast

from dnsd.plugins.forward.upstream import Attempt, cause

MAX_CONNECTIONS = 16
"""Connections to one upstream."""
MAX_PIPELINED = 128
"""Queries under way on one connection; with MAX_CONNECTIONS, 2,048 to one upstream."""
CONNECT_TIMEOUT = 3.0
"""Seconds to connect, TLS handshake included: a query does not wait for longer than 4.5 in all."""


class PoolExhausted(OSError):
    """Every connection has as many queries under way as it may have."""


class Connection(asyncio.Protocol):
    """One connection, open or about to be."""

    def __init__(self, channel: Stream, now: float) -> None:
        self.pending: dict[bytes, Attempt] = {}
        self.opened = now
        self.used = now
        self.answers = 0
        self.retired = False
        """Whether nothing more is to be sent on it."""
        self._channel = channel
        self._buffer = bytearray()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what was waiting for the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        """Take the responses that are complete."""
        buffer = self._buffer
        buffer += data
        at = 0
        messages = []
        while len(buffer) >= at + 2:
            end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if end > len(buffer):
                break
            messages.append(bytes(buffer[at + 2 : end]))
            at = end
        del buffer[:at]
        for message in messages:
            self._message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was under way on it has to go another way."""
        self._transport = None
        self._channel.lost(self, str(exc) if exc else "connection closed by the upstream")

    # -- ours

    def send(self, attempt: Attempt, id_: bytes, now: float) -> None:
        """Send, or keep until the connection is there."""
        attempt.id, attempt.place = id_, self
        self.pending[id_] = attempt
        self.used = now
        tail = attempt.owner.tail
        message = (len(tail) + 2).to_bytes(2, "big") + id_ + tail
        if self._transport is None:
            self._unsent.append(message)
        else:
            self._transport.write(message)

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for this attempt any more; its response, if it comes, is read over."""
        if self.pending.get(attempt.id) is attempt:
            del self.pending[attempt.id]
            self._channel.freed(self)

    def close(self) -> None:
        """Close it, or stop connecting."""
        if self.task is not None:
            self.task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _message(self, message: bytes) -> None:
        attempt = self.pending.get(message[:2])
        if attempt is None or not attempt.asked(message):
            return
        del self.pending[attempt.id]
        self.answers += 1
        self._channel.freed(self)
        attempt.owner.answered(attempt, message)


class Stream:
    """The connections to one upstream."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        source: str = "",
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        expire: float,
        max_age: float = 0.0,
        max_idle: int = 0,
        clock: Callable[[], float],
    ) -> None:
        self.protocol = "tcp" if tls is None else "tcp-tls"
        self.hits = 0
        self.misses = 0
        self._address = address
        self._source = source
        self._tls = tls
        self._server_name = server_name
        self._expire = expire
        self._max_age = max_age
        self._max_idle = max_idle
        self._clock = clock
        self._connections: dict[Connection, None] = {}
        """In order of last use."""

    def send(self, attempt: Attempt) -> None:
        """Send the attempt's query on an idle connection, a new one, or the least busy one.

        Raises:
            PoolExhausted: there is none.
        """
        self._send(attempt, attempt.sent)

    def _send(self, attempt: Attempt, now: float) -> None:
        connection = self._choose(now)
        id_ = secrets.token_bytes(2)
        while id_ in connection.pending:  # at most MAX_PIPELINED of 65,536 are taken
            id_ = secrets.token_bytes(2)
        connection.send(attempt, id_, now)

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for this attempt any more."""
        if isinstance(attempt.place, Connection):
            attempt.place.forget(attempt)

    def overdue(self, attempt: Attempt) -> None:
        """No response came in time: the upstream may be gone without a word, so send nothing more on the connection."""
        if isinstance(attempt.place, Connection):
            attempt.place.retired = True

    def freed(self, connection: Connection) -> None:
        """A query is no longer under way: the connection may have become idle, or useless."""
        if connection.pending:
            return
        idle = [other for other in self._connections if not other.pending]
        if connection.retired:
            self._close(connection)
        elif self._max_idle and len(idle) > self._max_idle:
            self._close(idle[0])

    def lost(self, connection: Connection, error: str) -> None:
        """A connection ended, or was never made.

        An upstream may close a connection that served some time just as a query is sent on it; then the query goes out
        again, on another connection.
        """
        self._connections.pop(connection, None)
        pending = tuple(connection.pending.values())
        connection.pending.clear()
        for attempt in pending:
            if not connection.answers or not self._sent_again(attempt):
                attempt.owner.failed(attempt, error)

    def _sent_again(self, attempt: Attempt) -> bool:
        try:
            self._send(attempt, self._clock())
        except PoolExhausted:
            return False
        return True

    def sweep(self, now: float) -> bool:
        """Close what was idle for too long; whether anything is left."""
        for connection in tuple(self._connections):
            if not connection.pending and (now >= connection.used + self._expire or self._old(connection, now)):
                self._close(connection)
        return bool(self._connections)

    def close(self) -> None:
        """Close every connection."""
        for connection in tuple(self._connections):
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        connection.close()

    def _old(self, connection: Connection, now: float) -> bool:
        return bool(self._max_age) and now >= connection.opened + self._max_age

    def _choose(self, now: float) -> Connection:
        usable = [
            connection for connection in self._connections if not connection.retired and not self._old(connection, now)
        ]
        idle = next((connection for connection in usable if not connection.pending), None)
        if idle is None and len(self._connections) < MAX_CONNECTIONS:
            self.misses += 1
            return self._open(now)
        chosen = idle or min(usable, key=lambda connection: len(connection.pending), default=None)
        if chosen is None or len(chosen.pending) >= MAX_PIPELINED:
            raise PoolExhausted(f"{MAX_CONNECTIONS} connections are as busy as they may be")
        self.hits += 1
        del self._connections[chosen]
        self._connections[chosen] = None
        return chosen

    def _open(self, now: float) -> Connection:
        connection = Connection(self, now)
        self._connections[connection] = None
        connection.task = asyncio.get_running_loop().create_task(self._connect(connection))
        return connection

    async def _connect(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._address
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.create_connection(
                    lambda: connection,
                    host,
                    port,
                    ssl=self._tls,
                    server_hostname=(self._server_name or host) if self._tls else None,
                    local_addr=(self._source, 0) if self._source else None,
                )
        except TimeoutError:
            self.lost(connection, "i/o timeout while connecting")
        except OSError as error:
            self.lost(connection, cause(error))
        finally:
            connection.task = None
