"""Asks a chain built from Corefile text, without sockets: what most plugin tests need."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.rdatatype

from dnsd.cluster.sources import make_source
from dnsd.cluster.store import Clusters
from dnsd.corefile.files import glob, read
from dnsd.corefile.parser import parse
from dnsd.plugins.build import Host
from dnsd.resolve.query import Client
from dnsd.serve.face import Face
from dnsd.serve.instance import Instance, make_instance


@dataclass(slots=True)
class Chain:
    """A configuration built and started, without listeners."""

    instance: Instance
    clusters: Clusters

    async def ask(
        self, name: str, type_: str = "A", *, client: str = "127.0.0.1", protocol: str = "udp", **options: object
    ) -> dns.message.Message | None:
        """Send a query through the accept gate and the chain; the reply as dnspython reads it, None for silence.

        `options` go to `dns.message.make_query`: `use_edns`, `payload`, `want_dnssec`, `rdclass`, `flags`...
        """
        message = dns.message.make_query(name, type_, **options)  # type: ignore[arg-type]
        return await self.ask_message(message, client=client, protocol=protocol)

    async def ask_message(
        self, message: dns.message.Message, *, client: str = "127.0.0.1", protocol: str = "udp"
    ) -> dns.message.Message | None:
        """Send a message as it is."""
        (front,) = self.instance.fronts.values()
        face = Face(front, "dns://:53", protocol, 6 if ":" in client else 4, time.monotonic)
        reply = await face.answer(message.to_wire(), Client(client, 40000, protocol, "127.0.0.1", face.server))
        return None if reply is None else dns.message.from_wire(reply)


def build(corefile: str, directory: Path | str = ".", manifests: tuple[str, ...] = ()) -> Chain:
    """Build what a Corefile says; CorefileError where it cannot be used."""
    clusters = Clusters(make_source, manifests)
    blocks = parse(corefile, "Corefile", environment=os.environ, read=read, glob=glob)
    host = Host(str(directory), clusters, time.monotonic, lambda: {"lo": ["127.0.0.1", "::1"]})
    return Chain(make_instance(blocks, host), clusters)


async def start(chain: Chain) -> None:
    """Prepare the clusters and start the plugins."""
    await chain.clusters.prepare()
    await chain.instance.start()


def answer(
    corefile: str,
    name: str,
    type_: str = "A",
    *,
    directory: Path | str = ".",
    client: str = "127.0.0.1",
    protocol: str = "udp",
    **options: object,
) -> dns.message.Message | None:
    """Build, ask once, and stop."""

    async def run() -> dns.message.Message | None:
        chain = build(corefile, directory)
        await start(chain)
        try:
            return await chain.ask(name, type_, client=client, protocol=protocol, **options)
        finally:
            await chain.instance.stop()

    return asyncio.run(run())


def records(section: object) -> list[tuple[str, int, str, str]]:
    """The records of a section as (owner name, TTL, type, rdata) texts, sorted."""
    rows = [
        (rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), rdata.to_text())
        for rrset in section  # type: ignore[attr-defined]
        for rdata in rrset
    ]
    return sorted(rows)
