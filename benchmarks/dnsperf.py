"""Asks with dnsperf and reads its report.

Knows dnsperf's options and output. Must not know what is asked or which server answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks.processes import LOAD_CORE, BenchmarkError, Process

CLIENTS = 20
"""Sockets, or TCP connections, that ask at once."""

OUTSTANDING = 100
"""Questions in flight: enough to keep a server busy; 200 overflow its receive buffer now and then."""

TIMEOUT_SECONDS = 2
"""When a question counts as lost. It must end a run soon, since dnsperf waits for the last answers."""

_COUNT = re.compile(r"Queries (sent|completed|lost):\s+(\d+)")
_RCODE = re.compile(r"([A-Z]+) (\d+) \([\d.]+%\)")
_LATENCY = re.compile(r"Average Latency \(s\):\s+([\d.]+)")
_RUN_TIME = re.compile(r"Run time \(s\):\s+([\d.]+)")
_ANSWERED = re.compile(r"^> [A-Z]+ \S+ \S+ (\d+\.\d+)$", re.MULTILINE)


class StalledError(BenchmarkError):
    """Dnsperf stopped asking by itself, as version 2.10 does over TCP in one run of ten; nothing was measured."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of dnsperf saw. Times in seconds."""

    sent: int
    completed: int
    lost: int
    seconds: float
    latency: float
    rcodes: dict[str, int] = field(default_factory=dict)
    latencies: tuple[float, ...] = ()
    """One a question, if the run was asked for them."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.completed / self.seconds

    @property
    def in_flight(self) -> float:
        """How many questions waited for an answer on average (Little's law)."""
        return self.rate * self.latency


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask and how: as fast as answers come unless `rate` (questions a second) is given."""

    questions: Path
    seconds: float | None = None
    """How long to ask, starting over at the end of the file; None: through the file once."""
    rate: int | None = None
    tcp: bool = False
    latencies: bool = False


class Run:
    """A running dnsperf; leaving the context ends it."""

    def __init__(self, port: int, load: Load, directory: Path, limit: float = 600.0) -> None:
        """Start asking 127.0.0.1:port; `limit` is the most seconds that a run through the file may take."""
        self._limit = limit
        log = directory / f"dnsperf-{port}.log"
        self._process = Process(_arguments(port, load, limit), cores=LOAD_CORE, log=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    def report(self) -> Report:
        """Wait for the end and read the report. Raises BenchmarkError if nothing was answered."""
        self._process.wait(self._limit + 10)
        report = parse(self._process.log.read_text())
        if not report.completed:
            raise BenchmarkError(f"no answers ({report.sent} questions sent)")
        return report

    def stop(self) -> Report:
        """Stop asking, and read the report as `report` does."""
        self._process.interrupt()
        return self.report()


def ask(port: int, load: Load, directory: Path) -> Report:
    """Run dnsperf to its end. Raises StalledError, or BenchmarkError if nothing was answered."""
    with Run(port, load, directory) as run:
        report = run.report()
    if load.tcp and load.rate is None and report.in_flight < 1:
        raise StalledError(f"dnsperf sent {report.sent} questions in {report.seconds} s and waited for no answer")
    return report


def parse(text: str) -> Report:
    """Read dnsperf's output. Raises BenchmarkError if it has no statistics."""
    counts = {name: int(number) for name, number in _COUNT.findall(text)}
    run_time = _RUN_TIME.search(text)
    latency = _LATENCY.search(text)
    if counts.keys() != {"sent", "completed", "lost"} or run_time is None:
        raise BenchmarkError(f"dnsperf printed no statistics: {text[-200:]!r}")
    _, _, rcodes = text.partition("Response codes:")
    rcodes, _, _ = rcodes.partition("\n")
    return Report(
        sent=counts["sent"],
        completed=counts["completed"],
        lost=counts["lost"],
        seconds=float(run_time[1]),
        latency=float(latency[1]) if latency else 0.0,
        rcodes={name: int(number) for name, number in _RCODE.findall(rcodes)},
        latencies=tuple(map(float, _ANSWERED.findall(text))),
    )


def _arguments(port: int, load: Load, limit: float) -> list[str]:
    arguments = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(load.questions), "-t", str(TIMEOUT_SECONDS)]
    arguments += ["-c", str(CLIENTS), "-q", str(OUTSTANDING)]
    arguments += ["-n", "1", "-l", str(limit)] if load.seconds is None else ["-l", str(load.seconds)]
    if load.rate is not None:
        arguments += ["-Q", str(load.rate)]
    if load.tcp:
        arguments += ["-m", "tcp"]
    if load.latencies:
        arguments += ["-v"]
    return arguments
