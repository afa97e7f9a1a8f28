"""The questions that are asked: lines of `name type`, as dnsperf reads them.

Knows what clients of a cluster ask. Must not know who answers or how fast.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from benchmarks.cluster import ZONE, Cluster
from benchmarks.zones import UPSTREAM_ORIGIN, pod_name, reverse_name

Question: TypeAlias = tuple[str, str]
"""An owner name, fully qualified, and a type."""

HOT_NAMES = 1_000
MIX_QUESTIONS = 10_000
FORWARDED_NAMES = 1_000

_EXTERNAL_HOSTS = 40
_SEED = 1035


def hot(cluster: Cluster) -> list[Question]:
    """A of the first thousand services: what a busy cluster asks most."""
    return _shuffled((service.owner, "A") for service in cluster.services[:HOT_NAMES])


def every(cluster: Cluster) -> list[Question]:
    """A of every service."""
    return _shuffled((service.owner, "A") for service in cluster.services)


def mix(cluster: Cluster, count: int = MIX_QUESTIONS) -> list[Question]:
    """What pods with `ndots:5` send.

    Of a hundred questions 40 are A and 20 AAAA of services, 24 misses of the search path (external names with a suffix
    of the cluster, A and AAAA), 6 SRV, 5 pod names and 5 services that do not exist.
    """
    chosen = random.Random(_SEED)
    made: list[Question] = []
    while len(made) < count:
        service = chosen.choice(cluster.services)
        external = f"api.vendor-{chosen.randrange(_EXTERNAL_HOSTS)}.com"
        suffix = chosen.choice([f"{service.namespace}.svc.{ZONE}.", f"svc.{ZONE}.", f"{ZONE}."])
        (question,) = chosen.choices(
            [
                (service.owner, "A"),
                (service.owner, "AAAA"),
                (f"{external}.{suffix}", chosen.choice(["A", "AAAA"])),
                (f"_{chosen.choice(service.ports).name}._tcp.{service.owner}", "SRV"),
                (pod_name(service), "A"),
                (f"absent-{service.owner}", "A"),
            ],
            weights=[40, 20, 24, 6, 5, 5],
        )
        made.append(question)
    return made


def never_repeating(cluster: Cluster, start: int, count: int) -> Iterator[Question]:
    """Questions number `start` to `start + count`, no two alike.

    Half ask for services that do not exist, a quarter for endpoint names and a quarter for addresses (PTR). They are
    distinct as long as `start + count` is at most four times the number of endpoints.
    """
    endpoints = [(service, address) for service in cluster.services for address in service.endpoints]
    for number in range(start, start + count):
        service, address = endpoints[number // 4 % len(endpoints)]
        if number % 4 == 0:
            yield f"{address.replace('.', '-')}.{service.owner}", "A"
        elif number % 4 == 1:
            yield reverse_name(address), "PTR"
        else:
            yield f"gone-{number}.{service.namespace}.svc.{ZONE}.", "A"


def random_names(cluster: Cluster, count: int) -> Iterator[Question]:
    """A flood: names that do not exist, each asked once, in the namespaces of the cluster."""
    for number, namespace in zip(range(count), itertools.cycle(cluster.namespaces), strict=False):
        # An odd factor modulo a power of two maps distinct numbers to distinct labels.
        yield f"{number * 2_654_435_761 % 2**40:010x}.{namespace}.svc.{ZONE}.", "A"


def forwarded(count: int = FORWARDED_NAMES) -> list[Question]:
    """Names of a zone that only the upstream has."""
    return [(f"host-{number}.{UPSTREAM_ORIGIN}", "A") for number in range(count)]


def forwarded_once(start: int, count: int) -> Iterator[Question]:
    """Names below the upstream's wildcard, no two alike."""
    return ((f"n{number}.wild.{UPSTREAM_ORIGIN}", "A") for number in range(start, start + count))


def write(questions: Iterable[Question], path: Path) -> None:
    """Write questions as dnsperf's input."""
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"{name} {rtype}\n" for name, rtype in questions)


def _shuffled(questions: Iterable[Question]) -> list[Question]:
    made = list(questions)
    random.Random(_SEED).shuffle(made)
    return made
