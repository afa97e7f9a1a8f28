"""The metrics that dnsd has, from data/metrics.yaml, and what an expression says that does not fit them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.manifests.promql import usage

DATA = Path(__file__).parent / "data"

TARGET_LABELS = frozenset({"job", "instance", "namespace", "pod", "service", "endpoint", "container"})
"""What Prometheus adds when it scrapes."""
SUFFIXES = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Metric:
    type: str
    labels: frozenset[str]


def known() -> dict[str, Metric]:
    """Every metric by its name on the TYPE line, and `up`, which Prometheus makes."""
    table = yaml.safe_load((DATA / "metrics.yaml").read_text(encoding="utf-8"))
    metrics = {name: Metric(row["type"], frozenset(row["labels"])) for name, row in table.items()}
    return metrics | {"up": Metric("gauge", frozenset())}


def exposed(text: str) -> dict[str, Metric]:
    """The metrics in a text exposition."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in types}
    for series, pairs in re.findall(r"^([a-z_0-9]+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        labels[_family(series, types)].update(re.findall(r'(\w+)="', pairs))
    return {name: Metric(kind, frozenset(labels[name] - {"le"})) for name, kind in types.items()}


def _family(series: str, types: dict[str, str]) -> str:
    if series in types:
        return series
    (name,) = (series.removesuffix(suffix) for suffix in SUFFIXES if series.removesuffix(suffix) in types)
    return name


def misfits(expression: str) -> list[str]:
    """What an expression asks for that dnsd does not have; empty where everything fits."""
    return list(_misfits(expression, known()))


def _misfits(expression: str, metrics: dict[str, Metric]) -> Iterator[str]:
    used = usage(expression)
    if not used.matched:
        yield "no metric"
    labels_of_all: frozenset[str] = frozenset()
    for name, matchers in used.matched:
        found = _find(name, metrics)
        if found is None:
            yield f"no metric {name}"
            continue
        metric, labels = found
        labels_of_all |= labels
        if unknown := matchers - labels - TARGET_LABELS:
            yield f"{name} has no label {', '.join(sorted(unknown))}"
        if metric.type in {"counter", "histogram"} and not re.search(rf"(rate|increase)\(\s*{name}\b", expression):
            yield f"{name} counts from the start of a process: ask for its rate or increase"
    if missing := used.grouped - labels_of_all - TARGET_LABELS:
        yield f"nothing has the label {', '.join(sorted(missing))}"


def _find(name: str, metrics: dict[str, Metric]) -> tuple[Metric, frozenset[str]] | None:
    """The metric behind the name of a series, and the labels of that series."""
    metric = metrics.get(name)
    if metric is not None:
        return (metric, metric.labels) if metric.type != "histogram" else None
    for suffix in SUFFIXES:
        metric = metrics.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if metric is not None and metric.type == "histogram":
            return metric, metric.labels | (frozenset({"le"}) if suffix == "_bucket" else frozenset())
    return None
