"""UDP to one upstream: connected sockets with random source ports, and random ids. Knows no policy and no time-outs.

Whoever wants to forge a response has to guess the id and the source port of the query (RFC 5452). Each query goes out
with 16 random bits of id on one of POOL sockets, chosen at random too, whose ports the kernel chose at random; a socket
is used for MAX_USES queries or `expire` seconds, whichever is over first, and then replaced by one with another port.
At a few queries a second that is a new port for each query. Under load a port lives for some hundred milliseconds: who
would find it first has to scan some 28,000 of them in that time, and is still left with the id and with which of the
sockets has the query. A new socket for each query would cost 5 microseconds of some 30 that a query takes in all, and
would hide nothing more from somebody who cannot see the packets.

A socket is connected: the kernel drops what another address sends, and tells of ICMP errors.
"""

from __future__ import annotations

import asyncio
import secrets
import select
import socket
import struct
from collections.abc import Iterator

from dnsd.plugins.forward.upstream import Attempt, cause

POOL = 64
"""Sockets to one upstream: six more bits to guess. A power of two."""
MAX_USES = 256
"""Queries of one socket: what opening it costs is then nothing beside sending them."""
MAX_REPLY = 4096
"""Octets of a response that are read: an upstream is told to send no more than 1,232 over UDP."""
MAX_STRAYS = 32
"""Responses in a row on one socket that nobody waits for; after so many somebody is guessing (RFC 5452 section 9.2)."""
MAX_READY = 64
"""Sockets that are read before other work gets its turn."""
_DRAW = struct.Struct("!2sH")
_DRAWN_AT_ONCE = 1024


class Poller:
    """Many sockets behind one reader of the event loop: an epoll of our own, which costs a third of the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._sockets: dict[int, UdpSocket] = {}
        self._outbox: list[tuple[UdpSocket, bytes, bytes]] = []
        loop.add_reader(self._epoll.fileno(), self._readable)

    def __len__(self) -> int:
        return len(self._sockets)

    def add(self, sock: UdpSocket) -> None:
        """Read from a socket from now on."""
        self._sockets[sock.number] = sock
        self._epoll.register(sock.number, select.EPOLLIN)

    def remove(self, sock: UdpSocket) -> None:
        """Read from it no more. It must still be open."""
        del self._sockets[sock.number]
        self._epoll.unregister(sock.number)

    def send(self, sock: UdpSocket, id_: bytes, tail: bytes) -> None:
        """Send a query at the end of this turn of the loop, together with the others: the upstream wakes up once."""
        if not self._outbox:
            self.loop.call_soon(self._flush)
        self._outbox.append((sock, id_, tail))

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        for sock, id_, tail in outbox:
            if sock.number < 0:
                continue  # closed since: its attempts were told
            try:
                sock.socket.send(id_ + tail)
            except OSError as error:
                sock.fail(error)

    def close(self) -> None:
        """Close every socket."""
        self.loop.remove_reader(self._epoll.fileno())
        for sock in tuple(self._sockets.values()):
            sock.close()
        self._epoll.close()

    def _readable(self) -> None:
        sockets = self._sockets
        received = []
        for number, _ in self._epoll.poll(0, MAX_READY):
            sock = sockets.get(number)
            if sock is None:
                continue  # closed by what came before it in this very list
            try:
                received.append((sock, sock.socket.recv(MAX_REPLY)))
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                sock.fail(error)
        for sock, data in received:
            sock.take(data)


class UdpSocket:
    """One socket, and the attempts that were sent on it."""

    __slots__ = ("_channel", "_strays", "number", "opened", "pending", "retired", "socket", "uses")

    def __init__(self, channel: Udp, now: float) -> None:
        self.socket = channel.connect()
        self.number = self.socket.fileno()
        self.opened = now
        self.uses = 0
        self.pending: dict[bytes, Attempt] = {}
        self.retired = False
        self._channel = channel
        self._strays = 0
        channel.poller.add(self)

    def take(self, data: bytes) -> None:
        """Look at a datagram that was received."""
        attempt = self.pending.get(data[:2])
        if attempt is None or not attempt.asked(data):
            self._stray()
            return
        self._strays = 0
        self.forget(attempt)
        attempt.owner.answered(attempt, data)

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for this attempt any more."""
        if self.pending.get(attempt.id) is attempt:
            del self.pending[attempt.id]
            if self.retired and not self.pending:
                self.close()

    def retire(self) -> None:
        """Send no more on it; close it once nobody waits for it."""
        self.retired = True
        self._channel.drop(self)
        if not self.pending:
            self.close()

    def fail(self, error: OSError) -> None:
        """What was sent on it did not arrive: the kernel does not say which, and the upstream is the same for all."""
        pending = tuple(self.pending.values())
        self.pending.clear()
        if not self.retired:
            self.retire()
        else:
            self.close()
        for attempt in pending:
            attempt.owner.failed(attempt, cause(error))

    def close(self) -> None:
        """Close it, once."""
        if self.number >= 0:
            self._channel.poller.remove(self)
            self.socket.close()
            self.number = -1

    def _stray(self) -> None:
        """A datagram that answers nothing: a late duplicate, or somebody guesses ids."""
        self._strays += 1
        if self._strays < MAX_STRAYS:
            return
        pending = tuple(self.pending.values())
        self.pending.clear()
        self.retire()
        for attempt in pending:
            attempt.owner.spoiled(attempt, f"{MAX_STRAYS} responses to other queries in a row")


class Udp:
    """The sockets to one upstream."""

    protocol = "udp"

    def __init__(self, address: tuple[str, int], source: str, expire: float, poller: Poller) -> None:
        self.poller = poller
        self.hits = 0
        self.misses = 0
        self._family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._address = _socket_address(*address)
        self._source = _socket_address(source, 0) if source else None
        self._expire = expire
        self._slots: list[UdpSocket | None] = [None] * POOL
        self._draws: Iterator[tuple[bytes, int]] = iter(())

    def send(self, attempt: Attempt) -> None:
        """Send the attempt's query on a random socket, with a random id.

        Raises:
            OSError: the kernel gives no socket.
        """
        id_, place = self._draw()
        place &= POOL - 1
        sock = self._slots[place]
        if sock is None or sock.uses >= MAX_USES or attempt.sent >= sock.opened + self._expire:
            if sock is not None:
                sock.retire()
            sock = self._slots[place] = UdpSocket(self, attempt.sent)
            self.misses += 1
        else:
            self.hits += 1
        pending = sock.pending
        while id_ in pending:  # at most MAX_USES of 65,536 are taken
            id_, _ = self._draw()
        attempt.id, attempt.place = id_, sock
        sock.uses += 1
        pending[id_] = attempt
        self.poller.send(sock, id_, attempt.owner.tail)

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for this attempt any more."""
        if isinstance(attempt.place, UdpSocket):
            attempt.place.forget(attempt)

    def overdue(self, attempt: Attempt) -> None:
        """A datagram that was lost says nothing about the socket."""

    def drop(self, sock: UdpSocket) -> None:
        """Use this socket no more."""
        if sock in self._slots:
            self._slots[self._slots.index(sock)] = None

    def sweep(self, now: float) -> bool:
        """Close what is too old; whether anything is left."""
        for sock in self._slots:
            if sock is not None and now >= sock.opened + self._expire:
                sock.retire()
        return any(self._slots)

    def connect(self) -> socket.socket:
        """A socket connected to the upstream, with a port of the kernel's choice.

        Raises:
            OSError: no route, no such source address, or too many open files.
        """
        sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if self._source is not None:
                sock.bind(self._source)
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return sock

    def _draw(self) -> tuple[bytes, int]:
        drawn = next(self._draws, None)
        if drawn is None:
            self._draws = _DRAW.iter_unpack(secrets.token_bytes(_DRAWN_AT_ONCE * _DRAW.size))
            drawn = next(self._draws)
        return drawn


def _socket_address(host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """What the socket module wants; the scope of a link-local IPv6 address is the name or number of an interface."""
    if ":" not in host:
        return host, port
    address, _, scope = host.partition("%")
    return address, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
