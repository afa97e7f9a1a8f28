"""The index: what it holds has no history, who listens hears of every difference, and odd objects cost nothing else."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsd.cluster import index as module
from dnsd.cluster import objects
from dnsd.cluster.index import SERIAL, Change, Index, Key, Reader, address_text, pack_address
from tests.cluster.apiobjects import Json, endpoint_slice, namespace, pod, service
from tests.cluster.worlds import NAMESPACES, SERVICES, filled, identity, parsed
from tests.cluster.worlds import objects as any_object

KINDS = (objects.Namespace, objects.Service, objects.EndpointSlice, objects.Pod)
BY_NAME = {kind.__name__: kind for kind in KINDS}

step = st.tuples(any_object, st.integers(0, 3))
"""An object, and whether it goes (0) or is put."""


def contents(index: Index) -> dict[str, Any]:
    """All that an index holds, in no order."""
    return {
        "namespaces": set(index._namespaces),
        "services": dict(index._services),
        "slices": dict(index._slices),
        "slices of": {key: set(slices) for key, slices in index._slices_of.items()},
        "pods": dict(index._pods),
        "owners": {address: set(index._owners_of(address)) for address in index._owners},
    }


def play(index: Index, steps: list[tuple[Json, int]]) -> dict[tuple[str, str, str], Json]:
    """Make the changes; the objects that are left."""
    world: dict[tuple[str, str, str], Json] = {}
    for number, (item, puts) in enumerate(steps):
        key = identity(item)
        if puts:
            world[key] = item
            index.put(parsed(item), 1000.0 + number)
        else:
            world.pop(key, None)
            index.delete(BY_NAME[key[0]], key[1], key[2], 1000.0 + number)
    return world


@settings(max_examples=300)
@given(st.lists(step, max_size=40))
def test_an_index_has_no_history(steps: list[tuple[Json, int]]) -> None:
    """After any changes it holds what one holds that was filled with what is left."""
    index = Index(KINDS, pod_names=True)
    world = play(index, steps)
    assert contents(index) == contents(filled(world))


@settings(max_examples=200)
@given(st.lists(step, max_size=30))
def test_an_index_that_follows_another_holds_the_same(steps: list[tuple[Json, int]]) -> None:
    index, other = Index(KINDS, pod_names=True), Index(KINDS)
    changes: list[Change] = []
    index.followers.append(changes.append)
    play(index, steps)
    for kind in KINDS:
        index.mark_synced(kind)
    for change in changes:
        other.apply(change)
    assert contents(other) == contents(index)
    assert (other.serial, other.synced) == (index.serial, True)


def looks(index: Index) -> dict[Key, Any]:
    """What a reader sees under every key that there may be."""
    reader = Reader(index)
    seen: dict[Key, Any] = {SERIAL: index.serial}
    for where in (*NAMESPACES, "nowhere"):
        seen["namespace", where] = reader.namespace(where)
        seen["services", where] = [
            (found, frozenset(reader.slices(where, found.name)))
            for found in sorted(reader.services_in(where), key=lambda found: found.name)
        ]
        for name in (*SERVICES, "ghost"):
            seen["service", where, name] = (reader.service(where, name), frozenset(reader.slices(where, name)))
    for address in list(index._owners):
        seen["address", address] = frozenset(reader.owners(address))
    return seen


@settings(max_examples=200)
@given(st.lists(step, max_size=25))
def test_every_difference_that_a_reader_can_see_is_told_under_its_key(steps: list[tuple[Json, int]]) -> None:
    """What the memo's honesty rests on: whatever changed under a key, the key was named."""
    index = Index(KINDS, pod_names=True)
    told: set[Key] = set()
    index.listeners.append(told.update)
    before = looks(index)
    for number in range(len(steps)):
        told.clear()
        play(index, [steps[number]])
        after = looks(index)
        different = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        different = {key for key in different if key != SERIAL or before[SERIAL] != after[SERIAL]}
        assert different <= told
        before = after


@given(st.lists(step, max_size=25))
def test_the_serial_grows_with_every_change_and_stays_without_one(steps: list[tuple[Json, int]]) -> None:
    """Also where the clock goes back or stands still (spec.md section 11)."""
    index = Index(KINDS, pod_names=True)
    for number, (item, puts) in enumerate(steps):
        before, held = index.serial, contents(index)
        key = identity(item)
        if puts:
            index.put(parsed(item), 1000.0 - number)
        else:
            index.delete(BY_NAME[key[0]], key[1], key[2], 1000.0)
        assert (index.serial > before) == (contents(index) != held)


def test_the_serial_is_the_time_of_the_last_change() -> None:
    index = Index(KINDS)
    assert index.serial == 0
    index.put(parsed(namespace("shop")), 1_700_000_000.9)
    assert index.serial == 1_700_000_000
    index.put(parsed(namespace("shop")), 1_800_000_000.0)
    assert index.serial == 1_700_000_000, "nothing changed"


# -- lists


@settings(max_examples=100)
@given(st.lists(any_object, max_size=12), st.lists(any_object, max_size=12))
def test_a_complete_list_leaves_what_it_named(first: list[Json], second: list[Json]) -> None:
    index = Index(KINDS, pod_names=True)
    for items in (first, second):
        for kind in KINDS:
            replacement = index.replace(kind)
            for item in items:
                if item["kind"] == kind.__name__:
                    replacement.put(parsed(item), 1000.0)
            replacement.finish(1000.0)
    assert contents(index) == contents(filled({identity(item): item for item in second}))
    assert index.synced


def test_a_list_that_breaks_off_removes_nothing() -> None:
    index = filled({identity(item): item for item in (namespace("a"), namespace("b"))})
    replacement = index.replace(objects.Namespace)
    replacement.put(parsed(namespace("c")), 1000.0)
    assert set(index._namespaces) == {"a", "b", "c"}


def test_an_index_is_synced_once_every_kind_was_listed_and_stays_so() -> None:
    index = Index(KINDS)
    generations = []
    for kind in KINDS:
        assert not index.synced
        index.mark_synced(kind)
        generations.append(index.generation)
    assert index.synced
    index.mark_synced(objects.Pod)
    index.replace(objects.Pod)
    assert index.synced
    assert generations == sorted(set(generations)), "listeners are told"


READS: dict[str, tuple[list[Any], Any]] = {
    # what is read, and the kinds that it needs
    "a namespace": ([objects.Namespace], lambda reader: reader.namespace("shop")),
    "a service": ([objects.Service], lambda reader: reader.service("shop", "web")),
    "slices": ([objects.EndpointSlice], lambda reader: reader.slices("shop", "web")),
    "services of a namespace": (
        [objects.Service, objects.EndpointSlice],
        lambda reader: reader.services_in("shop"),
    ),
    "owners of an address": (
        [objects.Service, objects.EndpointSlice, objects.Pod],
        lambda reader: reader.owners(bytes(4)),
    ),
}


@pytest.mark.parametrize(("needed", "read"), READS.values(), ids=READS)
def test_an_answer_is_complete_only_where_what_it_read_was_listed(needed: list[Any], read: Any) -> None:
    for missing in KINDS:
        index = Index(KINDS)
        for kind in KINDS:
            if kind is not missing:
                index.mark_synced(kind)
        reader = Reader(index)
        read(reader)
        assert reader.complete == (missing not in needed)
        assert reader.keys


# -- objects that make no sense


ODD: dict[str, tuple[Json, str]] = {
    # what, the object, what the log says of it
    "a cluster IP": (service("shop", "odd", "10.0.0.256", "10.0.0.1"), "Service shop/odd address '10.0.0.256'"),
    "an endpoint": (endpoint_slice("shop", "odd", "web", ["::g"]), "EndpointSlice shop/odd endpoint address '::g'"),
    "a pod": (pod("shop", "odd", "10.0.0"), "Pod shop/odd address '10.0.0'"),
    "no namespace": ({"kind": "Service", "metadata": {"name": "odd"}}, "Service /odd has no metadata.name or"),
    "no name": ({"kind": "Namespace", "metadata": {}}, "Namespace / has no metadata.name or"),
}  # fmt: skip


@pytest.mark.parametrize(("item", "text"), ODD.values(), ids=ODD)
def test_what_makes_no_sense_is_logged_once(item: Json, text: str, caplog: pytest.LogCaptureFixture) -> None:
    index = Index(KINDS)
    with caplog.at_level(logging.WARNING, "dnsd.cluster"):
        for _ in range(3):
            index.put(parsed(item), 1000.0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(text)


def test_what_makes_sense_beside_it_is_kept() -> None:
    index = Index(KINDS)
    index.put(parsed(service("shop", "odd", "10.0.0.256", "10.0.0.1")), 1000.0)
    found = Reader(index).service("shop", "odd")
    assert found is not None
    assert found.addresses == (bytes([10, 0, 0, 1]),)


def test_the_memory_of_complaints_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REPORTED_OBJECTS", 10)
    index = Index(KINDS)
    for i in range(100):
        index.put(parsed(pod("shop", f"p{i}", "none")), 1000.0)
        assert len(index._reported) <= 10


def test_the_memory_of_port_lists_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PORT_LISTS", 10)
    index = Index(KINDS)
    for i in range(100):
        index.put(parsed(service("shop", f"s{i}", "10.0.0.1", ports={"http": i})), 1000.0)
        assert len(index._port_lists) <= 10
    assert Reader(index).service("shop", "s1") is not None


NULLS = [
    {"kind": "Service", "metadata": {"name": "a", "namespace": "b"}},
    {"kind": "Service", "metadata": {"name": "a", "namespace": "b"}, "spec": None, "status": None},
    {"kind": "Service", "metadata": {"name": "a", "namespace": "b"}, "spec": {"clusterIPs": None, "ports": None}},
    {"kind": "EndpointSlice", "metadata": {"name": "a", "namespace": "b", "labels": None}, "endpoints": None},
    {"kind": "EndpointSlice", "metadata": {"name": "a", "namespace": "b"}, "endpoints": [{"addresses": None}]},
    {
        "kind": "EndpointSlice",
        "metadata": {"name": "a", "namespace": "b"},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": None, "targetRef": None, "hostname": None}],
        "ports": [{"name": None, "port": None, "protocol": None}],
    },
    {"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}},
    {"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}, "status": {"podIP": None, "phase": None}},
]


@pytest.mark.parametrize("item", NULLS, ids=str)
def test_anything_may_be_null_or_missing(item: Json) -> None:
    """As Go's encoder leaves it."""
    index = Index(KINDS, pod_names=True)
    index.put(parsed(item), 1000.0)
    key = identity(item)
    index.delete(BY_NAME[key[0]], key[1], key[2], 1001.0)
    assert not any(contents(index).values())


# -- pods


def terminating(item: Json) -> Json:
    return {**item, "metadata": {**item["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


def test_a_pod_that_terminates_keeps_its_record_until_it_is_deleted() -> None:
    """Spec.md section 3.2."""
    index = Index(KINDS)
    index.put(parsed(pod("shop", "p", "10.0.0.1")), 1000.0)
    index.put(parsed(terminating(pod("shop", "p", "10.0.0.2"))), 1001.0)
    assert [owner.name for owner in Reader(index).owners(bytes([10, 0, 0, 1]))] == ["p"]
    index.delete(objects.Pod, "shop", "p", 1002.0)
    assert not Reader(index).owners(bytes([10, 0, 0, 1]))


def test_a_pod_first_seen_terminating_has_no_record() -> None:
    index = Index(KINDS)
    index.put(parsed(terminating(pod("shop", "p", "10.0.0.1"))), 1000.0)
    assert not contents(index)["pods"]


# -- addresses


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_addresses_survive_their_text(packed: bytes) -> None:
    mapped = packed.startswith(bytes(10) + b"\xff\xff")
    assert pack_address(address_text(packed)) == (packed[12:] if mapped and len(packed) == 16 else packed)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "010.0.0.1", "::g", "10.0.0.1 ", "fe80::1%eth0", "\0", "10.0.0.1/8"]
)
def test_is_no_address(text: str) -> None:
    assert pack_address(text) is None


SAME = [("fd00::1", "fd00:0:0:0:0:0:0:1"), ("fd00::a", "FD00::A"), ("::ffff:10.0.0.1", "10.0.0.1")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_addresses_are_compared_and_not_their_texts(one: str, other: str) -> None:
    assert pack_address(one) == pack_address(other)
