"""From the start of the process to the first right answer, and the memory that this takes."""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.figures import MEGABYTES, SECONDS, Figure, interleave
from benchmarks.processes import BenchmarkError
from benchmarks.servers import Server

SETTLE_SECONDS = 0.5
"""How long a server is left alone before its memory is read: some give back what loading took."""


def start(bench: Bench) -> list[Figure]:
    """Read the cluster and answer.

    It comes from one JSON file for dnsd, from the API server for CoreDNS, and from zone files for the others.
    """

    def measure(server: Server, _round: int) -> tuple[float, float, float] | None:
        if server not in bench.servers:
            return None
        try:
            with bench.launch(server) as running:
                time.sleep(SETTLE_SECONDS)
                process = running.process
                return running.start_seconds, process.memory_octets() / 1e6, process.peak_octets() / 1e6
        except BenchmarkError as error:
            bench.drop(server, str(error))
            return None

    candidates = [server for server in bench.servers if server.answers]
    figures = []
    for server, results in interleave(candidates, bench.plan.slow_rounds, measure):
        taken = [result for result in results if result is not None]
        if len(taken) < len(results):
            continue
        columns = zip(
            ("first answer", "memory", "peak memory"),
            (SECONDS, MEGABYTES, MEGABYTES),
            zip(*taken, strict=True),
            strict=True,
        )
        figures += [Figure("start", case, server.name, unit, samples) for case, unit, samples in columns]
    return figures
