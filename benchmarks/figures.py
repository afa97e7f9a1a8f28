"""Figures: what was measured, for which server, round by round, and how two of them compare.

Knows statistics. Must not know how anything is measured or shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Subject = TypeVar("Subject")
Result = TypeVar("Result")

MICROSECONDS = "µs/query"
RATE = "q/s"
SECONDS = "s"
MILLISECONDS = "ms"
MEGABYTES = "MB"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured of one server: a sample a round, in the order of the rounds."""

    experiment: str
    case: str
    server: str
    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)


def ratio(figure: Figure, other: Figure) -> float:
    """The median of the ratios of rounds: both sides of each were measured within seconds of one another."""
    return statistics.median(a / b for a, b in zip(figure.samples, other.samples, strict=False))


def interleave(
    subjects: Sequence[Subject], rounds: int, measure: Callable[[Subject, int], Result]
) -> list[tuple[Subject, list[Result]]]:
    """Measure A B C, A B C, ...: what disturbs the machine for a while disturbs them all alike."""
    results: list[tuple[Subject, list[Result]]] = [(subject, []) for subject in subjects]
    for number in range(rounds):
        for subject, samples in results:
            samples.append(measure(subject, number))
    return results


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest sample that `percent` of all samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]
