"""The supervisor with workers that know no DNS: born, fed, asked, replaced, drained."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from dnsd.serve import supervisor as module
from dnsd.serve.supervisor import Supervisor, cpu_quota, pack, receive

STATE = {"number": 0}
"""What the supervisor's process holds, for workers to inherit."""


def echo(number: int, channel: socket.socket) -> int:
    """A worker that answers each message with its own number, what it inherited, and the message."""

    async def work() -> int:
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        writer.write(pack(b"serving"))
        while (message := await receive(reader)) is not None:
            writer.write(pack(b"%d %d %s" % (number, STATE["number"], message)))
        writer.write(pack(b"%d done" % number))
        writer.close()
        return 0

    return asyncio.run(work())


def run(main: Callable[[Supervisor], Coroutine[None, None, None]], work: module.Work = echo, count: int = 2) -> None:
    supervisor = Supervisor(count, work, lambda _: ())

    async def checked() -> None:
        await supervisor.start()
        try:
            await main(supervisor)
        finally:
            await supervisor.stop(5.0)
        assert supervisor.pids == []

    supervisor.run(checked())


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not what():
            await asyncio.sleep(0.01)


def test_each_worker_answers_once() -> None:
    async def main(supervisor: Supervisor) -> None:
        assert sorted(await supervisor.ask(b"x")) == [b"0 0 x", b"1 0 x"]

    run(main)


def test_a_worker_that_dies_is_replaced_by_one_that_has_the_present_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)

    async def main(supervisor: Supervisor) -> None:
        first, second = supervisor.pids
        STATE["number"] = 7
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.restarts == 1 and len(supervisor.pids) == 2)
        assert second in supervisor.pids
        assert sorted(await supervisor.ask(b"y")) == [b"0 7 y", b"1 0 y"]

    try:
        run(main)
    finally:
        STATE["number"] = 0


def test_a_worker_gets_everything_since_its_birth_without_a_gap() -> None:
    """What is told in any turn of the loop was inherited, or is heard: the next number, and each one after it."""
    ends: list[bytes] = []

    def listen(_: int, channel: socket.socket) -> int:
        async def work(heard: int) -> int:
            reader, writer = await asyncio.open_unix_connection(sock=channel)
            writer.write(pack(b"serving"))
            while (message := await receive(reader)) is not None:
                assert int(message) == heard + 1
                heard += 1
            writer.write(pack(b"none missed"))
            writer.close()
            return 0

        return asyncio.run(work(STATE["number"]))

    async def main(supervisor: Supervisor) -> None:
        async def count() -> None:
            while True:
                STATE["number"] += 1
                supervisor.broadcast(b"%d" % STATE["number"])
                await asyncio.sleep(0)

        supervisor.on_gone = ends.append
        counting = asyncio.create_task(count())
        for _ in range(5):
            await supervisor.roll()
        counting.cancel()

    try:
        run(main, listen)
    finally:
        STATE["number"] = 0
    assert ends == [b"none missed"] * 12


def test_rolling_twice_at_once_leaves_as_many_workers_as_there_were() -> None:
    async def main(supervisor: Supervisor) -> None:
        first = set(supervisor.pids)
        await asyncio.gather(supervisor.roll(), supervisor.roll())
        await until(lambda: len(supervisor.pids) == 2)
        assert not first & set(supervisor.pids)
        assert sorted(await supervisor.ask(b"x")) == [b"0 0 x", b"1 0 x"]

    run(main)


def test_a_worker_that_dies_while_all_are_replaced_has_one_heir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)

    async def main(supervisor: Supervisor) -> None:
        for which in range(2):
            rolling = asyncio.create_task(supervisor.roll())
            await asyncio.sleep(0)
            os.kill(supervisor.pids[which], signal.SIGKILL)
            await rolling
            await until(lambda: len(supervisor.pids) == 2)
            assert {answer[:1] for answer in await supervisor.ask(b"x")} == {b"0", b"1"}

    run(main)


def test_a_worker_that_is_born_when_all_are_to_end_ends_too() -> None:
    async def main(supervisor: Supervisor) -> None:
        rolling = asyncio.create_task(supervisor.roll())
        await asyncio.sleep(0)
        await supervisor.stop(30.0)
        await rolling
        await until(lambda: not supervisor.pids)

    run(main)


def test_the_last_answer_of_a_worker_that_is_gone_is_handed_on() -> None:
    async def main(supervisor: Supervisor) -> None:
        gone: list[bytes] = []
        supervisor.on_gone = gone.append
        before = set(supervisor.pids)
        await supervisor.roll()
        await until(lambda: len(gone) == 2)
        assert sorted(gone) == [b"0 done", b"1 done"]
        assert not before & set(supervisor.pids)

    run(main)


def test_a_worker_that_does_not_read_is_replaced_once_it_is_too_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FEED_OCTETS", 1 << 20)
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)

    def deaf(_: int, channel: socket.socket) -> int:
        channel.sendall(pack(b"serving"))
        signal.pause()
        return 0

    async def main(supervisor: Supervisor) -> None:
        (first,) = supervisor.pids
        for _ in range(64):
            supervisor.broadcast(bytes(1 << 16))
        await until(lambda: supervisor.restarts == 1 and first not in supervisor.pids and len(supervisor.pids) == 1)
        os.kill(supervisor.pids[0], signal.SIGKILL)

    run(main, deaf, count=1)


def test_a_worker_that_does_not_drain_is_ended() -> None:
    def stubborn(_: int, channel: socket.socket) -> int:
        channel.sendall(pack(b"serving"))
        while True:
            signal.pause()

    async def main() -> None:
        await supervisor.start()
        await supervisor.stop(0.1)
        assert supervisor.pids == []

    supervisor = Supervisor(1, stubborn, lambda _: ())
    supervisor.run(main())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000", min(2, len(os.sched_getaffinity(0)))),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", len(os.sched_getaffinity(0))),
        ("nonsense", len(os.sched_getaffinity(0))),
        (None, len(os.sched_getaffinity(0))),
    ],
)
def test_workers_auto_follows_the_cpu_quota(tmp_path: Path, content: str | None, expected: int) -> None:
    if content is not None:
        (tmp_path / "cpu.max").write_text(content)
    assert cpu_quota(str(tmp_path)) == expected
