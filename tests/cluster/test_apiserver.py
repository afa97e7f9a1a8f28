"""The API server of the tests picks and tells what a real one would; what dnsd makes of it is in test_api.py."""

from __future__ import annotations

import json

import pytest

from tests.cluster.apiobjects import Json, field_selector, label_selector, pod, service
from tests.cluster.apistore import OpenWatch, Store


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        ("", {"a", "b", "c"}),
        ("app=web", {"a"}),
        ("app==web", {"a"}),
        ("app!=web", {"b", "c"}),
        ("app", {"a", "b"}),
        ("!app", {"c"}),
        ("app in (web, db)", {"a", "b"}),
        ("app notin (web)", {"b", "c"}),
        ("app in (web,db),tier=front", {"a"}),
        ("example.com/x=1", {"c"}),
    ],
)
def test_label_selectors(selector: str, picked: set[str]) -> None:
    items = [
        service("n", "a", labels={"app": "web", "tier": "front"}),
        service("n", "b", labels={"app": "db"}),
        service("n", "c", labels={"example.com/x": "1"}),
    ]
    assert {item["metadata"]["name"] for item in items if label_selector(selector)(item)} == picked


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        ("", {"runs", "done", "failed"}),
        ("status.phase!=Succeeded,status.phase!=Failed", {"runs"}),
        ("metadata.name=done", {"done"}),
        ("spec.nodeName=", {"runs", "done", "failed"}),
    ],
)
def test_field_selectors(selector: str, picked: set[str]) -> None:
    phases = {"runs": "Running", "done": "Succeeded", "failed": "Failed"}
    items = [pod("n", name, "10.244.0.1", phase=phase) for name, phase in phases.items()]
    assert {item["metadata"]["name"] for item in items if field_selector(selector)(item)} == picked


def told(watch: OpenWatch) -> list[tuple[str, str]]:
    """Type and name of the events that wait."""
    events: list[Json] = []
    while not watch.lines.empty():
        events.append(json.loads(watch.lines.get_nowait() or b""))
    return [(each["type"], each["object"]["metadata"]["name"]) for each in events]


def test_an_object_that_begins_or_ceases_to_match_is_added_or_deleted() -> None:
    store, watch = Store(window=10), OpenWatch(label_selector("dns=yes"))
    store.watches["services"].add(watch)
    for labels in (None, {"dns": "yes"}, {"dns": "yes", "more": "x"}, {"dns": "no"}, None):
        store.put(service("n", "web", labels=labels))
    assert told(watch) == [("ADDED", "web"), ("MODIFIED", "web"), ("DELETED", "web")]


def test_what_happened_after_a_resource_version_is_told_within_the_window_only() -> None:
    store = Store(window=2)
    versions = []
    for name in ("a", "b", "c"):
        store.put(service("n", name))
        versions.append(store.version)
    lines = [list(store.first_lines("services", lambda _: True, version, end=False)) for version in versions]
    names = [[json.loads(line)["object"]["metadata"].get("name") for line in told] for told in lines]
    assert names == [["b", "c"], ["c"], []]
    (line,) = store.first_lines("services", lambda _: True, versions[0] - 1, end=False)
    assert json.loads(line)["object"]["code"] == 410
    assert store.forgotten("services", versions[0] - 1)
