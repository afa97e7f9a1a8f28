"""Asks single questions, and finds ports.

Knows sockets and messages on 127.0.0.1. Must not know servers or clusters.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from benchmarks.questions import Question

MAX_DATAGRAM = 65_535


def free_port() -> int:
    """A port on 127.0.0.1 that is free for UDP and for TCP."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def query(question: Question) -> bytes:
    """A query in wire format, with an id of its own."""
    return dns.message.make_query(*question).to_wire()


class Client:
    """One UDP socket to a server on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))

    def ask(self, question: Question, timeout: float) -> dns.message.Message | None:
        """The reply, or None if none came within `timeout` seconds or nobody listens."""
        reply = self.exchange(query(question), timeout)
        return None if reply is None else dns.message.from_wire(reply)

    def exchange(self, message: bytes, timeout: float) -> bytes | None:
        """The same for a message in wire format, with nothing parsed."""
        try:
            self._socket.settimeout(timeout)
            self._socket.send(message)
            while True:
                reply = self._socket.recv(MAX_DATAGRAM)
                if reply[:2] == message[:2]:
                    return reply
        except (TimeoutError, ConnectionRefusedError):
            return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@contextmanager
def client(port: int) -> Iterator[Client]:
    """A client that is closed at the end."""
    opened = Client(port)
    try:
        yield opened
    finally:
        opened.close()


def rcode_and_data(reply: dns.message.Message, rtype: str) -> tuple[str, frozenset[str]]:
    """The RCODE's name, and the data of the answer's records of that type."""
    wanted = dns.rdatatype.from_text(rtype)
    data = (item.to_text() for rrset in reply.answer if rrset.rdtype == wanted for item in rrset)
    return dns.rcode.to_text(reply.rcode()), frozenset(data)
