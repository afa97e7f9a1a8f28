"""The server: sockets for every listener of a configuration, and their orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from dnsd.cluster.index import Key
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

    async def start(self, instance: Instance) -> None:
        """Open the sockets of a configuration, and serve it.

        Raises:
            ListenError: an address cannot be used. Nothing is left open.
        """
        try:
            opened = {address: self._open(address) for address in instance.fronts}
            for address, sockets in opened.items():
                await self._listen(address, sockets, instance)
        except ListenError:
            await self.close()
            raise
        self.instance = instance

    def drop(self, keys: Iterable[Key]) -> None:
        """The cluster changed: no answer that read these keys may be given again."""
        for listener in self.listeners.values():
            for face in listener.faces:
                face.drop(keys)

    async def close(self) -> None:
        """Receive no more, finish what was received, close everything."""
        for listener in self.listeners.values():
            for server in listener.tcp:
                server.close()
            for connection in tuple(listener.connections):
                connection.drain()
        stops = [udp.stop() for listener in self.listeners.values() for _, udp in listener.udp]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*stops), DRAIN_SECONDS)
        for listener in self.listeners.values():
            for sock, _ in listener.udp:
                sock.close()
        self.listeners.clear()

    def _open(self, address: Address) -> list[tuple[socket.socket, socket.socket]]:
        """UDP and TCP sockets, bound: one pair, or two on a wildcard. One port for all where the kernel picks it."""
        hosts = [address.host] if address.host else ["0.0.0.0", "::"]
        pairs: list[tuple[socket.socket, socket.socket]] = []
        port = address.port
        for host in hosts:
            try:
                udp = _bound(socket.SOCK_DGRAM, host, port)
                pairs.append((udp, _bound(socket.SOCK_STREAM, host, udp.getsockname()[1])))
            except OSError as error:
                if host == "::" and pairs:
                    log.info("no IPv6 on %s: %s", address, error.strerror)
                    continue
                for pair in pairs:
                    for sock in pair:
                        sock.close()
                raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
            port = udp.getsockname()[1]
        return pairs

    async def _listen(
        self, address: Address, sockets: list[tuple[socket.socket, socket.socket]], instance: Instance
    ) -> None:
        listener = self.listeners[address] = Listener(address)
        front = instance.fronts[address]
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


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    host, _, scope = host.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((host, port, 0, socket.if_nametoindex(scope)) if scope else (host, port))
    except OSError:
        sock.close()
        raise
    return sock
