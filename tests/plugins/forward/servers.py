"""Upstreams that do what a test says: real sockets, in the event loop of the test. And the loops to run them in."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import uvloop

from tests.plugins import harness
from tests.plugins.harness import Chain

T = TypeVar("T")

Behaviour: TypeAlias = Callable[["Asked"], Iterable[bytes]]
"""What an upstream sends for a query: any number of messages, or None of them."""

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run(test: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run a test in a loop of its own."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(test)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as an upstream received it."""

    data: bytes
    protocol: str
    peer: tuple[str, int]

    @property
    def message(self) -> dns.message.Message:
        """The query read."""
        return dns.message.from_wire(self.data)

    @property
    def name(self) -> str:
        """The owner name in its spelling."""
        return self.message.question[0].name.to_text()

    def answer(self, address: str = "192.0.2.1", *, rcode: str = "NOERROR", flags: int = 0, count: int = 1) -> bytes:
        """An honest response: one A record, or several."""
        query = self.message
        reply = dns.message.make_response(query, recursion_available=True)
        reply.flags |= flags
        reply.set_rcode(dns.rcode.from_text(rcode))
        if rcode == "NOERROR" and query.question[0].rdtype == dns.rdatatype.A:
            first, _, last = address.rpartition(".")
            addresses = [f"{first}.{(int(last) + i) % 256}" for i in range(count)]
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", *addresses))
        return reply.to_wire(max_size=65_535)


def honest(asked: Asked) -> list[bytes]:
    """Answers every query."""
    return [asked.answer()]


def silent(asked: Asked) -> list[bytes]:
    """Answers none."""
    return []


@dataclass
class Server:
    """An upstream on 127.0.0.1, over UDP and TCP on one port, or over TLS."""

    behave: Behaviour = honest
    tls: ssl.SSLContext | None = None
    udp: bool = True
    tcp: bool = True
    asked: list[Asked] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    """Every TCP connection that was ever made."""
    port: int = 0
    _transport: asyncio.DatagramTransport | None = None
    _server: asyncio.Server | None = None
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        """As `forward` takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def names(self) -> list[str]:
        """The names that were asked for, without probes."""
        return [asked.name for asked in self.asked if asked.name != "."]

    async def __aenter__(self) -> Self:
        while not await self._open():
            pass
        return self

    async def _open(self) -> bool:
        loop = asyncio.get_running_loop()
        if self.udp:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=("127.0.0.1", self.port)
            )
            self.port = self._transport.get_extra_info("sockname")[1]
        if self.tcp:
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
            except OSError:
                if self._transport is None:
                    raise
                await self.close()
                self._gone.clear()
                self.port = 0
                return False
            self.port = self._server.sockets[0].getsockname()[1]
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._transport is not None:
            self._transport.close()
            await self._gone.wait()
            self._transport = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self.connections:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        peer = writer.get_extra_info("peername")[:2]
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                asked = Asked(await reader.readexactly(length), "tcp", peer)
                self.asked.append(asked)
                for message in self.behave(asked):
                    writer.write(message if message[:2] == RAW else struct.pack("!H", len(message)) + message)
                await writer.drain()
        writer.close()


RAW = b"\xff\xfe"
"""What a message begins with that goes out over TCP without a length of its own: 65,534 octets that never come."""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self.server._gone.set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        asked = Asked(data, "udp", addr)
        self.server.asked.append(asked)
        for message in self.server.behave(asked):
            self.transport.sendto(message, addr)


class Forwarding:
    """A chain with `forward`, built from Corefile lines; a context manager that starts and stops it."""

    def __init__(self, *lines: str, folder: str = ".") -> None:
        body = "\n".join(lines)
        self.chain: Chain = harness.build(f". {{\n{body}\n}}", folder)

    async def __aenter__(self) -> Chain:
        await harness.start(self.chain)
        return self.chain

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.chain.instance.stop()


def addresses(reply: dns.message.Message | None) -> list[str]:
    """The addresses in an answer, or its rcode where there is none."""
    assert reply is not None
    found = [data.to_text() for rrset in reply.answer for data in rrset if rrset.rdtype == dns.rdatatype.A]
    return sorted(found) or [dns.rcode.to_text(reply.rcode())]


def error_text(reply: dns.message.Message | None) -> str:
    """The Extended DNS Errors of a reply: `22: text`."""
    assert reply is not None
    return "; ".join(
        f"{int(option.code)}: {option.text}" for option in reply.options if isinstance(option, dns.edns.EDEOption)
    )
