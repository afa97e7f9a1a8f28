"""Metric families as plain values: how they add up over plugins and processes, and their text.

Knows the text format 0.0.4 of Prometheus, and no metric by its name. A snapshot, a list of families, is of types that
msgspec can send to another process, and is merged there with others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec
from prometheus_client.metrics_core import Metric

from dnsd.resolve.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4"
"""Of what `expose` returns."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, sorted by name; `le` comes last."""
Sample: TypeAlias = tuple[str, Labels, float]
"""The name of one series, its labels and its value."""


class Family(msgspec.Struct, array_like=True):
    """All series of one name."""

    name: str
    """As the TYPE line has it: a counter's ends in `_total`."""
    kind: str
    """`counter`, `gauge`, `histogram` or `untyped`."""
    help: str
    adds: bool = True
    """Whether a series that several report is their sum; else it is the greatest of their values."""
    samples: list[Sample] = msgspec.field(default_factory=list)

    def add(self, value: float, /, **labels: str) -> None:
        """One series of a counter or gauge."""
        self.samples.append((self.name, tuple(sorted(labels.items())), value))

    def observe(self, histogram: Histogram, /, **labels: str) -> None:
        """One series of a histogram."""
        named = tuple(sorted(labels.items()))
        bucket = f"{self.name}_bucket"
        self.samples += [(bucket, (*named, ("le", bound)), count) for bound, count in histogram.cumulative()]
        self.samples.append((f"{self.name}_sum", named, histogram.sum))
        self.samples.append((f"{self.name}_count", named, sum(histogram.buckets)))


Snapshot: TypeAlias = list[Family]
"""What one process, or one part of it, has to tell."""


def counter(name: str, help_: str) -> Family:
    """A counter without series yet."""
    return Family(name, "counter", help_)


def gauge(name: str, help_: str, *, adds: bool = False) -> Family:
    """A gauge without series yet."""
    return Family(name, "gauge", help_, adds)


def histogram(name: str, help_: str) -> Family:
    """A histogram without series yet."""
    return Family(name, "histogram", help_)


def from_metric(metric: Metric, *, gauges_add: bool) -> Family:
    """A family that a plugin made with prometheus_client."""
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    kind = metric.type if metric.type in ("counter", "gauge", "histogram", "summary") else "untyped"
    family = Family(name, kind, metric.documentation, gauges_add if kind == "gauge" else kind != "untyped")
    for sample in metric.samples:
        if not sample.name.endswith("_created"):
            family.samples.append((sample.name, _sorted(sample.labels), float(sample.value)))
    return family


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items(), key=lambda label: (label[0] == "le", label[0])))


def merge(snapshots: Iterable[Iterable[Family]]) -> Snapshot:
    """One family of each name, with each series once."""
    merged: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, Labels], float]] = {}
    for snapshot in snapshots:
        for family in snapshot:
            into = merged.setdefault(family.name, Family(family.name, family.kind, family.help, family.adds))
            series = values.setdefault(family.name, {})
            for name, labels, value in family.samples:
                known = series.get((name, labels))
                if known is not None:
                    value = known + value if into.adds else max(known, value)  # noqa: PLW2901  the value as merged
                series[name, labels] = value
    for name, family in merged.items():
        family.samples = [(sample, labels, value) for (sample, labels), value in values[name].items()]
    return list(merged.values())


def lasting(snapshot: Iterable[Family]) -> Snapshot:
    """What of a snapshot may not be forgotten when its source ends, because it must never go back."""
    return [family for family in snapshot if family.kind in ("counter", "histogram", "summary")]


def expose(snapshot: Iterable[Family]) -> bytes:
    """The text for a scrape, families and series in a stable order; a family without series is left out."""
    lines: list[str] = []
    for family in sorted(snapshot, key=lambda family: family.name):
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escape_help(family.help)}\n# TYPE {family.name} {family.kind}")
        for name, labels, value in sorted(family.samples, key=_without_bound):
            named = ",".join([f'{label}="{_escape(text)}"' for label, text in labels])
            lines.append(f"{name}{{{named}}} {number(value)}" if named else f"{name} {number(value)}")
    return "\n".join([*lines, ""]).encode()


def _without_bound(sample: Sample) -> Labels:
    """Sorts series, and leaves the buckets of one in their order."""
    labels = sample[1]
    return labels[:-1] if labels and labels[-1][0] == "le" else labels


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape(text: str) -> str:
    return _escape_help(text).replace('"', r"\"")


def number(value: float) -> str:
    """A value as Prometheus reads it: whole ones without a point, `+Inf`, `NaN`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
