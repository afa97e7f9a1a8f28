"""A histogram with fixed bounds, as Prometheus has them. Values only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

DURATION_BOUNDS = tuple(0.00025 * 2**k for k in range(16))
"""Seconds, 0.25 ms to 8.192 s (spec.md section 7.1)."""


class Histogram:
    """Counts per bucket, the last one for what is above all bounds, and the sum of what was observed."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...] = DURATION_BOUNDS) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Observe `value`, `times` over."""
        self.buckets[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """Upper bound and count of what is at or below it, as prometheus-client wants buckets."""
        total = 0
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), self.buckets, strict=True):
            total += count
            yield bound, total
