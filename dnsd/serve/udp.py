"""UDP: receives queries, answers from the memo at once and hands the rest to the slow path.

Batches where the platform has recvmmsg, one datagram a call elsewhere; the answers are the same.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections import deque
from dataclasses import dataclass

from dnsd.plugins.forward.engine import TICK, Outcome
from dnsd.plugins.relay import Relay
from dnsd.resolve.query import Client
from dnsd.serve import mmsg
from dnsd.serve.face import Face
from dnsd.serve.memo import ID, IN_PLACE, MAX_KEY
from dnsd.wire import codes
from dnsd.wire.query import HEADER, MAX_UDP_QUERY, plain

log = logging.getLogger("dnsd")

BATCHES_PER_WAKEUP = 4
"""Batches before other work gets its turn: about a millisecond of hits."""
MAX_IN_FLIGHT = 4096
"""Queries of one socket that wait for the slow path, upstreams included; more get SERVFAIL at once."""
MAX_UNSENT = 1024
"""Replies that wait for room in the socket's buffer; more are lost, as they would be in the kernel."""
IP_PKTINFO = 8
TAKE = tuple(struct.Struct(f"{max(0, length - ID)}s").unpack_from for length in range(MAX_KEY + 1))
"""By the octets of a query: reads what follows its id. Half the cost of a slice."""
PUT = tuple(struct.Struct(f"{length}s").pack_into for length in range(IN_PLACE + 1))
"""By the octets of a reply without its id: writes it."""
_SOCKADDR_IN = 16
_INFO_LENGTH = {socket.AF_INET: 12, socket.AF_INET6: 20}
_INFO_TYPE = {
    socket.AF_INET: (socket.IPPROTO_IP, IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", 50)),
}

CMSG_HEADER = 16
"""Octets of a control message before its data."""

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
Peer = tuple[bytes, bytes] | tuple[SocketAddress, bytes]
"""A client's socket address, and the control message or packet info that its reply has to leave with.

As the kernel wrote them in batches; what few replies need is read from that when it is needed.
"""


@dataclass(slots=True)
class Losses:
    """What did not reach a client, counted."""

    shed: int = 0
    """Queries answered with SERVFAIL because too many were under way."""
    unsent: int = 0
    """Replies that the kernel did not take."""


class Relayed:
    """A query that took the short way, and who asked it."""

    __slots__ = ("peer", "query", "relay", "started", "type_at", "udp")

    def __init__(self, udp: Udp, relay: Relay, query: bytes, type_at: int, peer: Peer, started: float) -> None:
        self.udp = udp
        self.relay = relay
        self.query = query
        self.type_at = type_at
        """Offset of the question's type."""
        self.peer = peer
        self.started = started

    def done(self) -> bool:
        """A client waits until it has a reply."""
        return False

    def set_result(self, outcome: Outcome) -> None:
        """The upstream answered, or did not."""
        self.udp.relayed(self, outcome)


class Udp:
    """One UDP socket at work. The socket is bound, and stays its owner's to close."""

    def __init__(self, sock: socket.socket, face: Face, *, batches: bool = True) -> None:
        self._socket = sock
        self._face = face
        self._family = sock.family
        address = sock.getsockname()
        self._packet_info = address[0] in ("0.0.0.0", "::")
        self._local = "" if self._packet_info else str(address[0])
        sock.setblocking(False)  # noqa: FBT003  the library's signature
        if self._packet_info:
            _ask_for_packet_info(sock)
        self._batch = mmsg.Batch(sock, packet_info=self._packet_info) if batches and mmsg.available() else None
        self._starts = [slot * mmsg.STRIDE + ID for slot in range(mmsg.BATCH)]
        """Offsets of what follows the id of each query of a batch."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._relaying = 0
        """Queries that took the short way to an upstream."""
        self._outbox: list[tuple[bytes, Peer]] = []
        self._unsent: deque[tuple[bytes, Peer]] = deque()
        self._logged: set[int | None] = set()
        self.losses = Losses()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to receive."""
        self._loop.add_reader(self._socket, self._readable if self._batch is None else self._readable_batch)

    async def stop(self) -> None:
        """Receive no more, and finish what was received."""
        self._loop.remove_reader(self._socket)
        while self._relaying:  # noqa: ASYNC110  a counter costs each query less than an event would
            await asyncio.sleep(TICK)
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._flush()
        self._loop.remove_writer(self._socket)

    # -- batches

    def _readable_batch(self) -> None:
        batch = self._batch
        assert batch is not None  # noqa: S101  start() chose this reader because there is one
        for _ in range(BATCHES_PER_WAKEUP):
            try:
                count = batch.receive()
            except OSError as error:
                self._lost(error)
                return
            if count:
                self._answer_batch(batch, count)
            if count < mmsg.BATCH:
                return

    def _answer_batch(self, batch: mmsg.Batch, count: int) -> None:
        """Write replies over the queries that the memo knows, and send them together."""
        face = self._face
        memo, now = face.memo, face.clock()
        get, data = memo.get, batch.data
        sizes: list[int] = []
        for at, length in zip(self._starts, batch.lengths[:count].tolist(), strict=False):
            entry = get(TAKE[length](data, at)[0]) if length <= MAX_KEY else None
            if entry is not None and now < entry.valid_until:  # asked in lower case, and seen before
                hits = entry.hits = entry.hits + 1
                reply = entry.replies[hits & 3]
                size = len(reply)
                PUT[size](data, at, reply)
                sizes.append(size + ID)
            else:
                sizes.append(self._look_closer(batch, len(sizes), data[at - ID : at - ID + length].tobytes(), now))
        ready = batch.lay_out(sizes)
        if ready:
            self._send_batch(batch, ready)

    def _look_closer(self, batch: mmsg.Batch, slot: int, query: bytes, now: float) -> int:
        """Answer a query that is not just as it was remembered; octets of the reply in its slot, or 0."""
        entry = self._face.memo.find(query, now)
        if entry is None:
            self._ask(query, batch.peer(slot), now)
            return 0
        reply = entry.reply(query)
        if not entry.in_place:
            self._send(reply, batch.peer(slot))
            return 0
        at = slot * mmsg.STRIDE
        batch.data[at : at + len(reply)] = reply
        return len(reply)

    def _send_batch(self, batch: mmsg.Batch, count: int) -> None:
        done = 0
        while done < count:
            try:
                done += batch.send(done, count)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    self._keep_batch(batch, done, count)
                    break
                if error.errno != errno.EINTR:
                    self._lost(error)  # only the reply at `done` failed: the others have clients of their own
                    done += 1
        batch.sent()

    def _keep_batch(self, batch: mmsg.Batch, first: int, count: int) -> None:
        for place in range(first, count):
            slot = batch.slot_at(place)
            at = slot * mmsg.STRIDE
            self._keep(batch.data[at : at + batch.reply_lengths[slot]].tobytes(), batch.peer(slot))

    # -- one at a time

    def _readable(self) -> None:
        face = self._face
        info_space = socket.CMSG_SPACE(_INFO_LENGTH[self._family]) if self._packet_info else 0
        for _ in range(BATCHES_PER_WAKEUP * mmsg.BATCH):
            try:
                query, control, _, address = self._socket.recvmsg(MAX_UDP_QUERY, info_space)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            peer = (address, control[0][2] if control else b"")
            now = face.clock()
            entry = face.memo.find(query, now)
            if entry is None:
                self._ask(query, peer, now)
                continue
            self._send(entry.reply(query), peer)

    # -- the short way

    def _ask(self, query: bytes, peer: Peer, now: float) -> None:
        """Answer a query that the memo does not know."""
        relay = self._face.relay
        if relay is not None and self._relaying < MAX_IN_FLIGHT:
            type_at = plain(query)
            if type_at and relay.ask(query, type_at, Relayed(self, relay, query, type_at, peer, now), now):
                self._relaying += 1
                return
        self._begin(query, peer)

    def relayed(self, asked: Relayed, outcome: Outcome) -> None:
        """Reply to a query that an upstream was asked, or let the chain do so."""
        self._relaying -= 1
        face = self._face
        reply = face.relayed(asked.relay, asked.query, asked.type_at, outcome, asked.started)
        if reply is not None:
            self._reply(reply, asked.peer)
        else:
            self._begin(asked.query, asked.peer, outcome if face.relay is asked.relay else None)

    # -- the slow path

    def _begin(self, query: bytes, peer: Peer, outcome: Outcome | None = None) -> None:
        name, control = peer
        host, port, *_ = _address(name) if isinstance(name, bytes) else name
        if port == 0:
            return  # nobody listens there: a forged query meant to make two servers talk to each other
        if len(self._tasks) >= MAX_IN_FLIGHT:
            self._shed(query, peer)
            return
        local = self._local or _local_address(control[CMSG_HEADER:] if isinstance(name, bytes) else control)
        client = Client(host, port, "udp", local, self._face.server)
        task = self._loop.create_task(self._answer(query, client, peer, outcome))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, query: bytes, client: Client, peer: Peer, outcome: Outcome | None) -> None:
        reply = await self._face.answer(query, client, outcome)
        if reply is not None:
            self._reply(reply, peer)

    # -- replies

    def _reply(self, reply: bytes, peer: Peer) -> None:
        """Send at the end of this turn of the loop, together with the others."""
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append((reply, peer))

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        batch = self._batch
        together: list[tuple[bytes, tuple[bytes, bytes]]] = []
        for reply, peer in outbox:
            name, control = peer
            if batch is None or self._unsent or len(reply) > mmsg.SLOT or not isinstance(name, bytes):
                self._send(reply, peer)
            else:
                together.append((reply, (name, control)))
        if batch is not None:
            for first in range(0, len(together), mmsg.BATCH):
                part = together[first : first + mmsg.BATCH]
                for slot, (reply, raw) in enumerate(part):
                    batch.put(slot, reply, raw)
                self._send_batch(batch, batch.lay_out([len(reply) for reply, _ in part]))

    def _shed(self, query: bytes, peer: Peer) -> None:
        self.losses.shed += 1
        if len(query) < HEADER or query[2] & 0x80:
            return
        (flags,) = struct.unpack_from("!H", query, 2)
        head = struct.pack("!5H", codes.QR | flags & 0x7910 | codes.Rcode.SERVFAIL, 0, 0, 0, 0)
        self._send(query[:2] + head, peer)

    def _send(self, reply: bytes, peer: Peer) -> None:
        if self._unsent:
            self._keep(reply, peer)
            return
        try:
            self._send_now(reply, peer)
        except (BlockingIOError, InterruptedError):
            self._keep(reply, peer)
        except OSError as error:
            self._lost(error)

    def _send_now(self, reply: bytes, peer: Peer) -> None:
        address, info = peer
        if isinstance(address, bytes):
            address, info = _address(address), info[CMSG_HEADER : CMSG_HEADER + _INFO_LENGTH[self._family]]
        if info:
            self._socket.sendmsg([reply], [(*_INFO_TYPE[self._family], info)], 0, address)
        else:
            self._socket.sendto(reply, address)

    def _keep(self, reply: bytes, peer: Peer) -> None:
        """The socket's buffer is full: send when there is room."""
        if len(self._unsent) >= MAX_UNSENT:
            self._lost(None)
            return
        if not self._unsent:
            self._loop.add_writer(self._socket, self._writable)
        self._unsent.append((reply, peer))

    def _writable(self) -> None:
        while self._unsent:
            try:
                self._send_now(*self._unsent[0])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
            self._unsent.popleft()
        self._loop.remove_writer(self._socket)

    def _lost(self, error: OSError | None) -> None:
        self.losses.unsent += 1
        code = error.errno if error else None
        if code not in self._logged:
            self._logged.add(code)
            log.warning("%s: a datagram was lost: %s; logged once", self._face.server, error or "send buffer is full")


def _ask_for_packet_info(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, getattr(socket, "IPV6_RECVPKTINFO", 49), 1)


def _address(name: bytes) -> SocketAddress:
    """What a sockaddr_in or sockaddr_in6 says."""
    (port,) = struct.unpack_from("!H", name, 2)
    if len(name) == _SOCKADDR_IN:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    (scope,) = struct.unpack_from("=I", name, 24)
    return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, scope


def _local_address(info: bytes) -> str:
    """The address that was asked: spec_dst of in_pktinfo, or the first 16 octets of in6_pktinfo."""
    if len(info) >= _INFO_LENGTH[socket.AF_INET6]:
        return socket.inet_ntop(socket.AF_INET6, info[:16])
    if len(info) >= _INFO_LENGTH[socket.AF_INET]:
        return socket.inet_ntop(socket.AF_INET, info[4:8])
    return ""
