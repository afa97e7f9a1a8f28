"""A large cluster, the same on every run: namespaces, services and their endpoints.

Knows sizes, names and addresses. Must not know how Kubernetes, a zone file or a benchmark writes them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

ZONE = "cluster.local"
SERVICES = 10_000
ENDPOINTS_PER_SERVICE = 10
SERVICES_PER_NAMESPACE = 100
PODS_PER_NODE = 100

HEADLESS_EVERY = 20
"""One service in twenty is headless, as databases and queues are."""

_SERVICE_NETWORK = int(ipaddress.IPv4Address("10.96.0.0"))
_POD_NETWORK = int(ipaddress.IPv4Address("10.128.0.0"))

_TEAMS = ("payments", "search", "catalog", "identity", "shipping", "billing", "media", "insights", "risk", "platform")
_PARTS = ("api", "worker", "gateway", "store", "cache", "queue", "frontend", "scheduler", "exporter", "index")


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service: its name, its number, and the number its pods listen on."""

    name: str
    number: int
    target: int


HTTP = Port("http", 80, 8080)
METRICS = Port("metrics", 9090, 9090)


@dataclass(frozen=True, slots=True)
class Service:
    """A service with ready endpoints; `address` is its cluster IP, or empty if it is headless."""

    namespace: str
    name: str
    address: str
    ports: tuple[Port, ...]
    endpoints: tuple[str, ...]

    @property
    def headless(self) -> bool:
        """Whether its name stands for its endpoints."""
        return not self.address

    @property
    def owner(self) -> str:
        """Its name in the zone, fully qualified."""
        return f"{self.name}.{self.namespace}.svc.{ZONE}."


@dataclass(frozen=True, slots=True)
class Cluster:
    """Namespaces and services, in the order in which they were created."""

    namespaces: tuple[str, ...]
    services: tuple[Service, ...]


def endpoint_label(address: str) -> str:
    """The label of an endpoint without a hostname (spec.md 2.5)."""
    return address.replace(".", "-")


def node_of(address: str) -> str:
    """The node a pod address belongs to: each node has a /24."""
    number = (int(ipaddress.IPv4Address(address)) - _POD_NETWORK) >> 8
    return f"worker-{number:04}"


def generate(services: int = SERVICES, endpoints_per_service: int = ENDPOINTS_PER_SERVICE) -> Cluster:
    """A cluster with that many services, each with that many endpoints."""
    made = tuple(_service(number, endpoints_per_service) for number in range(services))
    return Cluster(tuple(dict.fromkeys(service.namespace for service in made)), made)


def _service(number: int, endpoints: int) -> Service:
    team = number // SERVICES_PER_NAMESPACE
    headless = number % HEADLESS_EVERY == HEADLESS_EVERY - 1
    first = number * endpoints
    return Service(
        namespace=f"{_TEAMS[team % len(_TEAMS)]}-{team // len(_TEAMS)}",
        name=f"{_PARTS[number % len(_PARTS)]}-{number}",
        # The first 16 addresses are left to services such as kube-dns, as kubeadm does.
        address="" if headless else str(ipaddress.IPv4Address(_SERVICE_NETWORK + 16 + number)),
        ports=(HTTP, METRICS),
        endpoints=tuple(_pod_address(pod) for pod in range(first, first + endpoints)),
    )


def _pod_address(pod: int) -> str:
    node, place = divmod(pod, PODS_PER_NODE)
    # .0 and .1 of a node's /24 are its network and its bridge.
    return str(ipaddress.IPv4Address(_POD_NETWORK + (node << 8) + place + 2))
