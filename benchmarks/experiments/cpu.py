"""CPU time per query: what a server spent, divided by the questions it answered. Must not know what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from benchmarks import dnsperf
from benchmarks.bench import Bench, Running
from benchmarks.dnsperf import Load, Report, StalledError
from benchmarks.figures import MICROSECONDS, RATE, Figure, interleave
from benchmarks.processes import BenchmarkError

ATTEMPTS = 5
"""How often a load is tried before a stall of dnsperf is taken for the server's fault."""


FAILURES = ("FORMERR", "SERVFAIL", "NOTIMP", "REFUSED")
"""RCODEs that answer nothing: cheap, so a report must not hide them."""


def cost(bench: Bench, running: Running, load: Load) -> tuple[float, Report]:
    """Microseconds of user and system time a query, and what dnsperf saw."""
    for _ in range(ATTEMPTS):
        with suppress(StalledError):
            before = running.process.cpu_seconds()
            report = dnsperf.ask(running.port, load, bench.directory)
            return (running.process.cpu_seconds() - before) / report.completed * 1e6, report
    raise BenchmarkError(f"{running.server.name}: dnsperf stalled {ATTEMPTS} times")


def compare(bench: Bench, experiment: str, case: str, fleet: Sequence[Running], loads: Sequence[Load]) -> list[Figure]:
    """Cost and rate of each server; there is a round for each load."""
    figures = []
    for running, results in interleave(fleet, len(loads), lambda running, number: cost(bench, running, loads[number])):
        name = running.server.name
        figures.append(Figure(experiment, case, name, MICROSECONDS, tuple(spent for spent, _ in results)))
        figures.append(Figure(experiment, case, name, RATE, tuple(report.rate for _, report in results)))
        if failed := sum(report.rcodes.get(rcode, 0) for _, report in results for rcode in FAILURES):
            bench.note(f"{name} failed to answer {failed} queries of {experiment} {case}")
        if lost := sum(report.lost for _, report in results):
            bench.note(
                f"{name} lost {lost} of {sum(report.sent for _, report in results)} queries of {experiment} {case}"
            )
    return figures
