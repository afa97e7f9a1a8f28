"""What the API server gets wrong, and what time has to do with it: nothing of it ends the watch (spec.md 3.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from dnsd.cluster import objects
from dnsd.cluster.api import connection, watch
from dnsd.cluster.api.messages import MAX_OBJECT_OCTETS
from dnsd.cluster.api.timing import BACKOFF_MAX, JITTER, Backoff, Timing
from dnsd.cluster.index import Index
from dnsd.cluster.objects import EndpointSlice, Service
from dnsd.cluster.store import SourceSettings
from tests.cluster.apiserver import ApiServer, Fault, Json, endpoint_slice, service, status
from tests.cluster.following import NOW, SHOP, Times, following, in_step, latest, one, until, watched


@pytest.fixture(params=["supported", "refused"])
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    """A server for each of the two ways to list: as a stream, and in pages."""
    with ApiServer(streaming=request.param) as server:
        server.put(*SHOP)
        yield server


@pytest.fixture
def to(server: ApiServer, tmp_path: Path) -> SourceSettings:
    return SourceSettings(kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig")))


# -- what the server gets wrong


BROKEN: tuple[Json, ...] = (
    service("shop", "bad", "10.96.0.66") | {"spec": {"ports": "eighty"}},
    endpoint_slice("shop", "bad", "web", []) | {"endpoints": {"addresses": 1}},
)


def test_an_object_that_does_not_decode_is_logged_once_and_left_out(
    server: ApiServer, to: SourceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    server.put(*BROKEN)

    async def run() -> None:
        async with following(to) as followed:
            await until(lambda: followed.index.synced)
            await watched(server)
            server.put(*BROKEN)
            server.put(service("shop", "good", "10.96.0.4"), endpoint_slice("shop", "good", "good", ["10.244.0.9"]))
            await until(lambda: "shop/good" in followed.names(Service) & followed.names(EndpointSlice))
            assert followed.names(Service) == {"shop/web", "shop/db", "shop/good"}
            assert followed.source.watches["Service"].skipped == 2
            server.put(service("shop", "bad", "10.96.0.67"))
            await until(lambda: "shop/bad" in followed.names(Service))
            server.put(*BROKEN)
            server.delete("services", "shop", "bad")
            await until(lambda: "shop/bad" not in followed.names(Service))

    asyncio.run(run())
    logged = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert sorted(logged) == [
        "EndpointSlice shop/bad is left out: Expected `array | null`, got `object` - at `$.endpoints`",
        "Service shop/bad is left out: Expected `array | null`, got `str` - at `$.spec.ports`",
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON at all",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":7}',
        b'{"type":"ADDED","object":{"metadata":{"name":"\xff"}}}',
        b'{"type":"DELETED","object":{}}',
        b'{"type":"BOOKMARK","object":[]}',
        b'{"type":"RENAMED","object":{"metadata":{"name":"web","namespace":"shop"}}}',
        b'{"type":"ADDED","object":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type":"ADDED","object":{"metadata":{"name":"' + b"x" * MAX_OBJECT_OCTETS + b'"}}}',
        b'{"type":"DELETED","object":{"metadata":{"name":"nobody","namespace":"shop"}}}',
        b'{"type":"ADDED","object":{"metadata":{}}}',
    ],
    ids=lambda line: line[:50].decode(errors="replace"),
)
def test_a_line_that_makes_no_sense_costs_itself_and_nothing_around_it(line: bytes, tmp_path: Path) -> None:
    async def run(server: ApiServer, to: SourceSettings) -> None:
        async with following(to, kinds=(Service,)) as followed:
            await in_step(followed, server, (Service,))
            await watched(server, "services")
            server.say("services", line, line)
            server.put(service("shop", "after", "10.96.0.4"))
            await in_step(followed, server, (Service,))
            assert followed.source.watches["Service"].reconnects == 0

    with one("supported", tmp_path) as (server, to):
        server.put(*SHOP)
        asyncio.run(run(server, to))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"metadata":{},"items":7}', b'{"items":[]}', b"[" * 100_000],
    ids=lambda body: repr(body[:30]),
)
def test_a_list_that_is_none_is_asked_for_again(body: bytes, tmp_path: Path) -> None:
    async def run(server: ApiServer, to: SourceSettings) -> None:
        async with following(to, kinds=(Service,)) as followed:
            await in_step(followed, server, (Service,))

    with one("refused", tmp_path) as (server, to):
        server.put(*SHOP)
        server.fault("list", "services", Fault(body=body))
        asyncio.run(run(server, to))
        assert server.count("list", "services") == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=status(500, "InternalError", "etcd is away")),
        Fault(status=status(429, "TooManyRequests", "later")),
        Fault(status=status(503, "ServiceUnavailable", "starting")),
        Fault(cut_after=0),
        Fault(hang=True),
    ],
    ids=lambda fault: str(fault.status["code"]) if fault.status else "cut off" if fault.cut_after == 0 else "no answer",
)
def test_a_list_that_fails_is_tried_again(
    fault: Fault, server: ApiServer, to: SourceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault.hang:
        monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.3)
        monkeypatch.setattr(watch, "INITIAL_SILENCE_SECONDS", 0.05)
    verb: Literal["list", "watch"] = "list" if server.streaming == "refused" else "watch"
    server.fault(verb, "services", fault, times=2)

    async def run() -> None:
        async with following(to) as followed:
            await in_step(followed, server)

    asyncio.run(run())


def test_a_watch_that_falls_silent_is_resumed(
    server: ApiServer, to: SourceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 0.05)

    async def run() -> None:
        async with following(to, kinds=(Service,)) as followed:
            await in_step(followed, server, (Service,))
            await watched(server, "services")
            followed.times.chosen = lambda *_: 0.0
            server.fault("watch", "services", Fault(hang=True))
            server.drop("services")
            await until(lambda: followed.source.watches["Service"].reconnects >= 2)
            followed.times.chosen = latest
            server.put(service("shop", "after", "10.96.0.4"))
            await in_step(followed, server, (Service,))
            assert followed.source.watches["Service"].lists == 1

    asyncio.run(run())


def test_a_kind_that_rbac_forbids_is_named_once_and_taken_up_when_it_is_granted(
    server: ApiServer, to: SourceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    server.forbid("endpointslices")

    async def run() -> None:
        async with following(to) as followed:
            await until(lambda: server.count("watch", "endpointslices") >= 5)
            await until(lambda: followed.names(Service) == {"shop/web", "shop/db"})
            assert not followed.index.synced, "a kind that was never listed keeps the index from being synced"
            server.forbid()
            await in_step(followed, server)

    asyncio.run(run())
    forbidden = [record.getMessage() for record in caplog.records if "403" in record.getMessage()]
    assert len([record for record in caplog.records if "403" in record.getMessage() and record.levelno > 10]) == 1
    assert forbidden[0] == (
        "endpointslices: no watch, the last known state stays in use: "
        '403 endpointslices is forbidden: User "dnsd" cannot watch resource "endpointslices" at the cluster scope '
        "(RBAC has to grant list and watch on endpointslices in all namespaces)"
    )


def test_an_object_that_becomes_unreadable_keeps_its_last_good_state_through_a_new_list(
    server: ApiServer, to: SourceSettings
) -> None:
    async def run() -> None:
        async with following(to) as followed:
            await until(lambda: followed.index.synced)
            await watched(server)
            with server.outage():
                server.put(service("shop", "web", "10.96.0.1") | {"spec": {"ports": "eighty"}})
                server.delete("services", "shop", "db")
                server.expire()
            await until(lambda: followed.source.watches["Service"].lists == 2)
            await until(lambda: followed.names(Service) == {"shop/web"})

    asyncio.run(run())


def test_what_goes_wrong_inside_the_index_costs_one_object(
    server: ApiServer, to: SourceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Index.put

    def fails(self: Index, item: objects.Object, now: float) -> None:
        if item.metadata.name == "web":
            raise ZeroDivisionError
        put(self, item, now)

    monkeypatch.setattr(Index, "put", fails)

    async def run() -> None:
        async with following(to) as followed:
            await until(lambda: followed.index.synced)
            assert followed.names(Service) == {"shop/db"}
            assert followed.source.watches["Service"].skipped == 1

    asyncio.run(run())


# -- time


def test_back_off_doubles_from_800_ms_to_30_s_and_starts_anew_after_success(
    server: ApiServer, to: SourceSettings
) -> None:
    async def run() -> None:
        async with following(to, kinds=(Service,)) as followed:
            await until(lambda: len(followed.times.slept) >= 8)
            assert followed.times.slept[:8] == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
            server.forbid()
            await in_step(followed, server, (Service,))
            await watched(server, "services")
            tries = len(followed.times.slept)
            server.forbid("services")
            server.drop("services")
            await until(lambda: len(followed.times.slept) >= tries + 3)
            assert followed.times.slept[tries : tries + 3] == [0.8, 1.6, 3.2]

    server.forbid("services")
    asyncio.run(run())


def test_a_watch_that_held_is_resumed_at_once(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to, kinds=(Service,)) as followed:
            await in_step(followed, server, (Service,))
            await watched(server, "services")
            server.put(service("shop", "heard", "10.96.0.4"))
            await in_step(followed, server, (Service,))
            followed.times.elapsed += watch.STEADY_SECONDS
            server.drop("services")
            await until(lambda: followed.source.watches["Service"].reconnects == 1)
            await watched(server, "services")
            assert followed.times.slept == []

    asyncio.run(run())


@pytest.mark.parametrize("chosen", [1 - JITTER, 1.0, 1 + JITTER])
def test_back_off_is_spread_by_a_quarter(chosen: float) -> None:
    times = Times(chosen=lambda low, high: min(max(chosen, low), high))

    async def run() -> None:
        backoff = Backoff(times.timing)
        for _ in range(10):
            await backoff.wait()

    asyncio.run(run())
    assert times.slept[-1] == BACKOFF_MAX * chosen
    assert set(times.asked) == {(1 - JITTER, 1 + JITTER)}


def test_queries_have_their_turn_between_the_objects_of_a_list(server: ApiServer, to: SourceSettings) -> None:
    """With a clock that shows each object to have taken a whole slice of time."""
    server.put(*(service("many", f"web-{number}", "10.96.0.1") for number in range(200)))
    turns = 0

    class Ticking(Times):
        @property
        def timing(self) -> Timing:
            return Timing(lambda: NOW, self.tick, self.sleep, self.uniform)

        def tick(self) -> float:
            self.elapsed += watch.SLICE_SECONDS
            return self.elapsed

    async def answer_queries() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run() -> None:
        seen: list[int] = []
        queries = asyncio.create_task(answer_queries())
        async with following(to, kinds=(Service,), times=Ticking()) as followed:
            followed.index.listeners.append(lambda _: seen.append(turns))
            await until(lambda: followed.index.synced)
        queries.cancel()
        assert len(seen) > 200
        assert len(set(seen)) > 0.9 * len(seen)  # a few share a turn: the end of a piece of the stream, of the list

    asyncio.run(run())


# -- what is told about it


def test_requests_and_events_are_told_for_metrics(server: ApiServer, to: SourceSettings) -> None:
    host = f"127.0.0.1:{server.port}"

    async def run() -> None:
        async with following(to) as followed:
            await in_step(followed, server)
            await watched(server)
            assert all(counted.last_event == NOW for counted in followed.source.watches.values())
            with server.outage():
                await until(lambda: followed.requests[-1][2] == "<error>")
            await watched(server)
            codes = {"200", "<error>"} | ({"422"} if server.streaming == "refused" else set())
            assert {request[:3] for request in followed.requests} == {("GET", host, code) for code in codes}
            assert {request[3] for request in followed.requests} == {0.0}, "the clock of the test stands still"

    asyncio.run(run())


def test_the_memory_of_what_was_logged_has_a_bound(server: ApiServer, to: SourceSettings) -> None:
    count = watch.MAX_REPORTED + 1
    server.put(*({**BROKEN[0], "metadata": {"namespace": "bad", "name": f"s{number}"}} for number in range(count)))

    async def run() -> None:
        async with following(to) as followed:
            await until(lambda: followed.index.synced)
            assert followed.source.watches["Service"].skipped == count
            assert len(followed.source.watches["Service"]._reported) == 1

    asyncio.run(run())
