"""What a forwarded query costs, from the cache and from the upstream, beside Unbound with the same upstream."""

from __future__ import annotations

from benchmarks import dnsperf, questions
from benchmarks.bench import Bench
from benchmarks.dnsperf import Load
from benchmarks.experiments.cpu import compare
from benchmarks.figures import Figure


def forward(bench: Bench) -> list[Figure]:
    """Cached: a thousand names over and over. Not cached: names below a wildcard, each asked once."""
    plan = bench.plan
    asked = questions.forwarded()
    fleet = [running for running in bench.fleet() if running.server.forwards]
    cached = Load(bench.questions("forwarded", asked), seconds=plan.seconds)
    for running in fleet:
        dnsperf.ask(running.port, Load(cached.questions), bench.directory)
    fleet = bench.right(fleet, asked)

    not_cached = [
        Load(
            bench.questions(
                f"forwarded once {number}", questions.forwarded_once(number * plan.new_names, plan.new_names)
            )
        )
        for number in range(plan.rounds)
    ]
    return [
        *compare(bench, "forward", "cached", fleet, [cached] * plan.rounds),
        *compare(bench, "forward", "not cached", fleet, not_cached),
    ]
