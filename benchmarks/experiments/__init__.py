"""The experiments, in the order in which they run. Each takes a `Bench` and gives figures; none knows another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from benchmarks.bench import Bench
from benchmarks.experiments import changes, forwarding, misses, queries, startup, workers
from benchmarks.figures import Figure

Experiment: TypeAlias = Callable[[Bench], list[Figure]]

EXPERIMENTS: dict[str, Experiment] = {
    "start": startup.start,
    "udp": queries.udp,
    "tcp": queries.tcp,
    "rates": queries.rates,
    "slow": misses.slow,
    "forward": forwarding.forward,
    "workers": workers.workers,
    "flood": misses.flood,
    "freshness": changes.freshness,
    "tail": changes.tail,
}
