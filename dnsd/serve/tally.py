"""What was answered, in numbers: counted once per query or, for a hit of the memo, when somebody looks.

Plain values; `observe` gives them names and turns them into text.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

SIZE_BOUNDS = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)
"""Octets; CoreDNS's buckets (spec.md section 7.1)."""
DURATION_BOUNDS = tuple(0.00025 * 2**k for k in range(16))
"""Seconds; CoreDNS's buckets."""


class Labels(NamedTuple):
    """What tells one series of queries from another, on one face of a listener."""

    zone: str
    """The server block's; `dropped` where none took the query."""
    type: int
    rcode: int
    plugin: str
    do: bool
    cached: str = ""
    """For hits of the memo: the type of cache hit that each of them stands for."""


@dataclass(slots=True)
class Histogram:
    """Counts per bucket, the last one for what is above all bounds, and the sum of what was observed."""

    bounds: tuple[float, ...]
    buckets: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = [0] * (len(self.bounds) + 1)

    def add(self, value: float, times: int = 1) -> None:
        """Observe `value`, `times` over."""
        self.buckets[bisect_left(self.bounds, value)] += times
        self.sum += value * times


@dataclass(slots=True)
class Series:
    """The numbers of one set of labels."""

    count: int = 0
    request_octets: Histogram = field(default_factory=lambda: Histogram(SIZE_BOUNDS))
    response_octets: Histogram = field(default_factory=lambda: Histogram(SIZE_BOUNDS))
    seconds: Histogram = field(default_factory=lambda: Histogram(DURATION_BOUNDS))


class Tally:
    """Every series of one face."""

    def __init__(self) -> None:
        self.series: dict[Labels, Series] = {}

    def add(self, labels: Labels, request: int, response: int, seconds: float, times: int = 1) -> None:
        """Count queries of `request` octets, answered with `response` octets after `seconds` each."""
        series = self.series.get(labels)
        if series is None:
            series = self.series[labels] = Series()
        series.count += times
        series.request_octets.add(request, times)
        series.response_octets.add(response, times)
        series.seconds.add(seconds, times)
