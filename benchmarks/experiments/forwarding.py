"""What a forwarded query costs, answered from the cache and fetched from the upstream, beside Unbound with the same upstream."""

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
    fleet = bench.right([running for running in bench.fleet() if running.server.forwards], asked)
    cached = Load(bench.questions("forwarded", asked), seconds=plan.seconds)
    for running in fleet:
        dnsperf.ask(running.port, Load(cached.questions), bench.directory)

    def not_cached(number: int) -> Load:
        once = questions.forwarded_once(number * plan.new_names, plan.new_names)
        return Load(bench.questions(f"forwarded once {number}", once))

    return [
        *compare(bench, "forward", "cached", fleet, lambda _: cached, plan.rounds),
        *compare(bench, "forward", "not cached", fleet, not_cached, plan.rounds),
    ]
