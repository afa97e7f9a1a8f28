"""What dnsd is to reach, each goal within one run. Knows figures by name; must not know how they are measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import MEGABYTES, MICROSECONDS, SECONDS, Figure, ratio


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure of dnsd: in its unit, or as a multiple of another server's."""

    experiment: str
    case: str
    unit: str
    at_most: float
    against: str = ""
    """The server whose figure it is divided by, round by round; nothing: the figure itself is bound."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal and what this run has for it."""

    goal: Goal
    value: float

    @property
    def reached(self) -> bool:
        """Whether the bound holds."""
        return self.value <= self.goal.at_most


GOALS = (
    Goal("udp", "hot names", MICROSECONDS, 1.10, "Knot"),
    Goal("udp", "all names", MICROSECONDS, 1.15, "Knot"),
    Goal("udp", "mix", MICROSECONDS, 1.15, "Knot"),
    Goal("udp", "hot names", MICROSECONDS, 1.30, "bare loop"),
    Goal("udp", "all names", MICROSECONDS, 1.30, "bare loop"),
    Goal("udp", "mix", MICROSECONDS, 1.30, "bare loop"),
    Goal("tcp", "pipelined", MICROSECONDS, 0.90, "Knot"),
    Goal("slow", "never repeating", MICROSECONDS, 300.0),
    Goal("start", "first answer", SECONDS, 4.0),
    Goal("start", "memory", MEGABYTES, 120.0),
)


def outcomes(figures: Sequence[Figure], goals: Iterable[Goal] = GOALS) -> Iterator[Outcome]:
    """What became of the goals whose figures were measured."""
    for goal in goals:
        own = find(figures, goal.experiment, goal.case, "dnsd", goal.unit)
        if own is None:
            continue
        if not goal.against:
            yield Outcome(goal, own.median)
        elif other := find(figures, goal.experiment, goal.case, goal.against, goal.unit):
            yield Outcome(goal, ratio(own, other))


def find(figures: Iterable[Figure], experiment: str, case: str, server: str, unit: str) -> Figure | None:
    """The figure of these names, if it was measured."""
    wanted = (experiment, case, server, unit)
    return next((f for f in figures if (f.experiment, f.case, f.server, f.unit) == wanted), None)
