"""Resolvers for published Corefiles: what stands behind `forward` in a real cluster."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.authority import Authority
from tests.upstream import Upstream

ZONES = Path(__file__).parent / "zones"
AA, RA = 0x04, 0x80


class Resolver(Upstream):
    """Answers as a resolver does, and not as the authority: RA, and no AA."""

    def answer(self, data: bytes, protocol: str) -> bytes | None:
        """The reply to a query."""
        reply = super().answer(data, protocol)
        return reply and reply[:2] + bytes([reply[2] & ~AA, reply[3] | RA]) + reply[4:]


@contextlib.contextmanager
def over_tls(upstream: Upstream, folder: Path) -> Iterator[str]:
    """DNS over TLS (RFC 7858) in front of an upstream; its HOST:PORT. Writes the authority to FOLDER/ca.crt."""
    authority = Authority.make()
    for name, pem in zip(("tls.crt", "tls.key"), authority.issue("resolver", server=True), strict=True):
        (folder / name).write_bytes(pem)
    (folder / "ca.crt").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while len(prefix := self.rfile.read(2)) == 2:
                    reply = upstream.answer(self.rfile.read(struct.unpack("!H", prefix)[0]), "tls")
                    if reply is not None:
                        self.wfile.write(struct.pack("!H", len(reply)) + reply)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, object]:
            sock, address = super().get_request()
            return context.wrap_socket(sock, server_side=True), address

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
