"""What was answered, in numbers: counted once per query or, for a hit of the memo, when somebody looks.

Plain values; `observe` gives them names and turns them into text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dnsd.resolve.histogram import Histogram

SIZE_BOUNDS = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)
"""Octets; CoreDNS's buckets (spec.md section 7.1)."""


class Labels(NamedTuple):
    """What tells one series of queries from another, on one face of a listener."""

    zone: str
    """The server block's; `dropped` where none took the query, empty where the block counts none."""
    type: int
    rcode: int
    plugin: str
    do: bool
    cached: str = ""
    """For hits of the memo: the type of cache hit that each of them stands for."""


@dataclass(slots=True)
class Series:
    """The numbers of one set of labels."""

    count: int = 0
    request_octets: Histogram = field(default_factory=lambda: Histogram(SIZE_BOUNDS))
    response_octets: Histogram = field(default_factory=lambda: Histogram(SIZE_BOUNDS))
    seconds: Histogram = field(default_factory=Histogram)

    def add(self, request: int, response: int, seconds: float, times: int = 1) -> None:
        """Count queries of `request` octets, answered with `response` octets after `seconds` each."""
        self.count += times
        self.request_octets.add(request, times)
        self.response_octets.add(response, times)
        self.seconds.add(seconds, times)


class Tally:
    """Every series of one face."""

    def __init__(self) -> None:
        self.series: dict[Labels, Series] = {}

    def of(self, labels: Labels) -> Series:
        """The series with these labels."""
        series = self.series.get(labels)
        if series is None:
            series = self.series[labels] = Series()
        return series

    def add(self, labels: Labels, request: int, response: int, seconds: float, times: int = 1) -> None:
        """Count queries in the series with these labels."""
        self.of(labels).add(request, response, seconds, times)
