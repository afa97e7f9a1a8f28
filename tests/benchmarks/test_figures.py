"""Rounds, ratios, percentiles and goals; and what the tables and the chart make of them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import chart, goals, report
from benchmarks.bench import QUICK
from benchmarks.figures import MICROSECONDS, RATE, Figure, interleave, percentile, ratio
from benchmarks.goals import Goal


def _figure(server: str, *samples: float, case: str = "hot names", unit: str = MICROSECONDS) -> Figure:
    return Figure("udp", case, server, unit, samples)


DNSD = _figure("dnsd", 3.0, 6.0, 3.0)
KNOT = _figure("Knot", 2.0, 4.0, 4.0)


def test_rounds_interleave_the_servers() -> None:
    order: list[str] = []

    def measure(subject: str, number: int) -> int:
        order.append(f"{subject}{number}")
        return number

    assert interleave("AB", 3, measure) == [("A", [0, 1, 2]), ("B", [0, 1, 2])]
    assert order == ["A0", "B0", "A1", "B1", "A2", "B2"]


def test_a_ratio_compares_within_rounds() -> None:
    assert ratio(DNSD, KNOT) == 1.5  # of 1.5, 1.5 and 0.75; the ratio of the medians would be 0.75


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_a_sample_that_enough_samples_do_not_exceed(samples: list[float], percent: float) -> None:
    value = percentile(samples, percent)
    assert value in samples
    assert sum(sample <= value for sample in samples) >= len(samples) * percent / 100
    assert sum(sample < value for sample in samples) <= len(samples) * percent / 100


@pytest.mark.parametrize(
    ("goal", "outcome"),
    [
        (Goal("udp", "hot names", MICROSECONDS, 1.5, "Knot"), (1.5, True)),
        (Goal("udp", "hot names", MICROSECONDS, 1.4, "Knot"), (1.5, False)),
        (Goal("udp", "hot names", MICROSECONDS, 3.0), (3.0, True)),
        (Goal("udp", "hot names", MICROSECONDS, 1.0, "NSD"), None),
        (Goal("udp", "mix", MICROSECONDS, 1.0), None),
    ],
)
def test_a_goal_is_judged_if_its_figures_were_measured(goal: Goal, outcome: tuple[float, bool] | None) -> None:
    found = [(result.value, result.reached) for result in goals.outcomes([DNSD, KNOT], [goal])]
    assert found == ([outcome] if outcome else [])


def test_tables_show_medians_ratios_goals_and_notes() -> None:
    text = report.tables(report.Run(QUICK, [DNSD, KNOT, _figure("dnsd", 9.9e5, unit=RATE)], ["NSD left out: why"]))
    rows = [line.split() for line in text.splitlines()]
    assert ["dnsd", "Knot", "÷", "Knot"] in rows
    assert ["hot", "names", "3.00", "4.00", "µs/query", "1.50"] in rows
    assert "MISSED   udp, hot names: 1.500 x Knot (at most 1.10)" in text
    assert "NSD left out: why" in text


def test_json_has_every_sample(tmp_path: Path) -> None:
    report.write_json(report.Run(QUICK, [DNSD, KNOT], []), tmp_path / "out" / "run.json")
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [(figure["server"], figure["samples"]) for figure in document["figures"]] == [
        ("dnsd", [3.0, 6.0, 3.0]),
        ("Knot", [2.0, 4.0, 4.0]),
    ]


def test_the_chart_has_a_bar_a_server_as_long_as_its_figure() -> None:
    drawn = ET.fromstring(chart.draw([DNSD, KNOT, _figure("Knot", 1.0, case="not in any panel")]))  # noqa: S314 - ours
    _page, *bars = drawn.findall("{http://www.w3.org/2000/svg}rect")
    assert [bar.get("class") for bar in bars] == ["own", "bar"]
    own, other = (float(bar.get("width", "0")) for bar in bars)
    assert own / other == pytest.approx(3.0 / 4.0)
    assert {"dnsd", "3.00", "Knot", "4.00"} <= {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
