"""An upstream server for tests: one zone from a file over UDP and TCP, REFUSED for every other name.

It answers as NSD does: CNAMEs are followed inside the zone, answers carry the zone's NS records and the addresses of
what they name.

    with Upstream(path) as upstream:
        upstream.address            # 127.0.0.1:PORT
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone


class Upstream:
    """See the top of the module. A context manager: the ports are open inside."""

    def __init__(self, zone: Path, host: str = "127.0.0.1") -> None:
        self.zone = dns.zone.from_file(str(zone), relativize=False)
        self.asked: list[str] = []
        """`NAME TYPE protocol` of each query, in order."""
        self.host = host
        self._udp: socketserver.UDPServer
        self._tcp: socketserver.TCPServer
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        """HOST:PORT, as `forward` takes it."""
        return f"{self.host}:{self.port}"

    @property
    def port(self) -> int:
        """The port of both protocols."""
        port: int = self._udp.server_address[1]
        return port

    def __enter__(self) -> Self:
        self._udp, self._tcp = self._open()
        for server in (self._udp, self._tcp):
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def _open(self) -> tuple[socketserver.UDPServer, socketserver.TCPServer]:
        upstream = self

        class OverUdp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                reply = upstream.answer(data, "udp")
                if reply is not None:
                    sock.sendto(reply, self.client_address)

        class OverTcp(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    while len(prefix := self.rfile.read(2)) == 2:
                        reply = upstream.answer(self.rfile.read(struct.unpack("!H", prefix)[0]), "tcp")
                        if reply is not None:
                            self.wfile.write(struct.pack("!H", len(reply)) + reply)

        while True:
            udp = socketserver.UDPServer((self.host, 0), OverUdp)
            try:
                tcp = _Tcp((self.host, udp.server_address[1]), OverTcp)
            except OSError:
                udp.server_close()
                continue
            return udp, tcp

    def answer(self, data: bytes, protocol: str) -> bytes | None:
        """The reply to a query."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR or not query.question:
            return None
        question = query.question[0]
        self.asked.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)} {protocol}")
        reply = dns.message.make_response(query)
        reply.flags &= ~dns.flags.RA
        if query.edns > 0:
            reply.set_rcode(dns.rcode.BADVERS)
        elif not question.name.is_subdomain(self._origin) or question.rdclass != dns.rdataclass.IN:
            reply.set_rcode(dns.rcode.REFUSED)
        else:
            self._fill(reply, question.name, question.rdtype)
        size = 65535 if protocol == "tcp" else max(512, query.payload if query.edns >= 0 else 512)
        try:
            return reply.to_wire(max_size=size)
        except dns.exception.TooBig:
            reply.flags |= dns.flags.TC
            reply.answer, reply.authority, reply.additional = [], [], []
            return reply.to_wire(max_size=size)

    @property
    def _origin(self) -> dns.name.Name:
        assert self.zone.origin is not None
        return self.zone.origin

    def _fill(self, reply: dns.message.Message, name: dns.name.Name, type_: dns.rdatatype.RdataType) -> None:
        reply.flags |= dns.flags.AA
        while True:
            alias = self._rrset(name, dns.rdatatype.CNAME)
            if alias is None or type_ in (dns.rdatatype.CNAME, dns.rdatatype.ANY):
                break
            reply.answer.append(alias)
            name = alias[0].target
            if not name.is_subdomain(self._origin):
                return
        if type_ == dns.rdatatype.ANY:
            found = [dns.rrset.from_rdata_list(name, r.ttl, list(r)) for r in self.zone.get_node(name) or ()]
        else:
            found = [rrset for rrset in [self._rrset(name, type_)] if rrset is not None]
        reply.answer.extend(found)
        servers = self._rrset(self._origin, dns.rdatatype.NS)
        if not found:
            reply.authority.append(self._negative_soa())
            if not any(other.is_subdomain(name) for other in self.zone.nodes):
                reply.set_rcode(dns.rcode.NXDOMAIN)
            return
        if servers is not None and servers not in reply.answer:
            reply.authority.append(servers)
        for target in self._targets([*reply.answer, *reply.authority]):
            for glue in (self._rrset(target, dns.rdatatype.A), self._rrset(target, dns.rdatatype.AAAA)):
                if glue is not None and glue not in reply.answer and glue not in reply.additional:
                    reply.additional.append(glue)

    def _negative_soa(self) -> dns.rrset.RRset:
        soa = self._rrset(self._origin, dns.rdatatype.SOA)
        assert soa is not None
        soa.ttl = min(soa.ttl, soa[0].minimum)
        return soa

    def _rrset(self, name: dns.name.Name, type_: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
        return self.zone.get_rrset(name, type_)

    @staticmethod
    def _targets(rrsets: list[dns.rrset.RRset]) -> Iterator[dns.name.Name]:
        for rrset in rrsets:
            for data in rrset:
                target: Any = getattr(data, "exchange", None)
                if rrset.rdtype in (dns.rdatatype.NS, dns.rdatatype.SRV):
                    target = getattr(data, "target", None)
                if target is not None:
                    yield target


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    address_family = socket.AF_INET
