"""The watch on the API server (spec.md 3.1 and 3.3), against a server that lists and watches over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsd.cluster import objects
from dnsd.cluster.api import connection, watch
from dnsd.cluster.api.messages import MAX_OBJECT_OCTETS
from dnsd.cluster.api.timing import BACKOFF_MAX, JITTER, Backoff, Timing
from dnsd.cluster.index import Index
from dnsd.cluster.objects import EndpointSlice, Namespace, Service
from dnsd.cluster.store import SourceSettings
from tests.cluster.apiserver import (
    ApiServer,
    Fault,
    Json,
    endpoint_slice,
    event,
    gone,
    namespace,
    pod,
    service,
    status,
)
from tests.cluster.following import ALL_KINDS, NOW, Following, Times, content, following, held_by, until

SHOP = (
    namespace("shop"),
    service("shop", "web", "10.96.0.1"),
    service("shop", "db"),
    endpoint_slice("shop", "db-1", "db", ["10.244.0.1", "10.244.0.2"]),
)
"""A small cluster."""


@pytest.fixture(params=["supported", "refused"])
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    """A server for each of the two ways to list: as a stream, and in pages."""
    with ApiServer(streaming=request.param) as server:
        server.put(*SHOP)
        yield server


@pytest.fixture
def to(server: ApiServer, tmp_path: Path) -> SourceSettings:
    return SourceSettings(kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig")))


async def in_step(followed: Following, server: ApiServer, kinds: tuple[objects.Kind, ...] = ()) -> None:
    """Wait until the index holds what the server does."""
    wanted = held_by(server, kinds or followed.index.kinds)
    await until(lambda: followed.index.synced and content(followed.index) == wanted)


async def watched(server: ApiServer, *plurals: str) -> None:
    """Wait until somebody watches each of these kinds."""
    await until(
        lambda: all(server.watching(plural) for plural in plurals or ("namespaces", "services", "endpointslices"))
    )


def latest(_: float, high: float) -> float:
    """The chance that chooses the greatest number."""
    return high


@contextlib.contextmanager
def one(
    streaming: Literal["supported", "refused", "ignored"], folder: Path
) -> Iterator[tuple[ApiServer, SourceSettings]]:
    """A server of one sort, and how to reach it."""
    with ApiServer(streaming=streaming) as server:
        yield server, SourceSettings(kubeconfig=str(server.kubeconfig(folder / "kubeconfig")))


def last_watch(server: ApiServer, plural: str) -> dict[str, str]:
    """The query of the newest watch."""
    return next(asked.query for asked in reversed(server.requests) if (asked.verb, asked.plural) == ("watch", plural))


# -- list and watch


def test_what_the_cluster_holds_is_listed_and_then_followed(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to, kinds=ALL_KINDS) as followed:
            await in_step(followed, server)
            assert followed.names(Service) == {"shop/web", "shop/db"}
            server.put(
                namespace("new"),
                service("shop", "web", "10.96.0.99", ports={"https": 443}),
                endpoint_slice("shop", "db-2", "db", ["10.244.0.3"]),
                pod("shop", "db-0", "10.244.0.3"),
            )
            server.delete("services", "shop", "db")
            await in_step(followed, server)
            assert followed.names(Service) == {"shop/web"}

    asyncio.run(run())


def test_the_requests_are_those_of_spec_3_1(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to, times=Times(chosen=latest)) as followed:
            await in_step(followed, server)
            await watched(server)
            assert (watch.WATCH_SECONDS) in followed.times.asked

    asyncio.run(run())
    first = server.requests[0]
    assert (first.verb, first.query) == (
        "watch",
        {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "timeoutSeconds": "600",
        },
    )
    if server.streaming == "refused":
        assert [asked.query for asked in server.requests if asked.verb == "list"] == [{"limit": "500"}] * 3
        newest = {item["metadata"]["resourceVersion"] for item in server.items("endpointslices")}
        assert {last_watch(server, "services")["resourceVersion"]} == newest
        assert last_watch(server, "services").keys() == {
            "watch",
            "allowWatchBookmarks",
            "resourceVersion",
            "timeoutSeconds",
        }
    else:
        assert [asked.verb for asked in server.requests] == ["watch"] * 3


def test_selectors_are_those_of_the_configuration(server: ApiServer, tmp_path: Path) -> None:
    to = SourceSettings(
        kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig")), labels="dns in (yes, on)", namespace_labels="team=a"
    )
    server.put(
        namespace("a", team="a"),
        service("a", "seen", "10.96.1.1", dns="yes"),
        service("a", "unseen", "10.96.1.2"),
        endpoint_slice("a", "seen-1", "seen", ["10.244.1.1"], dns="on"),
        pod("a", "runs", "10.244.1.1", dns="yes"),
        pod("a", "done", "10.244.1.2", phase="Succeeded", dns="yes"),
    )

    async def run() -> None:
        async with following(to, kinds=ALL_KINDS) as followed:
            await until(lambda: followed.index.synced)
            assert {kind.__name__: followed.names(kind) for kind in ALL_KINDS} == {
                "Namespace": {"a"},
                "Service": {"a/seen"},
                "EndpointSlice": {"a/seen-1"},
                "Pod": {"a/runs"},
            }
            await watched(server, "pods", "services")
            server.put(pod("a", "runs", "10.244.1.1", phase="Failed", dns="yes"))
            server.put(service("a", "unseen", "10.96.1.2", dns="on"))
            await until(lambda: not followed.names(objects.Pod) and len(followed.names(Service)) == 2)

    asyncio.run(run())
    assert last_watch(server, "pods")["fieldSelector"] == (
        "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
    )


def test_only_the_kinds_of_the_index_are_asked_for(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to, kinds=(Namespace, Service)) as followed:
            await in_step(followed, server, (Namespace, Service))
            assert list(followed.source.watches) == ["Namespace", "Service"]

    asyncio.run(run())
    assert {asked.plural for asked in server.requests} == {"namespaces", "services"}


# -- servers without streaming lists


@pytest.mark.parametrize("told", ["by a BOOKMARK that does not end the list", "by silence"])
def test_a_server_that_ignores_send_initial_events_is_listed_in_pages(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told == "by silence":
        monkeypatch.setattr(watch, "INITIAL_SILENCE_SECONDS", 0.05)

    async def run(server: ApiServer, to: SourceSettings) -> None:
        async with following(to) as followed:
            if told != "by silence":
                await watched(server)
                for plural in ("namespaces", "services", "endpointslices"):
                    server.bookmark(plural)
            await in_step(followed, server)
            assert server.count("list", "services") == 1

    with one("ignored", tmp_path) as (server, to):
        server.put(*SHOP)
        asyncio.run(run(server, to))


def test_a_streaming_list_that_breaks_off_removes_nothing_and_is_begun_again(tmp_path: Path) -> None:
    async def run(server: ApiServer, to: SourceSettings) -> None:
        async with following(to) as followed:
            await in_step(followed, server)
            await watched(server)
            server.fault("watch", "services", Fault(cut_after=1), times=2)
            server.expire("services")
            seen: list[set[str]] = []
            followed.index.listeners.append(lambda _: seen.append(followed.names(Service)))
            server.put(service("shop", "also", "10.96.0.3"))
            server.drop("services")
            await until(lambda: "shop/also" in followed.names(Service))
            assert all(names >= {"shop/web", "shop/db"} for names in seen)

    with one("supported", tmp_path) as (server, to):
        server.put(*SHOP)
        asyncio.run(run(server, to))


# -- pages


def pages(server: ApiServer) -> list[str]:
    """The limits that lists of Services were asked with, c for those that continue one."""
    lists = [asked.query for asked in server.requests if (asked.verb, asked.plural) == ("list", "services")]
    return [query["limit"] + ("c" if "continue" in query else "") for query in lists]


@pytest.mark.parametrize(
    ("octets", "count", "limits"),
    [
        (10, 500, ["500"]),
        (10, 1_001, ["500", "500c", "500c"]),
        (100_000, 60, ["500", "125", "31", "31c"]),
        (5_000_000, 2, ["500", "125", "31", "7", "1", "1c"]),
    ],
)
def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects(
    octets: int, count: int, limits: list[str], tmp_path: Path
) -> None:
    async def run(server: ApiServer, to: SourceSettings) -> None:
        async with following(to, kinds=(Service,)) as followed:
            await until(lambda: followed.index.synced)
            assert len(followed.names(Service)) == count

    with one("refused", tmp_path) as (server, to):
        server.put(*(service("shop", f"web-{number}", "10.96.0.1", note="x" * octets) for number in range(count)))
        asyncio.run(run(server, to))
        assert pages(server) == limits


def test_a_continue_token_that_expired_begins_the_list_again(tmp_path: Path) -> None:
    async def run(server: ApiServer, to: SourceSettings) -> None:
        async with following(to, kinds=(Service,)) as followed:
            await until(lambda: len(server.requests) == 2)
            server.expire_lists()
            server.delete("services", "shop", "web-0")
            server.delete("services", "shop", "web-1000")
            await in_step(followed, server, (Service,))

    with one("refused", tmp_path) as (server, to):
        server.put(*(service("shop", f"web-{number}", "10.96.0.1") for number in range(1_001)))
        server.fault("list", "services", Fault())
        server.fault("list", "services", Fault(delay=0.2))
        asyncio.run(run(server, to))
        assert pages(server) == ["500", "500c", "500", "500c"]


# -- outage and return


def test_a_watch_that_breaks_off_goes_on_from_the_last_resource_version(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to) as followed:
            await in_step(followed, server)
            await watched(server)
            lists = server.count("list", "services")
            server.put(service("shop", "web", "10.96.0.2"))
            await in_step(followed, server)
            (version,) = {
                item["metadata"]["resourceVersion"]
                for item in server.items("services")
                if item["metadata"]["name"] == "web"
            }
            with server.outage():
                server.put(service("shop", "new", "10.96.0.3"))
                server.delete("services", "shop", "db")
                await until(lambda: followed.requests[-1][2] == "<error>")
                assert followed.names(Service) == {"shop/web", "shop/db"}, "the last known state stays in use"
            await in_step(followed, server)
            assert last_watch(server, "services")["resourceVersion"] == version
            assert server.count("list", "services") == lists
            counted = followed.source.watches["Service"]
            assert (counted.lists, counted.reconnects > 0) == (1, True)

    asyncio.run(run())


def test_a_bookmark_moves_the_resource_version_to_resume_from(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to) as followed:
            await in_step(followed, server)
            await watched(server)
            server.put(namespace("far-ahead"))
            version = server.items("namespaces")[-1]["metadata"]["resourceVersion"]
            server.bookmark("services")
            server.drop("services")
            await until(lambda: last_watch(server, "services").get("resourceVersion") == version)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["ERROR event when resuming", "HTTP status when resuming", "ERROR event at any time"])
def test_410_lists_again_and_removes_what_was_deleted_meanwhile(
    how: str, server: ApiServer, to: SourceSettings
) -> None:
    server.gone_as_status = how == "HTTP status when resuming"

    async def run() -> None:
        async with following(to, kinds=ALL_KINDS) as followed:
            await in_step(followed, server)
            await watched(server)
            with server.outage():
                server.delete("services", "shop", "web")
                server.delete("endpointslices", "shop", "db-1")
                server.put(namespace("new"), service("shop", "new", "10.96.0.3"))
                if how != "ERROR event at any time":
                    server.expire()
            seen: list[set[str]] = []
            followed.index.listeners.append(lambda _: seen.append(followed.names(Service)))
            if how == "ERROR event at any time":
                await watched(server)
                for plural in ("namespaces", "services", "endpointslices", "pods"):
                    server.say(plural, event("ERROR", gone()))
            await in_step(followed, server)
            await until(lambda: all(counted.lists == 2 for counted in followed.source.watches.values()))
            await in_step(followed, server)
            assert followed.names(Service) == {"shop/db", "shop/new"}
            assert all("shop/db" in names for names in seen), "what stayed was never gone"

    asyncio.run(run())


def test_a_resource_version_from_the_future_lists_again(server: ApiServer, to: SourceSettings) -> None:
    """As after etcd was restored from a backup."""

    async def run() -> None:
        async with following(to, kinds=(Service,)) as followed:
            await in_step(followed, server, (Service,))
            await watched(server, "services")
            server.fault("watch", "services", Fault(status(504, "Timeout", "Too large", "ResourceVersionTooLarge")))
            server.drop("services")
            await until(lambda: followed.source.watches["Service"].lists == 2)

    asyncio.run(run())


def test_a_watch_that_the_server_ends_is_resumed_without_a_word(
    server: ApiServer, to: SourceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with following(to, kinds=(Service,), times=Times(chosen=lambda *_: 1.0)) as followed:
            await in_step(followed, server, (Service,))
            lists = followed.source.watches["Service"].lists
            await until(lambda: followed.source.watches["Service"].reconnects == 2)
            assert followed.source.watches["Service"].lists == lists

    asyncio.run(run())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


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
        assert len(set(seen)) >= len(seen) - 2  # the end of the list and its sync come in one piece

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


# -- the property

NAMES = st.sampled_from(["a", "b", "c"])
ADDRESSES = st.lists(st.sampled_from([f"10.244.0.{number}" for number in range(1, 6)]), max_size=3, unique=True)
ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.builds(namespace, NAMES)),
    st.tuples(st.just("put"), st.builds(lambda at, name, ips: service(at, name, *ips), NAMES, NAMES, ADDRESSES)),
    st.tuples(st.just("put"), st.builds(endpoint_slice, NAMES, NAMES, NAMES, ADDRESSES)),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.just("drop"), st.none()),
    st.tuples(st.just("expire"), st.none()),
    st.tuples(st.just("outage"), st.lists(st.integers(0, 20), max_size=4)),
    st.tuples(st.just("settle"), st.none()),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, max_size=25))
def test_the_index_comes_to_hold_what_the_server_does_whatever_happens(
    actions: list[tuple[str, object]], server: ApiServer, to: SourceSettings
) -> None:
    def delete(number: int) -> None:
        plural = ("namespaces", "services", "endpointslices")[number % 3]
        held = server.items(plural)
        if held:
            metadata = held[number % len(held)]["metadata"]
            server.delete(plural, metadata.get("namespace", ""), metadata["name"])

    async def run() -> None:
        async with following(to) as followed:
            for action, argument in actions:
                match action, argument:
                    case "put", dict():
                        server.put(argument)
                    case "delete", int():
                        delete(argument)
                    case "drop", _:
                        server.drop()
                    case "expire", _:
                        server.expire()
                    case "outage", list():
                        with server.outage():
                            for number in argument:
                                delete(number)
                    case _:
                        await in_step(followed, server)
            await in_step(followed, server)

    asyncio.run(run())
