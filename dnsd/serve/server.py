"""The server: sockets for every listener of a configuration, and their orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from dnsd.cluster.index import Key
from dnsd.plugins.tls import load_certificate, server_context
from dnsd.resolve.front import Front
from dnsd.serve.face import Face
from dnsd.serve.instance import Address, Instance
from dnsd.serve.tcp import FIRST_SECONDS, Tcp
from dnsd.serve.udp import Udp

log = logging.getLogger("dnsd")

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Octets asked of the kernel for each UDP socket: a burst of some 5,000 queries. The kernel may give less."""
BACKLOG = 1024
"""TCP connections that wait to be accepted."""
DRAIN_SECONDS = 5.0
"""That a stop waits for queries under way (spec.md section 1.6)."""
ACCEPT_TURNS = 3
"""Of the event loop, between the moment that it takes a connection from the kernel and the one that we know of it."""


class ListenError(Exception):
    """A listener's address cannot be used: says which and why."""


Sockets: TypeAlias = dict[Address, list[tuple[socket.socket | None, socket.socket]]]
"""Bound UDP (not for TLS) and TCP sockets, by the address that they are for."""


@dataclass(slots=True)
class Listener:
    """The sockets of one address: UDP and TCP, and on a wildcard IPv4 and IPv6."""

    address: Address
    udp: list[tuple[socket.socket, Udp]] = field(default_factory=list)
    tcp: list[asyncio.Server] = field(default_factory=list)
    connections: set[Tcp] = field(default_factory=set)
    tls: ssl.SSLContext | None = None
    faces: list[Face] = field(default_factory=list)


class Server:
    """Serves one configuration after another on sockets that stay open."""

    def __init__(self, clock: Callable[[], float], *, batches: bool = True) -> None:
        self._clock = clock
        self._batches = batches
        self.instance: Instance | None = None
        self.listeners: dict[Address, Listener] = {}

    async def start(self, instance: Instance, sockets: Sockets | None = None) -> None:
        """Serve a configuration, on sockets that are opened here or were before.

        Raises:
            ListenError: an address cannot be used. Nothing is left open.
        """
        for address, pairs in (sockets or open_sockets(instance.fronts)).items():
            await self._listen(address, pairs, instance.fronts[address])
        self.instance = instance

    async def use(self, instance: Instance) -> None:
        """Serve another configuration: sockets that both need stay open, and no query is lost.

        Raises:
            ListenError: a new address cannot be used; the old configuration goes on.
        """
        opened = open_sockets(address for address in instance.fronts if address not in self.listeners)
        for address, pairs in opened.items():
            await self._listen(address, pairs, instance.fronts[address])
        for address, listener in list(self.listeners.items()):
            if address in instance.fronts:
                front = instance.fronts[address]
                if listener.tls is not None and front.options.tls is not None:
                    load_certificate(listener.tls, front.options.tls)
                for face in listener.faces:
                    face.use(front)
            else:
                await self._close(self.listeners.pop(address))
        self.instance = instance

    def drop(self, keys: Iterable[Key]) -> None:
        """The cluster changed: no answer that read these keys may be given again."""
        for listener in self.listeners.values():
            for face in listener.faces:
                face.drop(keys)

    async def close(self) -> None:
        """Receive no more, finish what was received, close everything; what was counted can still be read."""
        await asyncio.gather(*map(self._close, self.listeners.values()))

    async def _close(self, listener: Listener) -> None:
        for server in listener.tcp:
            server.close()
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        stops = [udp.stop() for _, udp in listener.udp]
        drains = [connection.drain() for connection in tuple(listener.connections)]
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await asyncio.gather(*stops, *drains)
        for sock, _ in listener.udp:
            sock.close()

    async def _listen(
        self, address: Address, sockets: Iterable[tuple[socket.socket | None, socket.socket]], front: Front
    ) -> None:
        listener = self.listeners[address] = Listener(address)
        if address.scheme == "tls" and front.options.tls is not None:
            listener.tls = server_context(front.options.tls)
        loop = asyncio.get_running_loop()
        for udp_socket, tcp_socket in sockets:
            family = 4 if tcp_socket.family == socket.AF_INET else 6
            if udp_socket is not None:
                face = Face(front, str(address), "udp", family, self._clock)
                listener.faces.append(face)
                udp = Udp(udp_socket, face, batches=self._batches)
                listener.udp.append((udp_socket, udp))
                udp.start()
            face = Face(front, str(address), "tcp", family, self._clock)
            listener.faces.append(face)
            server = await loop.create_server(
                lambda face=face: Tcp(face, listener.connections),
                sock=tcp_socket,
                backlog=BACKLOG,
                ssl=listener.tls,
                ssl_handshake_timeout=FIRST_SECONDS if listener.tls else None,
            )
            listener.tcp.append(server)


def open_sockets(addresses: Iterable[Address], *, share: bool = False) -> Sockets:
    """UDP and TCP sockets for each address, bound; `share` lets other processes bind the same.

    Raises:
        ListenError: an address cannot be used. Nothing is left open.
    """
    opened: Sockets = {}
    try:
        for address in addresses:
            opened[address] = _open(address, share=share)
    except ListenError:
        close_sockets(opened)
        raise
    return opened


def close_sockets(sockets: Sockets) -> None:
    """Close them all."""
    for pairs in sockets.values():
        for pair in pairs:
            for sock in pair:
                if sock is not None:
                    sock.close()


def _open(address: Address, *, share: bool) -> list[tuple[socket.socket | None, socket.socket]]:
    """UDP and TCP, twice on a wildcard; one port for all where the kernel picks it. TLS has no UDP."""
    pairs: list[tuple[socket.socket | None, socket.socket]] = []
    port = address.port
    for host in [address.host] if address.host else ["0.0.0.0", "::"]:
        udp = None
        try:
            if address.scheme == "dns":
                udp = _bound(socket.SOCK_DGRAM, host, port, share=share)
                port = udp.getsockname()[1]
            tcp = _bound(socket.SOCK_STREAM, host, port, share=share)
            port = tcp.getsockname()[1]
            pairs.append((udp, tcp))
        except OSError as error:
            if udp is not None:
                udp.close()
            if host == "::" and pairs:
                log.info("no IPv6 on %s: %s", address, error.strerror)
                continue
            close_sockets({address: pairs})
            raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return pairs


def _bound(kind: socket.SocketKind, host: str, port: int, *, share: bool) -> socket.socket:
    host, _, scope = host.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((host, port, 0, socket.if_nametoindex(scope)) if scope else (host, port))
    except OSError:
        sock.close()
        raise
    return sock
