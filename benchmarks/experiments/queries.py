"""What a query about the cluster costs: over UDP and TCP at full speed, and over UDP at low rates."""

from __future__ import annotations

from pathlib import Path

from benchmarks import dnsperf, questions
from benchmarks.bench import Bench, Running
from benchmarks.dnsperf import Load
from benchmarks.experiments.cpu import compare, cost
from benchmarks.figures import MEGABYTES, Figure
from benchmarks.questions import Question

LOW_RATES = (1_000, 10_000)
"""Questions a second: what one replica of a small and of a large cluster sees."""


def udp(bench: Bench) -> list[Figure]:
    """Hot names, all names and a realistic mix; then the memory that this left each server with."""
    figures = []
    cases = {
        "hot names": questions.hot(bench.cluster),
        "all names": questions.every(bench.cluster),
        "mix": questions.mix(bench.cluster),
    }
    for case, asked in cases.items():
        load = Load(bench.questions(case, asked), seconds=bench.plan.seconds)
        fleet = _ready(bench, asked, load.questions)
        figures += compare(bench, "udp", case, fleet, [load] * bench.plan.rounds)
    for running in bench.fleet():
        memory = running.process.memory_octets() / 1e6
        figures.append(Figure("udp", "memory after", running.server.name, MEGABYTES, (memory,)))
    return figures


def tcp(bench: Bench) -> list[Figure]:
    """Hot names over connections that carry several questions at a time."""
    asked = questions.hot(bench.cluster)
    load = Load(bench.questions("tcp", asked), seconds=bench.plan.seconds, tcp=True)
    fleet = bench.right([running for running in bench.fleet() if running.server.tcp], asked)
    for running in fleet:
        cost(bench, running, load)
    return compare(bench, "tcp", "pipelined", fleet, [load] * bench.plan.rounds)


def rates(bench: Bench) -> list[Figure]:
    """Hot names at low rates, where waking up is most of the cost."""
    asked = questions.hot(bench.cluster)
    path = bench.questions("rates", asked)
    fleet = _ready(bench, asked, path)
    figures = []
    for rate in LOW_RATES:
        load = Load(path, seconds=bench.plan.slow_seconds, rate=rate)
        figures += compare(bench, "rates", f"{rate:,} q/s", fleet, [load] * bench.plan.slow_rounds)
    return figures


def _ready(bench: Bench, asked: list[Question], path: Path) -> list[Running]:
    """The servers that answer rightly once they have been asked everything: what is checked is what is measured."""
    for running in bench.fleet():
        dnsperf.ask(running.port, Load(path), bench.directory)
    return bench.right(bench.fleet(), asked)
