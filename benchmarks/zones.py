"""A cluster as the zones that an ordinary name server would load to answer the same questions.

Knows the records of the Kubernetes DNS specification 1.1.0, endpoint names and their PTR records included, and what a
name server answers from them. Must not know Kubernetes objects or who serves the zones. CoreDNS's extras (SRV at names
other than `_port._protocol`, pod names of addresses without a pod) are left out: a zone file cannot hold them all, and
no question asks for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.cluster import ZONE, Cluster, Service, endpoint_label

TTL = 30
"""Seconds; kubeadm's."""

UPSTREAM_TTL = 3600
"""Seconds; longer than a run, so that only a cache's own limit makes it ask again."""

CLUSTER_ORIGIN = f"{ZONE}."
REVERSE_ORIGIN = "10.in-addr.arpa."
UPSTREAM_ORIGIN = "bench.example."

RRsets: TypeAlias = dict[str, list[str]]
"""Type to the data of its records."""


@dataclass(slots=True)
class Zone:
    """A zone: each owner name, fully qualified, with its RRsets."""

    origin: str
    ttl: int = TTL
    owners: dict[str, RRsets] = field(default_factory=dict)

    def add(self, owner: str, rtype: str, data: Iterable[str]) -> None:
        """Add records to the RRset of that owner and type."""
        self.owners.setdefault(owner, {}).setdefault(rtype, []).extend(data)

    def write(self, path: Path) -> None:
        """Write the zone as a master file (RFC 1035 section 5)."""
        with path.open("w", encoding="ascii") as file:
            file.write(f"$ORIGIN {self.origin}\n")
            file.writelines(
                f"{owner} {self.ttl} IN {rtype} {item}\n"
                for owner, rrsets in self.owners.items()
                for rtype, data in rrsets.items()
                for item in data
            )


def records(path: Path) -> Iterator[str]:
    """The records of a zone file that `Zone.write` wrote, a line each."""
    with path.open(encoding="ascii") as file:
        yield from (line.rstrip("\n") for line in file if not line.startswith("$"))


@dataclass(frozen=True, slots=True)
class Expected:
    """What a right answer has: the RCODE's name, and the data of the asked RRset in any order."""

    rcode: str
    data: frozenset[str] = frozenset()


class Oracle:
    """Answers from zones, as RFC 1034 4.3.2 says for zones without delegations and aliases.

    A wildcard is looked for one label up only (RFC 4592 would climb): the zones here have no deeper ones.
    """

    def __init__(self, zones: Mapping[str, Zone]) -> None:
        self._zones = zones
        self._parents = {parent for zone in zones.values() for owner in zone.owners for parent in _ancestors(owner)}

    def answer(self, name: str, rtype: str) -> Expected:
        """The right answer; a name with names below it exists (RFC 8020)."""
        zone = next(zone for origin, zone in self._zones.items() if name.endswith(origin))
        rrsets = zone.owners.get(name)
        if rrsets is None and name in self._parents:
            return Expected("NOERROR")
        if rrsets is None:
            rrsets = zone.owners.get(f"*.{name.partition('.')[2]}")
        if rrsets is None:
            return Expected("NXDOMAIN")
        return Expected("NOERROR", frozenset(rrsets.get(rtype, ())))


def build(cluster: Cluster) -> dict[str, Zone]:
    """The forward and the reverse zone of the cluster, by origin."""
    forward, reverse = Zone(CLUSTER_ORIGIN), Zone(REVERSE_ORIGIN)
    for zone in (forward, reverse):
        zone.add(zone.origin, "SOA", [f"ns.dns.{ZONE}. hostmaster.{ZONE}. 1773480413 7200 1800 86400 {TTL}"])
        zone.add(zone.origin, "NS", [f"ns.dns.{ZONE}."])
    forward.add(f"ns.dns.{ZONE}.", "A", ["10.96.0.10"])
    for service in cluster.services:
        _add_service(forward, reverse, service)
    return {zone.origin: zone for zone in (forward, reverse)}


def build_upstream(hosts: int) -> Zone:
    """The zone of the upstream: `host-0` to `host-N`, and a wildcard below `wild`, each with one address."""
    zone = Zone(UPSTREAM_ORIGIN, UPSTREAM_TTL)
    zone.add(zone.origin, "SOA", [f"ns.{zone.origin} hostmaster.{zone.origin} 1 7200 1800 86400 {UPSTREAM_TTL}"])
    zone.add(zone.origin, "NS", [f"ns.{zone.origin}"])
    zone.add(f"ns.{zone.origin}", "A", ["192.0.2.53"])
    for number in range(hosts):
        zone.add(f"host-{number}.{zone.origin}", "A", [f"198.51.100.{number % 256}"])
    zone.add(f"*.wild.{zone.origin}", "A", ["192.0.2.1"])
    return zone


def reverse_name(address: str) -> str:
    """The name of an IPv4 address in `in-addr.arpa.` (RFC 1035 3.5)."""
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa."


def pod_name(service: Service) -> str:
    """The pod name (`a-b-c-d.namespace.pod`) of the service's first endpoint: the only one that is asked for."""
    return f"{endpoint_label(service.endpoints[0])}.{service.namespace}.pod.{ZONE}."


def _add_service(forward: Zone, reverse: Zone, service: Service) -> None:
    endpoints = {address: f"{endpoint_label(address)}.{service.owner}" for address in service.endpoints}
    forward.add(service.owner, "A", service.endpoints if service.headless else [service.address])
    for address, owner in endpoints.items():
        forward.add(owner, "A", [address])
        reverse.add(reverse_name(address), "PTR", [owner])
    if service.headless:
        # The weight rule, and target ports instead of service ports: spec.md 2.5.
        weight = max(1, 100 // len(endpoints))
        for port in service.ports:
            data = [f"0 {weight} {port.target} {target}" for target in endpoints.values()]
            forward.add(f"_{port.name}._tcp.{service.owner}", "SRV", data)
    else:
        reverse.add(reverse_name(service.address), "PTR", [service.owner])
        for port in service.ports:
            forward.add(f"_{port.name}._tcp.{service.owner}", "SRV", [f"0 100 {port.number} {service.owner}"])
    forward.add(pod_name(service), "A", [service.endpoints[0]])


def _ancestors(owner: str) -> Iterator[str]:
    _, _, parent = owner.partition(".")
    while parent:
        yield parent
        _, _, parent = parent.partition(".")
