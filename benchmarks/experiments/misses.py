"""What a query costs that no ready answer exists for, and what a flood of such queries leaves behind."""

from __future__ import annotations

from benchmarks import dnsperf, questions
from benchmarks.bench import Bench, Running
from benchmarks.dnsperf import Load
from benchmarks.experiments.cpu import compare, cost
from benchmarks.figures import MEGABYTES, MICROSECONDS, Figure
from benchmarks.processes import BenchmarkError
from benchmarks.servers import COREDNS, DNSD, KNOT

FLOODED = (DNSD, KNOT, COREDNS)
"""Knot keeps no answers: it shows what the questions alone do."""


def slow(bench: Bench) -> list[Figure]:
    """Names that never repeat: services that do not exist, endpoint names and addresses."""
    plan, cluster = bench.plan, bench.cluster
    # The names before those of the first round are for the check, so that no round asks what was asked.
    checked = list(questions.never_repeating(cluster, 0, plan.new_names))
    fleet = bench.right(bench.fleet(), checked)

    loads = []
    for number in range(1, plan.rounds + 1):
        fresh = questions.never_repeating(cluster, number * plan.new_names, plan.new_names)
        loads.append(Load(bench.questions(f"never repeating {number}", fresh)))
    return compare(bench, "slow", "never repeating", fleet, loads)


def flood(bench: Bench) -> list[Figure]:
    """Random names, each asked once: memory and the cost of hot names before and after."""
    asked = questions.hot(bench.cluster)
    hot = Load(bench.questions("hot names", asked), seconds=bench.plan.seconds)
    names = Load(bench.questions("flood", questions.random_names(bench.cluster, bench.plan.flood)))
    figures = []
    for server in [server for server in FLOODED if server in bench.servers]:
        try:
            with bench.launch(server) as running:
                dnsperf.ask(running.port, Load(hot.questions), bench.directory)
                figures += _state(bench, running, hot, "before")
                spent, _ = cost(bench, running, names)
                figures.append(Figure("flood", "random names", server.name, MICROSECONDS, (spent,)))
                figures += _state(bench, running, hot, "after")
        except BenchmarkError as error:
            bench.drop(server, str(error))
    return figures


def _state(bench: Bench, running: Running, hot: Load, when: str) -> list[Figure]:
    name = running.server.name
    spent = tuple(cost(bench, running, hot)[0] for _ in range(bench.plan.slow_rounds))
    memory = running.process.memory_octets() / 1e6
    return [
        Figure("flood", f"hot names {when}", name, MICROSECONDS, spent),
        Figure("flood", f"memory {when}", name, MEGABYTES, (memory,)),
    ]
