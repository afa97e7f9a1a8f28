"""Asks the `kubernetes` plugin about an index that a test fills itself, through a real server block."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import dns.message
import dns.rdatatype

from dnsd.cluster.index import Index
from dnsd.cluster.store import Clusters, SourceSettings
from dnsd.corefile.parser import parse
from dnsd.plugins.build import Host
from dnsd.resolve.query import Client
from dnsd.serve.face import Face
from dnsd.serve.instance import Instance, make_instance
from tests.cluster.oracle import Expected, Record

ZONES = "cluster.local in-addr.arpa ip6.arpa"


class Idle:
    """A source that leaves the index to the test."""

    async def prepare(self) -> None:
        """Nothing to find out."""

    async def run(self) -> None:
        """Nothing to follow."""
        await asyncio.Event().wait()


@dataclass
class Cluster:
    """An index under test, and the configuration that answers from it."""

    instance: Instance
    clusters: Clusters

    @property
    def index(self) -> Index:
        """The index of the one `kubernetes` stanza."""
        (cluster,) = self.clusters.by_settings.values()
        return cluster.index

    def face(self, protocol: str = "tcp") -> Face:
        """A face of the one listener."""
        (front,) = self.instance.fronts.values()
        return Face(front, "dns://:53", protocol, 4, time.monotonic)

    def ask(self, name: str, type_: str = "A", *, client: str = "10.0.0.9") -> dns.message.Message:
        """The reply to one question over TCP, so that nothing is cut off."""
        query = dns.message.make_query(name, type_)
        face = self.face()
        reply = asyncio.run(face.answer(query.to_wire(), Client(client, 40_000, "tcp", "127.0.0.1", face.server)))
        assert reply is not None
        return dns.message.from_wire(reply)


def cluster(
    options: str = "",
    index: Index | None = None,
    *,
    more: str = "",
    local: tuple[str, ...] = (),
    key: str = ".",
) -> Cluster:
    """A server block with `kubernetes { OPTIONS }`, answering from `index`; `more` are further directives.

    `local` are the texts of this host's addresses. A listener gets a port from the kernel.
    """

    def make_source(settings: SourceSettings, own: Index) -> Idle:
        return Idle()

    clusters = Clusters(make_source)
    corefile = f"{key} {{\n kubernetes {ZONES} {{\n{options}\n}}\n{more}\n}}\n"
    blocks = parse(corefile, "Corefile", environment={}, read=_no_file, glob=_no_files)
    host = Host(".", clusters, time.monotonic, lambda: {"eth0": local}, 0)
    instance = make_instance(blocks, host)
    if index is not None:
        (held,) = clusters.by_settings.values()
        index.listeners.append(clusters.changed)
        held.index = index
    return Cluster(instance, clusters)


def _no_file(path: str) -> str:
    raise FileNotFoundError(path)


def _no_files(pattern: str) -> list[str]:
    return []


def said(reply: dns.message.Message) -> Expected:
    """What a reply says, in the oracle's terms; its shape is checked on the way."""
    rcode = dns.rcode.to_text(reply.rcode())
    owners = {dns.rdatatype.to_text(rrset.rdtype) for rrset in reply.authority}
    assert owners == (set() if reply.answer else {"SOA"}), reply.to_text()
    return Expected(rcode, _records(reply.answer), _records(reply.additional))


def _records(section: list[dns.rrset.RRset]) -> frozenset[Record]:
    rows = [
        (rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), data.to_text())
        for rrset in section
        for data in rrset
    ]
    return frozenset(rows)
