"""Starts, pins, measures and ends processes.

Knows Linux: cores, sessions, CPU clocks and /proc. Must not know DNS.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

TERM_SECONDS = 3.0
"""How long a process may take to end before it is killed."""

LOG_LINES = 3
"""How much of a log a failure quotes."""


class BenchmarkError(Exception):
    """Something that makes a measurement impossible; the message says what, for the person who runs the suite."""


_AVAILABLE = sorted(os.sched_getaffinity(0))
SERVER_CORE: tuple[int, ...] = (_AVAILABLE[0],)
"""Where every server runs, alone."""
WORKER_CORES: tuple[int, ...] = tuple(_AVAILABLE[:-1]) or SERVER_CORE
"""Where a server with several workers runs: all that the load leaves, which is one of two cores."""
LOAD_CORE: tuple[int, ...] = (_AVAILABLE[-1],)
"""Where everything else runs: dnsperf, the upstream, this program. The same core if there is only one."""


def prepare_this_program() -> None:
    """Keep this program away from the server's core, and let it inherit processes whose parent ended before them."""
    os.sched_setaffinity(0, LOAD_CORE)
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Process:
    """A running process with its descendants: one session, pinned to cores, its output in a log.

    Leaving the context ends them all. They also end when this program dies without a chance to clean up.
    """

    def __init__(
        self, argv: Sequence[str], *, cores: Sequence[int], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start `argv`. Raises BenchmarkError if there is no such program."""
        self.program = argv[0]
        self.log = log
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", ",".join(map(str, cores)), *argv]
        try:
            with log.open("wb") as output:
                self._child = subprocess.Popen(
                    pinned,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, **(environment or {})},
                )
        except OSError as error:
            raise BenchmarkError(f"{argv[0]}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    @property
    def running(self) -> bool:
        """Whether the first process of the session still runs."""
        return self._child.poll() is None

    def last_words(self) -> str:
        """The end of the log, on one line."""
        lines = self.log.read_text(errors="replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-LOG_LINES:]) or "(it said nothing)"

    def wait(self, seconds: float) -> None:
        """Wait for the end. Raises BenchmarkError if it takes longer, or if the exit status is not 0."""
        try:
            status = self._child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"{self.program} did not end within {seconds:.0f} s") from error
        if status:
            raise BenchmarkError(f"exit status {status}: {self.last_words()}")

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        os.killpg(self._child.pid, signal.SIGINT)

    def end(self) -> None:
        """End every process of the session: politely, then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
            deadline = time.monotonic() + TERM_SECONDS
            while list(self._members()) and time.monotonic() < deadline:
                time.sleep(0.01)
        self._child.wait()
        self._reap_descendants()

    def cpu_seconds(self) -> float:
        """User and system time of all threads of all processes: utime + stime of proc(5), but not in ticks."""
        return sum(_cpu_seconds(member) for member in self._members())

    def memory_octets(self) -> int:
        """Resident octets; a page that forked processes share counts once."""
        first, *others = sorted(self._members(), key=lambda pid: pid != self._child.pid)
        return _smaps(first, "Rss") + sum(_smaps(pid, "Private_Clean") + _smaps(pid, "Private_Dirty") for pid in others)

    def peak_octets(self) -> int:
        """The most octets that one of the processes ever had resident, or what all have now if that is more."""
        peaks = [_field(Path(f"/proc/{pid}/status"), "VmHWM") for pid in self._members()]
        return max(*peaks, self.memory_octets())

    def _reap_descendants(self) -> None:
        """Collect what this program inherited, so that no zombie stays."""
        with suppress(ChildProcessError):
            while os.waitpid(-self._child.pid, os.WNOHANG)[0]:
                pass

    def _members(self) -> Iterator[int]:
        """Every process of the session that has not ended; a zombie has."""
        for pid in [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]:
            with suppress(ProcessLookupError, FileNotFoundError):
                if os.getsid(pid) == self._child.pid and _state(pid) != "Z":
                    yield pid


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _cpu_seconds(pid: int) -> float:
    clock = ctypes.c_int()
    error: int = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        return 0.0
    return time.clock_gettime(clock.value)


def _smaps(pid: int, name: str) -> int:
    return _field(Path(f"/proc/{pid}/smaps_rollup"), name)


def _field(path: Path, name: str) -> int:
    """A field of a /proc file that is given in kB, in octets."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError(f"{path} has no {name}")
