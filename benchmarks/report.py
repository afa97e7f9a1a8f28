"""Shows a run: tables on standard output, everything as JSON. Knows figures and goals; must not measure."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench import Plan
from benchmarks.cluster import ENDPOINTS_PER_SERVICE, SERVICES
from benchmarks.dnsperf import CLIENTS, OUTSTANDING
from benchmarks.figures import MICROSECONDS, RATE, Figure, ratio
from benchmarks.goals import Outcome, find, outcomes
from benchmarks.servers import SERVERS
from benchmarks.servers import find as find_program

ENDPOINTS = SERVICES * ENDPOINTS_PER_SERVICE

TITLES = {
    "start": f"Start: {SERVICES:,} services, {ENDPOINTS:,} endpoints",
    "udp": "UDP, as fast as answers come",
    "tcp": f"TCP, {CLIENTS} connections, {OUTSTANDING // CLIENTS} questions in flight on each",
    "rates": "UDP at low rates",
    "slow": "Names that never repeat",
    "forward": "Forwarded to the same upstream",
    "workers": "Workers, on every core but that of the load",
    "flood": "A flood of random names",
    "freshness": "From an event of the API server to the new answer",
    "tail": "Latency at 10,000 q/s while the cluster changes",
}

COMPARED = ("Knot", "bare loop", "Unbound", "CoreDNS")
"""The servers that dnsd is divided by, if they were measured."""

VERSION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """All that one run has to show."""

    plan: Plan
    figures: Sequence[Figure]
    notes: Sequence[str]


def tables(run: Run) -> str:
    """The figures as text: a table an experiment, then the goals."""
    parts = [_table(name, [f for f in run.figures if f.experiment == name and f.unit != RATE]) for name in TITLES]
    parts += ["\n".join(["Goals", *map(_outcome, outcomes(run.figures))])] if any(outcomes(run.figures)) else []
    parts += ["\n".join(["Notes", *(f"  {note}" for note in run.notes)])] if run.notes else []
    return "\n\n".join(part for part in parts if part)


def write_json(run: Run, path: Path) -> None:
    """Everything, samples included, with the machine and the versions."""
    document = {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu(), "kernel": platform.release(), "load": os.getloadavg()},
        "versions": dict(_versions()),
        "plan": asdict(run.plan),
        "figures": [{**asdict(figure), "median": figure.median} for figure in run.figures],
        "goals": [{**asdict(o.goal), "value": o.value, "reached": o.reached} for o in outcomes(run.figures)],
        "notes": list(run.notes),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _table(experiment: str, figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    servers = list(dict.fromkeys(figure.server for figure in figures))
    against = [name for name in COMPARED if "dnsd" in servers and name in servers]
    rows = [["", *servers, "", *(f"÷ {name}" for name in against)]]
    for case, unit in dict.fromkeys((figure.case, figure.unit) for figure in figures):
        found = [find(figures, experiment, case, server, unit) for server in servers]
        own = find(figures, experiment, case, "dnsd", unit)
        # The bare loop holds no names: only its time is a yardstick.
        comparable = [name for name in against if unit == MICROSECONDS or name != "bare loop"]
        others = [find(figures, experiment, case, name, unit) if name in comparable else None for name in against]
        ratios = [f"{ratio(own, other):.2f}" if own and other else "" for other in others]
        rows.append([case, *(number(figure.median) if figure else "" for figure in found), unit, *ratios])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([TITLES[experiment], *(f"  {line.rstrip()}" for line in lines)])


def number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _outcome(outcome: Outcome) -> str:
    goal = outcome.goal
    unit = f"x {goal.against}" if goal.against else goal.unit
    mark = "reached" if outcome.reached else "MISSED "
    value = f"{outcome.value:.3f}" if goal.against else number(outcome.value)
    return f"  {mark}  {goal.experiment}, {goal.case}: {value} {unit} (at most {number(goal.at_most)})"


def _cpu() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    """The first line that each program prints about its version."""
    for server in SERVERS:
        program = find_program(server.program)
        if program is None or not server.version:
            continue
        with suppress(OSError, subprocess.SubprocessError):
            printed = subprocess.run(
                [program, server.version],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=VERSION_SECONDS,
                check=False,
            )
            yield server.name, printed.stdout.partition("\n")[0]
