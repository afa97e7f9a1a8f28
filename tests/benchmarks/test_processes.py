"""Processes that the benchmarks start: measured with their children, and gone at the end."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.processes import LOAD_CORE, BenchmarkError, Process

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("setpriv", "taskset"))), reason="needs setpriv and taskset (util-linux)"
)

BURNED = 0.2
BURN = f"import time\nwhile time.process_time() < {BURNED}: pass\nprint('burned', flush=True)\ntime.sleep(600)"
BURN_IN_TWO = f"import os\nos.fork()\n{BURN}"


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _started(log: Path, *argv: str) -> Process:
    return Process(argv, cores=LOAD_CORE, log=log)


@pytest.mark.parametrize(("program", "processes"), [(BURN, 1), (BURN_IN_TWO, 2)])
def test_cpu_time_counts_every_process_of_the_session(tmp_path: Path, program: str, processes: int) -> None:
    with _started(tmp_path / "log", sys.executable, "-c", program) as process:
        _wait_for(lambda: (tmp_path / "log").read_text().count("burned") == processes)
        assert process.cpu_seconds() >= BURNED * processes
        assert process.peak_octets() >= process.memory_octets() > 1_000_000


def test_pages_that_a_fork_shares_count_once(tmp_path: Path) -> None:
    program = "import os, time\nheld = b'x' * 50_000_000\nos.fork()\nprint('ready', flush=True)\ntime.sleep(600)"
    with _started(tmp_path / "log", sys.executable, "-c", program) as process:
        _wait_for(lambda: (tmp_path / "log").read_text().count("ready") == 2)
        assert 50_000_000 < process.memory_octets() < 100_000_000


@pytest.mark.parametrize(
    "program",
    [
        "sleep 600 & echo $! ; sleep 600",
        "trap '' TERM; sleep 600 & echo $! ; while true; do sleep 1; done",
        "sleep 600 & echo $!",
    ],
    ids=["ends when asked", "ignores SIGTERM", "ends before its child"],
)
def test_nothing_is_left_of_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr("benchmarks.processes.TERM_SECONDS", 0.3)
    with _started(tmp_path / "log", "sh", "-c", program):
        _wait_for(lambda: (tmp_path / "log").read_text().endswith("\n"))
        child = int((tmp_path / "log").read_text())
        os.kill(child, 0)
    # Collected by this process or by init: not running in any case.
    _wait_for(lambda: not Path(f"/proc/{child}").exists() or ") Z " in Path(f"/proc/{child}/stat").read_text())


def test_a_failure_quotes_the_end_of_the_log(tmp_path: Path) -> None:
    with (
        _started(tmp_path / "log", "sh", "-c", "echo one; echo two; echo three; echo four; exit 3") as process,
        pytest.raises(BenchmarkError, match=r"exit status 3: two \| three \| four$"),
    ):
        process.wait(60)


def test_a_program_that_does_not_end_in_time_is_an_error(tmp_path: Path) -> None:
    with (
        _started(tmp_path / "log", "sleep", "600") as process,
        pytest.raises(BenchmarkError, match="sleep did not end"),
    ):
        process.wait(0.05)
