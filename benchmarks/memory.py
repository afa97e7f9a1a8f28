"""Measures the terms of the formula in docs/memory.md: octets that each kind of object takes in the index.

    python -m benchmarks.memory

Each kind is put into an index of its own, in a process of its own, and what the process grew by is divided by how many
there are. Exit status 1 where a term is off by more than TOLERANCE.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from dnsd.cluster.index import Index
from dnsd.cluster.objects import (
    Endpoint,
    EndpointSlice,
    Labels,
    Metadata,
    Namespace,
    Object,
    Pod,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)

COUNT = 20_000
ENDPOINTS = 10
NAMESPACES = 100
TOLERANCE = 0.25
FORMULA = {"service": 440, "slice": 530, "endpoint": 185, "verified pod": 380}
"""Octets, as docs/memory.md has them."""

_PORTS = [ServicePort("http", "TCP", 80)]


def _address(number: int, network: int) -> str:
    return f"10.{network + number // 65_536}.{number // 256 % 256}.{number % 256}"


def _services() -> Iterator[Object]:
    for i in range(COUNT):
        spec = ServiceSpec(type="ClusterIP", cluster_ips=[_address(i, 96)], ports=_PORTS)
        yield Service(Metadata(name=f"service-{i}", namespace=f"team-{i % NAMESPACES}"), spec)


def _slices(endpoints: int) -> Iterator[Object]:
    for i in range(COUNT):
        labels = Labels(service=f"service-{i}")
        meta = Metadata(name=f"service-{i}-abcde", namespace=f"team-{i % NAMESPACES}", labels=labels)
        addresses = [_address(i * endpoints + k, 128) for k in range(endpoints)]
        yield EndpointSlice(meta, [Endpoint(addresses=[address]) for address in addresses], _PORTS)


def _pods() -> Iterator[Object]:
    for i in range(COUNT):
        meta = Metadata(name=f"service-{i}-7d9f8-{i:05}", namespace=f"team-{i % NAMESPACES}")
        yield Pod(meta, PodStatus("Running", _address(i, 128)))


def _empty_slices() -> Iterator[Object]:
    return _slices(0)


def _full_slices() -> Iterator[Object]:
    return _slices(ENDPOINTS)


def _resident() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def grown(make: Callable[[], Iterator[Object]]) -> float:
    """Octets an object, measured in this process."""
    index = Index((Namespace, Service, EndpointSlice, Pod))
    for i in range(NAMESPACES):
        index.put(Namespace(Metadata(name=f"team-{i}")), 1.0)
    before = _resident()
    for item in make():
        index.put(item, 2.0)
    return (_resident() - before) / COUNT


def main() -> int:
    """Print each term beside the formula's."""
    made = (_services, _empty_slices, _full_slices, _pods)
    context = multiprocessing.get_context("spawn")
    values = []
    for make in made:
        with context.Pool(1) as pool:
            values.append(pool.apply(grown, (make,)))
    service, slice_, full, pod = values
    found = {"service": service, "slice": slice_, "endpoint": (full - slice_) / ENDPOINTS, "verified pod": pod}
    off = 0
    for name, octets in found.items():
        wrong = abs(octets - FORMULA[name]) > TOLERANCE * FORMULA[name]
        off += wrong
        print(f"{name:14}{octets:8.0f} octets, {FORMULA[name]} by the formula{'  OFF' if wrong else ''}")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
