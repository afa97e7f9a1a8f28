"""A server on a loopback port inside a test's own event loop, answering from an index that the test fills."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from dnsd.cluster.index import Index
from dnsd.serve.face import Face
from dnsd.serve.server import ListenError, Server
from dnsd.serve.udp import Udp
from tests.cluster.asking import Cluster

PATIENCE = 30.0
"""Seconds until a reply is given up."""
ATTEMPTS = 50
"""The kernel picks a port for UDP; somebody else may have it for TCP."""


@dataclass
class Serving:
    """A server at work."""

    cluster: Cluster
    server: Server

    @property
    def index(self) -> Index:
        """What its `kubernetes` stanza answers from."""
        return self.cluster.index

    @property
    def udp(self) -> Udp:
        """Its first UDP socket at work."""
        (listener,) = self.server.listeners.values()
        return listener.udp[0][1]

    @property
    def faces(self) -> list[Face]:
        """The UDP and TCP faces of its first address."""
        (listener,) = self.server.listeners.values()
        return listener.faces

    @property
    def port(self) -> int:
        """The port of both protocols."""
        (listener,) = self.server.listeners.values()
        port: int = listener.udp[0][0].getsockname()[1]
        return port

    async def ask_udp(self, query: bytes, host: str = "127.0.0.1") -> bytes:
        """The reply to one datagram, from the address and port that was asked."""
        loop = asyncio.get_running_loop()
        with udp_client(host, self.port) as client:
            await loop.sock_sendall(client, query)
            return await asyncio.wait_for(loop.sock_recv(client, 65535), PATIENCE)

    async def ask_tcp(self, query: bytes, host: str = "127.0.0.1") -> bytes:
        """The reply to one message over a connection of its own."""
        reader, writer = await asyncio.open_connection(host, self.port)
        try:
            writer.write(framed(query))
            return await receive(reader)
        finally:
            writer.close()
            await writer.wait_closed()


def udp_client(host: str, port: int) -> socket.socket:
    """A connected UDP socket that does not block: datagrams from elsewhere do not reach it."""
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    client.setblocking(False)  # noqa: FBT003  the library's signature
    client.connect((host, port))
    return client


def framed(message: bytes) -> bytes:
    """A message with its length before it (RFC 1035 section 4.2.2)."""
    return struct.pack("!H", len(message)) + message


async def receive(reader: asyncio.StreamReader) -> bytes:
    """The next message of a connection."""
    async with asyncio.timeout(PATIENCE):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)


@contextlib.asynccontextmanager
async def serving(cluster: Cluster, *, batches: bool = True) -> AsyncIterator[Serving]:
    """Serve what a cluster's configuration says."""
    server = Server(time.monotonic, batches=batches)
    cluster.clusters.listeners.append(server.drop)
    await _start(server, cluster)
    await cluster.instance.start()
    try:
        yield Serving(cluster, server)
    finally:
        await server.close()
        await cluster.instance.stop()


async def _start(server: Server, cluster: Cluster) -> None:
    for _ in range(ATTEMPTS):
        with contextlib.suppress(ListenError):
            return await server.start(cluster.instance)
    raise AssertionError("no port is free for both UDP and TCP")
