"""The server: sockets for every listener of a configuration, and their orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from dnsd.cluster.index import Key
from dnsd.resolve.front import Front
from dnsd.serve.face import Face
from dnsd.serve.instance import Address, Instance
from dnsd.serve.tcp import Tcp
from dnsd.serve.udp import Udp

log = logging.getLogger("dnsd")

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Octets asked of the kernel for each UDP socket: a burst of some 5,000 queries. The kernel may give less."""
BACKLOG = 1024
"""TCP connections that wait to be accepted."""
DRAIN_SECONDS = 5.0
"""That a stop waits for queries under way (spec.md section 1.6)."""


class ListenError(Exception):
    """A listener's address cannot be used: says which and why."""


Sockets: TypeAlias = dict[Address, list[tuple[socket.socket, socket.socket]]]
"""Bound UDP and TCP sockets, by the address that they are for."""


@dataclass(slots=True)
class Listener:
    """The sockets of one address: UDP and TCP, and on a wildcard IPv4 and IPv6."""

    address: Address
    udp: list[tuple[socket.socket, Udp]] = field(default_factory=list)
    tcp: list[asyncio.Server] = field(default_factory=list)
    connections: set[Tcp] = field(default_factory=set)
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
                for face in listener.faces:
                    face.use(instance.fronts[address])
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
        stops = [udp.stop() for _, udp in listener.udp]
        drains = [connection.drain() for connection in tuple(listener.connections)]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*stops, *drains), DRAIN_SECONDS)
        for sock, _ in listener.udp:
            sock.close()

    async def _listen(
        self, address: Address, sockets: Iterable[tuple[socket.socket, socket.socket]], front: Front
    ) -> None:
        listener = self.listeners[address] = Listener(address)
        loop = asyncio.get_running_loop()
        for udp_socket, tcp_socket in sockets:
            family = 4 if udp_socket.family == socket.AF_INET else 6
            udp_face = Face(front, str(address), "udp", family, self._clock)
            tcp_face = Face(front, str(address), "tcp", family, self._clock)
            listener.faces += [udp_face, tcp_face]
            udp = Udp(udp_socket, udp_face, batches=self._batches)
            listener.udp.append((udp_socket, udp))
            udp.start()
            server = await loop.create_server(
                lambda face=tcp_face: Tcp(face, listener.connections),  # type: ignore[misc]
                sock=tcp_socket,
                backlog=BACKLOG,
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
                sock.close()


def _open(address: Address, *, share: bool) -> list[tuple[socket.socket, socket.socket]]:
    """One pair of sockets, or two on a wildcard. One port for all where the kernel picks it."""
    pairs: list[tuple[socket.socket, socket.socket]] = []
    port = address.port
    for host in [address.host] if address.host else ["0.0.0.0", "::"]:
        try:
            pairs.append(_pair(host, port, share=share))
            port = pairs[-1][0].getsockname()[1]
        except OSError as error:
            if host == "::" and pairs:
                log.info("no IPv6 on %s: %s", address, error.strerror)
                continue
            close_sockets({address: pairs})
            raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return pairs


def _pair(host: str, port: int, *, share: bool) -> tuple[socket.socket, socket.socket]:
    udp = _bound(socket.SOCK_DGRAM, host, port, share=share)
    try:
        return udp, _bound(socket.SOCK_STREAM, host, udp.getsockname()[1], share=share)
    except OSError:
        udp.close()
        raise


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
