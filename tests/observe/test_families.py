"""Families as values: their text, how they add up, and how they travel."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    UnknownMetricFamily,
)

from dnsd.observe.families import (
    Family,
    Labels,
    Snapshot,
    counter,
    expose,
    from_metric,
    gauge,
    histogram,
    lasting,
    merge,
    number,
)
from dnsd.resolve.histogram import Histogram
from tests.observe.web import series

texts = st.text(max_size=20)
counts = st.integers(min_value=0, max_value=2**40)


@st.composite
def snapshots(draw: st.DrawFn) -> list[Family]:
    families = []
    for name in draw(st.lists(st.sampled_from(["a_total", "b_total", "c_total"]), unique=True)):
        family = counter(name, "help")
        for label in draw(st.lists(texts, unique=True, max_size=3)):
            family.add(draw(counts), label=label)
        families.append(family)
    depth = gauge("depth", "help")
    depth.add(draw(counts))
    return [*families, depth]


def as_dict(snapshot: list[Family]) -> dict[tuple[str, Labels], float]:
    return {(name, labels): value for family in snapshot for name, labels, value in family.samples}


@given(snapshots())
def test_what_is_exposed_is_what_a_prometheus_client_reads(snapshot: list[Family]) -> None:
    read = series(expose(snapshot).decode())
    assert read == {(name, frozenset(labels)): value for (name, labels), value in as_dict(snapshot).items()}


@given(snapshots())
def test_a_snapshot_survives_the_way_to_another_process(snapshot: list[Family]) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot) == snapshot


@given(st.lists(snapshots(), max_size=4))
def test_counters_add_up_and_gauges_give_the_greatest_whatever_the_order(parts: list[list[Family]]) -> None:
    merged = as_dict(merge(parts))
    assert merged == as_dict(merge(reversed(parts)))
    for (name, labels), value in merged.items():
        found = [part[name, labels] for part in map(as_dict, parts) if (name, labels) in part]
        assert value == (max(found) if name == "depth" else sum(found))


def test_merging_leaves_what_was_merged_as_it_was() -> None:
    one, other = counter("a_total", ""), counter("a_total", "")
    one.add(1)
    other.add(2)
    merge([[one], [other]])
    assert (one.samples, other.samples) == ([("a_total", (), 1)], [("a_total", (), 2)])


def test_a_gauge_that_counts_things_of_processes_adds_up() -> None:
    parts = []
    for entries in (3, 4):
        family = gauge("entries", "", adds=True)
        family.add(entries)
        parts.append([family])
    assert as_dict(merge(parts)) == {("entries", ()): 7}


def test_a_histogram_has_cumulative_buckets_their_sum_and_their_count() -> None:
    seconds = Histogram((0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        seconds.add(value)
    family = histogram("seconds", "How long.")
    family.observe(seconds, zone=".")
    assert expose([family]).decode() == (
        "# HELP seconds How long.\n"
        "# TYPE seconds histogram\n"
        'seconds_bucket{zone=".",le="0.1"} 2\n'
        'seconds_bucket{zone=".",le="1"} 3\n'
        'seconds_bucket{zone=".",le="+Inf"} 4\n'
        'seconds_sum{zone="."} 7.65\n'
        'seconds_count{zone="."} 4\n'
    )


def test_what_may_never_go_back_is_what_lasts() -> None:
    kinds = [counter("a_total", ""), gauge("b", ""), histogram("c", ""), Family("d", "untyped", "")]
    assert [family.name for family in lasting(kinds)] == ["a_total", "c"]


def test_a_family_without_series_is_not_exposed() -> None:
    assert expose([counter("a_total", "")]) == b""


def test_help_and_labels_are_escaped() -> None:
    family = counter("a_total", "one\\two\nthree")
    family.add(1, label='a\\b"c\nd')
    assert expose([family]).decode() == (
        '# HELP a_total one\\\\two\\nthree\n# TYPE a_total counter\na_total{label="a\\\\b\\"c\\nd"} 1\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (16.0, "16"),
        (0.00025, "0.00025"),
        (524.288, "524.288"),
        (1e15, "1000000000000000.0"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_a_number_is_written_as_prometheus_reads_it(value: float, text: str) -> None:
    assert number(value) == text


def test_families_of_plugins_keep_names_and_labels_and_lose_the_moment_of_their_making() -> None:
    hits = CounterMetricFamily("hits", "Hits.", labels=["zone"], created=1.0)
    hits.add_metric(["."], 2)
    size = GaugeMetricFamily("size", "Size.", value=3)
    seconds = HistogramMetricFamily("seconds", "Seconds.", buckets=[("1", 1), ("+Inf", 2)], sum_value=4)
    other = UnknownMetricFamily("other", "Other.", value=5)
    found = [from_metric(metric, gauges_add=False) for metric in (hits, size, seconds, other)]
    assert [(family.name, family.kind, family.adds) for family in found] == [
        ("hits_total", "counter", True),
        ("size", "gauge", False),
        ("seconds", "histogram", True),
        ("other", "untyped", False),
    ]
    assert as_dict(found) == {
        ("hits_total", (("zone", "."),)): 2,
        ("size", ()): 3,
        ("seconds_bucket", (("le", "1"),)): 1,
        ("seconds_bucket", (("le", "+Inf"),)): 2,
        ("seconds_count", ()): 2,
        ("seconds_sum", ()): 4,
        ("other", ()): 5,
    }
