"""recvmmsg(2) and sendmmsg(2) through ctypes, on buffers that are set up once.

Two arrays of mmsghdr share their name and control buffers: what recvmmsg wrote there - the client's address, and by
IP_PKTINFO the address that was asked - is what sendmmsg sends back. Replies are written over the queries.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import sys
from array import array
from typing import Final

from dnsd.wire.query import MAX_UDP_QUERY

BATCH: Final = 64
"""Datagrams a system call. Past this the cost per datagram hardly falls, and the last one waits longer."""
SLOT: Final = MAX_UDP_QUERY
"""Octets of a datagram's buffer."""
STRIDE: Final = SLOT + 192
"""Octets from one buffer to the next. At a power of two all would share a few lines of the cache."""

_HEADER = 64
_NAME = 28
"""Octets of the larger socket address, sockaddr_in6."""
_NAME_LENGTH = {socket.AF_INET: 16, socket.AF_INET6: 28}
_CONTROL = {socket.AF_INET: 32, socket.AF_INET6: 40}
"""Octets of the control message with the packet's address: CMSG_SPACE of in_pktinfo (12) and in6_pktinfo (20)."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int64),
        ("octets", ctypes.c_uint64),
    )


def available() -> bool:
    """Whether this platform has both calls, in the layout that this module knows."""
    return sys.platform == "linux" and platform.architecture()[0] == "64bit" and ctypes.sizeof(_Message) == _HEADER


class Batch:
    """The buffers of one socket. `packet_info` where replies must leave from the address that was asked."""

    def __init__(self, sock: socket.socket, *, packet_info: bool) -> None:
        self._fd = sock.fileno()
        self.family = sock.family
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        self._recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self.control_length = _CONTROL[self.family] if packet_info else 0
        self._data = (ctypes.c_uint8 * (BATCH * STRIDE))()
        names = (ctypes.c_uint8 * (BATCH * _NAME))()
        controls = (ctypes.c_uint8 * (BATCH * max(self.control_length, 1)))()
        self._receive_iov = (_Iovec * BATCH)()
        self._send_iov = (_Iovec * BATCH)()
        self._receive = (_Message * BATCH)()
        self._send = (_Message * BATCH)()
        for i in range(BATCH):
            base = ctypes.addressof(self._data) + i * STRIDE
            for iov, messages in ((self._receive_iov, self._receive), (self._send_iov, self._send)):
                iov[i].base, iov[i].length = base, SLOT
                message = messages[i]
                message.name = ctypes.addressof(names) + i * _NAME
                message.name_length = _NAME_LENGTH[self.family]
                message.iov = ctypes.addressof(iov) + i * ctypes.sizeof(_Iovec)
                message.iov_length = 1
                if packet_info:
                    message.control = ctypes.addressof(controls) + i * self.control_length
                    message.control_length = self.control_length
        self._names = memoryview(names).cast("B")
        self._controls = memoryview(controls).cast("B")
        self._name_length = _NAME_LENGTH[self.family]
        self.data = memoryview(self._data).cast("B")
        """All slots; datagram i begins at i * STRIDE."""
        self.lengths = memoryview(self._receive).cast("B").cast("I")[14::16]
        """Octets of each datagram received."""
        self.reply_lengths = memoryview(self._send_iov).cast("B").cast("Q")[1::2]
        """Octets of the reply in each slot."""
        self._send_headers = memoryview(self._send).cast("B")
        self._receive_template = bytes(memoryview(self._receive).cast("B"))
        self._send_template = memoryview(bytes(self._send_headers))
        self._receive_at = ctypes.addressof(self._receive)
        self._send_at = ctypes.addressof(self._send)
        self._moved = False

    def receive(self) -> int:
        """Datagrams received, 0 where there are none.

        Raises:
            OSError: the kernel says something else than "try again".
        """
        if self.control_length:
            ctypes.memmove(self._receive_at, self._receive_template, BATCH * _HEADER)
        count: int = self._recvmmsg(self._fd, self._receive_at, BATCH, socket.MSG_DONTWAIT, None)
        if count >= 0:
            return count
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):
            return 0
        raise OSError(code, "recvmmsg")

    def lay_out(self, sizes: list[int]) -> int:
        """Make the replies ready to send, given the octets of that in each slot, 0 for none; how many there are."""
        self.reply_lengths[: len(sizes)] = array("Q", sizes)
        if 0 not in sizes:
            return len(sizes)
        place = 0
        for slot, size in enumerate(sizes):
            if size:
                self._send_headers[place * _HEADER : place * _HEADER + _HEADER] = self._send_template[
                    slot * _HEADER : slot * _HEADER + _HEADER
                ]
                place += 1
        self._moved = True
        return place

    def send(self, first: int, count: int) -> int:
        """Send the replies at places first to count - 1; how many went out.

        Raises:
            OSError: the first of them did not; EAGAIN where the socket's buffer is full.
        """
        sent: int = self._sendmmsg(self._fd, self._send_at + first * _HEADER, count - first, socket.MSG_DONTWAIT)
        if sent < 0:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        return sent

    def sent(self) -> None:
        """The replies are out: put what was moved back in its place."""
        if self._moved:
            ctypes.memmove(self._send_at, bytes(self._send_template), BATCH * _HEADER)
            self._moved = False

    def slot_at(self, place: int) -> int:
        """The slot whose reply is at `place`."""
        iov: int = self._send[place].iov
        return (iov - ctypes.addressof(self._send_iov)) // ctypes.sizeof(_Iovec)

    def peer(self, slot: int) -> tuple[bytes, bytes]:
        """The client's socket address, and the control message: empty without packet_info."""
        name, control = slot * _NAME, slot * self.control_length
        return (
            self._names[name : name + self._name_length].tobytes(),
            self._controls[control : control + self.control_length].tobytes(),
        )

    def put(self, slot: int, reply: bytes, peer: tuple[bytes, bytes]) -> None:
        """Write a reply to a client of before into a slot; nothing that was received may be in use any more."""
        at, name = slot * STRIDE, slot * _NAME
        self.data[at : at + len(reply)] = reply
        self._names[name : name + self._name_length] = peer[0]
        if self.control_length:
            control = slot * self.control_length
            self._controls[control : control + self.control_length] = peer[1]
