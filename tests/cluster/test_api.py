"""The watch on the API server (spec.md 3.1 and 3.3), against a server that lists and watches over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsd.cluster import objects
from dnsd.cluster.api import watch
from dnsd.cluster.objects import Namespace, Service
from dnsd.cluster.store import SourceSettings
from tests.cluster.apiserver import (
    ApiServer,
    Fault,
    endpoint_slice,
    event,
    gone,
    namespace,
    pod,
    service,
    status,
)
from tests.cluster.following import (
    ALL_KINDS,
    SHOP,
    Times,
    following,
    in_step,
    last_watch,
    latest,
    one,
    until,
    watched,
)


@pytest.fixture(params=["supported", "refused"])
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    """A server for each of the two ways to list: as a stream, and in pages."""
    with ApiServer(streaming=request.param) as server:
        server.put(*SHOP)
        yield server


@pytest.fixture
def to(server: ApiServer, tmp_path: Path) -> SourceSettings:
    return SourceSettings(kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig")))


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
        namespace("a", labels={"team": "a"}),
        service("a", "seen", "10.96.1.1", labels={"dns": "yes"}),
        service("a", "unseen", "10.96.1.2"),
        endpoint_slice("a", "seen-1", "seen", ["10.244.1.1"], labels={"dns": "on"}),
        pod("a", "runs", "10.244.1.1", labels={"dns": "yes"}),
        pod("a", "done", "10.244.1.2", phase="Succeeded", labels={"dns": "yes"}),
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
            server.put(pod("a", "runs", "10.244.1.1", phase="Failed", labels={"dns": "yes"}))
            server.put(service("a", "unseen", "10.96.1.2", labels={"dns": "on"}))
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


def test_a_streaming_list_that_ends_before_its_end_is_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(server: ApiServer, to: SourceSettings) -> None:
        async with following(to, times=Times(chosen=lambda *_: 0.0)) as followed:
            await until(lambda: "the streaming list broke off" in caplog.text)
            assert not followed.index.synced
            followed.times.chosen = latest
            await in_step(followed, server)

    with one("supported", tmp_path) as (server, to):
        server.put(*SHOP)
        asyncio.run(run(server, to))


# -- pages


def pages(server: ApiServer) -> list[str]:
    """The limits that lists of Services were asked with, c for those that continue one."""
    lists = [asked.query for asked in server.requests if (asked.verb, asked.plural) == ("list", "services")]
    return [query["limit"] + ("c" if "continue" in query else "") for query in lists]


@pytest.mark.parametrize(
    ("octets", "limits"),
    [
        ([10] * 500, ["500"]),
        ([10] * 1_001, ["500", "500c", "500c"]),
        ([100_000] * 60, ["500", "125", "31", "31c"]),
        ([5_000_000] * 2, ["500", "125", "31", "7", "1", "1c"]),
        ([100_000] * 60 + [10] * 300, ["500", "125", "31", "31c", "31c", "62c", "124c", "248c"]),
    ],
    ids=["one page", "three pages", "large", "one object a page", "large, then small"],
)
def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects(
    octets: list[int], limits: list[str], tmp_path: Path
) -> None:
    async def run(to: SourceSettings) -> None:
        async with following(to, kinds=(Service,)) as followed:
            await until(lambda: followed.index.synced)
            assert len(followed.names(Service)) == len(octets)

    with one("refused", tmp_path) as (server, to):
        for number, size in enumerate(octets):
            server.put(service("shop", f"web-{number}", "10.96.0.1", labels={"note": "x" * size}))
        asyncio.run(run(to))
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


def test_410_in_the_first_watch_lists_again(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to, kinds=(Service,)) as followed:
            await in_step(followed, server, (Service,))
            await watched(server, "services")
            server.say("services", event("ERROR", gone()))
            counted = followed.source.watches["Service"]
            await until(lambda: counted.lists == 2)
            assert counted.reconnects == 0

    asyncio.run(run())


def test_a_watch_that_cannot_be_resumed_is_listed_again_at_once(server: ApiServer, to: SourceSettings) -> None:
    async def run() -> None:
        async with following(to, kinds=(Service,)) as followed:
            await in_step(followed, server, (Service,))
            await watched(server, "services")
            server.put(service("shop", "heard", "10.96.0.4"))
            await in_step(followed, server, (Service,))
            followed.times.elapsed += watch.STEADY_SECONDS
            server.expire("services")
            server.drop("services")
            await until(lambda: followed.source.watches["Service"].lists == 2)
            await watched(server, "services")
            assert followed.times.slept == []

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


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
