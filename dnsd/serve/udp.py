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

from dnsd.resolve.query import Client
from dnsd.serve import mmsg
from dnsd.serve.face import Face
from dnsd.serve.memo import ID, IN_PLACE, MAX_KEY
from dnsd.wire import codes
from dnsd.wire.query import HEADER, MAX_UDP_QUERY

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
_INFO_LENGTH = {socket.AF_INET: 12, socket.AF_INET6: 20}
_INFO_TYPE = {
    socket.AF_INET: (socket.IPPROTO_IP, IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", 50)),
}

Peer = tuple[tuple[object, ...], bytes]
"""A client's socket address, and the packet info that its reply has to leave with."""


@dataclass(slots=True)
class Losses:
    """What did not reach a client, counted."""

    shed: int = 0
    """Queries answered with SERVFAIL because too many were under way."""
    unsent: int = 0
    """Replies that the kernel did not take."""


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
            self._begin(query, self._peer(batch, slot))
            return 0
        reply = entry.reply(query)
        if not entry.in_place:
            self._send(reply, self._peer(batch, slot))
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
            self._keep(batch.data[at : at + batch.reply_lengths[slot]].tobytes(), self._peer(batch, slot))

    def _peer(self, batch: mmsg.Batch, slot: int) -> Peer:
        name = batch.name(slot)
        (port,) = struct.unpack_from("!H", name, 2)
        if self._family == socket.AF_INET:
            return (socket.inet_ntop(socket.AF_INET, name[4:8]), port), batch.control(slot)[:12]
        (scope,) = struct.unpack_from("=I", name, 24)
        return (socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, scope), batch.control(slot)[:20]

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
            entry = face.memo.find(query, face.clock())
            if entry is None:
                self._begin(query, peer)
                continue
            self._send(entry.reply(query), peer)

    # -- the slow path

    def _begin(self, query: bytes, peer: Peer) -> None:
        address, info = peer
        host, port = str(address[0]), int(str(address[1]))
        if port == 0:
            return  # nobody listens there: a forged query meant to make two servers talk to each other
        if len(self._tasks) >= MAX_IN_FLIGHT:
            self._shed(query, peer)
            return
        client = Client(host, port, "udp", self._local or _local_address(info), self._face.server)
        task = self._loop.create_task(self._answer(query, client, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, query: bytes, client: Client, peer: Peer) -> None:
        reply = await self._face.answer(query, client)
        if reply is None:
            return
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append((reply, peer))

    def _flush(self) -> None:
        """Send what this turn of the loop answered, together: clients that share a process wake up once."""
        outbox, self._outbox = self._outbox, []
        for reply, peer in outbox:
            self._send(reply, peer)

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


def _local_address(info: bytes) -> str:
    """The address that was asked: spec_dst of in_pktinfo, or the first 16 octets of in6_pktinfo."""
    if len(info) == 12:
        return socket.inet_ntop(socket.AF_INET, info[4:8])
    if len(info) == 20:
        return socket.inet_ntop(socket.AF_INET6, info[:16])
    return ""
