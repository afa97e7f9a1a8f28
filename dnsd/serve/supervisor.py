"""Worker processes: forked from one supervisor, fed by it, replaced when they die. Knows no DNS.

The supervisor holds everything that workers need - configuration, indexes, bound sockets - and forks, so that workers
share its memory and a new one is ready in milliseconds. It forks outside of its event loop; what happened before the
fork a worker has, what happens afterwards comes over its channel, in order and without a gap.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger("dnsd")

MAX_FEED_OCTETS = 32 * 1024 * 1024
"""Octets that may wait for a worker to read them: minutes of changes. One that is so far behind is replaced."""
MAX_MESSAGE = 256 * 1024 * 1024
"""Octets of one message on a channel; only a broken channel says more."""
RESTART_SECONDS = 1.0
"""Between the births of a worker that keeps dying."""
ANSWER_SECONDS = 2.0
"""That a worker may take to answer its supervisor."""
_LENGTH = struct.Struct("!I")

T = TypeVar("T")
Work = Callable[[int, socket.socket], int]
"""What a worker does, in its own process, given its number and its end of the channel; its exit status."""


def pack(message: bytes) -> bytes:
    """A message as it goes over a channel."""
    return _LENGTH.pack(len(message)) + message


async def receive(reader: asyncio.StreamReader) -> bytes | None:
    """The next message from a channel; None at its end."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_MESSAGE:
            return None
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


@dataclass(slots=True, eq=False)
class Worker:
    """A worker as its supervisor sees it."""

    number: int
    pid: int
    channel: socket.socket
    born: float
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    draining: bool = False
    replaced: bool = False
    """Whether it has an heir, or is about to: it gets no other one if it dies."""
    listening: asyncio.Task[None] | None = None
    answers: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(1))
    last_answer: bytes = b""
    """The newest answer to `ask`, kept for when the worker is gone."""


class Supervisor:
    """Keeps `count` workers alive.

    Args:
        count: how many.
        work: what each does.
        keep: file descriptors that worker `number` needs besides its channel and standard streams.
    """

    def __init__(self, count: int, work: Work, keep: Callable[[int], Iterable[int]]) -> None:
        self.count = count
        self.restarts = 0
        """Workers that died and were replaced."""
        self.on_gone: Callable[[bytes], None] = lambda _: None
        """Told the last answer of each worker that is gone."""
        self._work = work
        self._keep = keep
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []
        """Those that ended, until their last answer was handed over."""
        self._births: list[tuple[int, asyncio.Future[None]]] = []
        self._missed: dict[int, list[bytes]] = {}
        """By process id, what was broadcast since a worker was forked and before its channel can be written to."""
        self._loop = asyncio.new_event_loop()
        self._stopping = False
        self._nobody = asyncio.Event()
        """Set while there is no worker."""
        self._rolling = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main`, and fork whenever it asks for workers."""
        asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(main)
        task.add_done_callback(lambda _: self._loop.stop())
        try:
            while not task.done():
                self._loop.run_forever()
                while self._births and not task.done():
                    self._fork(*self._births.pop(0))
            return task.result()
        finally:
            for worker in self._workers:
                worker.writer.close()
            left = asyncio.all_tasks(self._loop)
            for other in left:
                other.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            asyncio.set_event_loop(None)
            self._loop.close()

    async def start(self) -> None:
        """Fork every worker."""
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in range(self.count):
            await self._bear(number)

    async def roll(self) -> None:
        """Replace every worker by a new one, as the supervisor is now; an old one drains once its heir serves."""
        async with self._rolling:
            for worker in self._serving:
                if self._stopping or worker not in self._workers:
                    continue  # it died meanwhile: who takes its place is as the supervisor is now
                worker.replaced = True
                await self._bear(worker.number)
                self._drain(worker)

    async def stop(self, seconds: float) -> None:
        """Let every worker drain, and end those that take longer than `seconds`."""
        self._stopping = True
        for worker in self._workers:
            self._drain(worker)
        try:
            async with asyncio.timeout(seconds):
                await self._nobody.wait()
        except TimeoutError:
            for worker in self._workers:
                os.kill(worker.pid, signal.SIGKILL)
            await self._nobody.wait()

    def broadcast(self, message: bytes) -> None:
        """Send a message to every worker."""
        data = pack(message)
        for missed in self._missed.values():
            missed.append(data)
        for worker in self._serving:
            worker.writer.write(data)
            if worker.writer.transport.get_write_buffer_size() > MAX_FEED_OCTETS:
                log.error("worker %d does not keep up; it is replaced", worker.number)
                os.kill(worker.pid, signal.SIGKILL)

    async def ask(self, message: bytes) -> list[bytes]:
        """One answer from each worker; the last known one where it does not answer in time, or is about to end."""
        data = pack(message)
        asked = self._serving
        for worker in asked:
            while not worker.answers.empty():
                worker.answers.get_nowait()
            worker.writer.write(data)
        await asyncio.gather(*(self._answer(worker) for worker in asked))
        return [worker.last_answer for worker in (*self._workers, *self._leaving) if worker.last_answer]

    async def _answer(self, worker: Worker) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                worker.last_answer = await worker.answers.get()
        except TimeoutError:
            log.warning("worker %d does not answer", worker.number)

    @property
    def _serving(self) -> list[Worker]:
        return [worker for worker in self._workers if not worker.draining]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def _drain(self, worker: Worker) -> None:
        """The end of the channel is what tells a worker to finish."""
        worker.draining = True
        if worker.writer.can_write_eof():
            worker.writer.write_eof()

    async def _bear(self, number: int) -> None:
        born: asyncio.Future[None] = self._loop.create_future()
        self._births.append((number, born))
        self._loop.stop()
        await born

    def _fork(self, number: int, born: asyncio.Future[None]) -> None:
        """Fork one worker; the loop does not run."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _leave_supervisor({theirs.fileno(), *self._keep(number)})
                status = self._work(number, theirs)
            except BaseException:
                log.exception("worker %d failed", number)
            finally:
                sys.stdout.flush()
                os._exit(status)
        theirs.close()
        self._missed[pid] = []
        task = self._loop.create_task(self._adopt(number, pid, ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: born.set_result(None) if not born.done() else None)

    async def _adopt(self, number: int, pid: int, channel: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        writer.writelines(self._missed.pop(pid))
        worker = Worker(number, pid, channel, time.monotonic(), reader, writer)
        self._workers.append(worker)
        self._nobody.clear()
        await receive(reader)  # it says that it serves, or it died
        worker.listening = self._loop.create_task(self._listen(worker))
        if self._stopping:
            self._drain(worker)
        self._reap()

    async def _listen(self, worker: Worker) -> None:
        while (message := await receive(worker.reader)) is not None:
            worker.last_answer = message
            if worker.answers.empty():
                worker.answers.put_nowait(message)

    def _reap(self) -> None:
        for worker in list(self._workers):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            self._workers.remove(worker)
            self._leaving.append(worker)
            if not self._workers:
                self._nobody.set()
            task = self._loop.create_task(self._bury(worker, os.waitstatus_to_exitcode(status)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _bury(self, worker: Worker, status: int) -> None:
        if worker.listening is not None:
            await worker.listening
        worker.writer.close()
        if worker.last_answer:
            self.on_gone(worker.last_answer)
        self._leaving.remove(worker)
        if self._stopping or worker.replaced:
            return
        self.restarts += 1
        log.error("worker %d died (%d); it is replaced", worker.number, status)
        if time.monotonic() - worker.born < RESTART_SECONDS:
            await asyncio.sleep(RESTART_SECONDS)
        await self._bear(worker.number)


def _leave_supervisor(keep: set[int]) -> None:
    """Let go of what was the supervisor's: signals, and every file descriptor that is not to be kept.

    Objects behind those descriptors stay frozen, for one that is finalised would close somebody else's.
    """
    gc.freeze()
    asyncio.events._set_running_loop(None)  # noqa: SLF001  the loop is the parent's; asyncio offers no other way
    asyncio.set_event_loop(None)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what a terminal sends reaches the whole group; the supervisor decides
    signal.set_wakeup_fd(-1)
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue


def cpu_quota(root: str = "/sys/fs/cgroup") -> int:
    """Whole CPUs that this process may use: the cgroup's quota, or its processors; at least one."""
    processors = len(os.sched_getaffinity(0))
    try:
        quota, period = Path(root, "cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            return max(1, min(processors, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return processors
