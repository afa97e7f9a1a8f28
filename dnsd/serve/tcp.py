"""TCP: two octets of length, then a message (RFC 1035 section 4.2.2, RFC 7766). Replies go out in order."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import cast

from dnsd.resolve.query import Client
from dnsd.serve.face import Face
from dnsd.wire.query import HEADER

log = logging.getLogger("dnsd")

FIRST_SECONDS = 3.0
"""Until the first octets of a connection (spec.md section 1.6)."""
IDLE_SECONDS = 10.0
"""Between queries, and from the first octet of a query to its last."""
WRITE_SECONDS = 5.0
"""That a client may leave replies unread."""
LINGER_SECONDS = 0.1
"""That a connection is still listened to when the server ends: what its client has sent may not have been read yet."""
MAX_CONNECTIONS = 4096
"""Connections of one listener; a new one above that is closed at once."""
MAX_UNREAD = 256 * 1024
"""Octets of replies that wait in us for a client; then it is not read from."""
MAX_BUFFERED = 128 * 1024
"""Octets of pipelined queries that wait in us: the longest message and some."""


class Tcp(asyncio.Protocol):
    """One connection."""

    def __init__(self, face: Face, connections: set[Tcp]) -> None:
        self._face = face
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._paused = False
        self._writable = asyncio.Event()
        self._closing = False
        self._asked = False
        self._client: Client
        options = face.front.options
        self._first = options.read_timeout or FIRST_SECONDS
        self._idle = options.idle_timeout or IDLE_SECONDS
        self._write = options.write_timeout or WRITE_SECONDS
        self._left = options.max_tcp_queries
        """Queries that are still answered; None for any number."""

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._connections) >= MAX_CONNECTIONS:
            transport.close()
            return
        self._connections.add(self)
        self._transport.set_write_buffer_limits(MAX_UNREAD)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not local:
            transport.close()  # gone before we looked
            return
        self._client = Client(peer[0], peer[1], self._face.protocol, local[0], self._face.server)
        self._wait(self._first)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The connection is gone; what is being answered goes on for whoever else waits for it."""
        self._connections.discard(self)
        self._closing = True
        self._writable.set()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer what the memo knows; the first query that it does not know holds up those behind it."""
        self._buffer += data
        if self._task is None and not self._paused:
            self._answer()
        if len(self._buffer) > MAX_BUFFERED:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read: stop answering until it does."""
        self._paused = True
        self._writable.clear()
        self._transport.pause_reading()
        self._wait(self._write)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._paused = False
        self._writable.set()
        self._wait(self._idle)
        self._resume()

    # -- ours

    async def drain(self) -> None:
        """Answer what has been sent, then close.

        The first query of a connection is waited for as long as ever: its client is about to send it, and has no reason
        to expect that it must ask again (RFC 7766 section 6.2.4).
        """
        await asyncio.sleep(LINGER_SECONDS)
        while not self._asked and not self._transport.is_closing():  # noqa: ASYNC110  once per connection, at its end
            await asyncio.sleep(LINGER_SECONDS)
        self._closing = True
        self._transport.pause_reading()
        while self._task is not None:
            await asyncio.wait([self._task])
        self._transport.close()

    def _answer(self) -> None:
        """Reply to the queries at the front of the buffer until one is not complete or has to wait."""
        face = self._face
        memo, now, buffer = face.memo, face.clock(), self._buffer
        get = memo.get
        replies: list[bytes] = []
        at, size = 0, len(buffer)
        while at + 2 <= size:
            end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if end > size:
                break
            if self._left is not None:
                if self._left == 0:
                    break
                self._left -= 1
            query = bytes(buffer[at + 2 : end])
            at = end
            entry = get(query[2:].lower())
            if entry is None or now >= entry.valid_until:
                entry = memo.find(query, now)
                if entry is None:
                    if len(query) < HEADER:
                        continue
                    self._task = self._loop.create_task(self._answer_slowly(query))
                    break
            reply = entry.reply(query)
            replies.append(len(reply).to_bytes(2, "big") + reply)
        if at:
            self._asked = True
            del buffer[:at]
            self._deadline = self._loop.time() + self._idle
        if replies:
            self._transport.write(b"".join(replies))
        if self._left == 0 and self._task is None:
            self._transport.close()

    async def _answer_slowly(self, query: bytes) -> None:
        try:
            for i, reply in enumerate(await self._face.messages(query, self._client)):
                if i:
                    await self._turn()
                if self._transport.is_closing():
                    break
                self._transport.write(struct.pack("!H", len(reply)) + reply)
        except Exception:  # half a reply is worth nothing, and must not keep the connection
            log.exception("a reply to %s broke off", self._client.address)
            self._transport.abort()
        self._task = None
        if self._transport.is_closing():
            return
        if not self._paused:
            self._deadline = self._loop.time() + self._idle
        self._resume()

    async def _turn(self) -> None:
        """Between two messages of one reply: let others have their turn, and the client read what it was sent."""
        await asyncio.sleep(0)
        if self._paused:
            await self._writable.wait()

    def _resume(self) -> None:
        if self._task is None and not self._paused and not self._transport.is_closing():
            self._answer()
        if not self._paused and not self._closing and len(self._buffer) <= MAX_BUFFERED:
            self._transport.resume_reading()

    def _wait(self, seconds: float) -> None:
        """Close the connection if nothing happens for so long."""
        self._deadline = self._loop.time() + seconds
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        if self._task is not None and not self._paused:
            self._deadline = max(self._deadline, self._loop.time() + self._idle)
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check)
        else:
            self._transport.abort()
