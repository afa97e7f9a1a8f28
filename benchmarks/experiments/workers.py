"""What a second worker costs: CPU time per query of `--workers 2` beside one worker, on the same cores."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from benchmarks import dnsperf, questions
from benchmarks.bench import Bench
from benchmarks.dnsperf import Load
from benchmarks.experiments.cpu import compare
from benchmarks.figures import MEGABYTES, Figure
from benchmarks.processes import WORKER_CORES
from benchmarks.servers import DNSD, dnsd


def workers(bench: Bench) -> list[Figure]:
    """Hot names over UDP, and the memory of each."""
    if DNSD not in bench.servers:
        return []
    asked = questions.hot(bench.cluster)
    load = Load(bench.questions("workers", asked), seconds=bench.plan.seconds)
    with ExitStack() as stack:
        fleet = [
            stack.enter_context(
                bench.launch(replace(DNSD, name=f"dnsd, {name}", configure=dnsd(workers=count)), cores=WORKER_CORES)
            )
            for name, count in (("one worker", 1), ("two workers", 2))
        ]
        for running in fleet:
            # More than once through the file: each worker has to see each question.
            dnsperf.ask(running.port, load, bench.directory)
        figures = compare(bench, "workers", "hot names", bench.right(fleet, asked), [load] * bench.plan.rounds)
        for running in fleet:
            memory = running.process.memory_octets() / 1e6
            figures.append(Figure("workers", "memory after", running.server.name, MEGABYTES, (memory,)))
    return figures
