"""A cluster from files, polled by hand: what is read, what is dropped, what breaks. The clock never matters."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
from pathlib import Path

import pytest
import yaml

from dnsd.cluster import manifests, objects
from dnsd.cluster.index import Index, Reader
from dnsd.cluster.manifests import FileSource, ManifestError, read_manifest
from tests.cluster.apiobjects import Json, endpoint_slice, namespace, service

NOW = itertools.count(1_000_000_000)


class Files:
    """A source over a folder, and its index."""

    def __init__(self, *paths: Path, labels: dict[objects.Kind, str] | None = None) -> None:
        self.index = Index()
        self.source = FileSource(tuple(map(str, paths)), self.index, lambda: float(next(NOW)), labels or {})

    def services(self) -> set[str]:
        return {name for _, name in self.index.names(objects.Service)}


def write(path: Path, *items: Json) -> Path:
    """Write YAML in the place of a file, with a time of change that nobody has seen before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(items))
    return touch(path)


def touch(path: Path) -> Path:
    os.utime(path, ns=(next(NOW) * 1_000_000_000,) * 2)
    return path


def web(address: str = "10.0.0.1", **labels: str) -> Json:
    return service("shop", "web", address, labels=labels)


def test_files_are_read_again_only_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.yaml", web())
    read: list[Path] = []

    def note(path: Path) -> manifests.Manifest:
        read.append(path)
        return read_manifest(path)

    monkeypatch.setattr(manifests, "read_manifest", note)

    async def run() -> None:
        files = Files(tmp_path)
        await files.source.prepare()
        assert files.index.synced
        for _ in range(3):
            await files.source.poll()
        assert read == [path]
        write(path, web("10.0.0.2"))
        await files.source.poll()
        assert read == [path, path]

    asyncio.run(run())


def test_files_and_objects_come_and_go(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one.yaml", web(), service("shop", "a", "10.0.0.3")), tmp_path / "deep" / "other.yml"

    async def run() -> None:
        files = Files(tmp_path)
        await files.source.prepare()
        assert files.services() == {"web", "a"}
        write(other, service("shop", "b", "10.0.0.4"))
        await files.source.poll()
        assert files.services() == {"web", "a", "b"}
        write(one, web())
        await files.source.poll()
        assert files.services() == {"web", "b"}
        other.unlink()
        await files.source.poll()
        assert files.services() == {"web"}

    asyncio.run(run())


def test_an_object_in_two_files_goes_with_the_last_of_them(tmp_path: Path) -> None:
    one, other = write(tmp_path / "1.yaml", web()), write(tmp_path / "2.yaml", web())

    async def run() -> None:
        files = Files(tmp_path)
        await files.source.prepare()
        one.unlink()
        await files.source.poll()
        assert files.services() == {"web"}
        other.unlink()
        await files.source.poll()
        assert files.services() == set()

    asyncio.run(run())


def test_a_broken_file_keeps_its_last_good_content_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.yaml", web())

    async def run() -> None:
        files = Files(path)
        await files.source.prepare()
        path.write_text("kind: [\n")
        for _ in range(3):
            touch(path)
            await files.source.poll()
        assert files.services() == {"web"}
        path.unlink()
        for _ in range(3):
            await files.source.poll()
        assert files.services() == {"web"}
        write(path, service("shop", "a", "10.0.0.3"))
        await files.source.poll()
        assert files.services() == {"a"}

    with caplog.at_level(logging.WARNING, "dnsd.cluster"):
        asyncio.run(run())
    lines = [record.getMessage() for record in caplog.records]
    assert [line.removeprefix(str(path)) for line in lines] == [
        ":2:1: did not find expected node content; its last good content stays",
        ": No such file or directory; its last good content stays",
    ]


def test_a_file_that_cannot_be_read_at_first_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        asyncio.run(Files(tmp_path / "none.yaml").source.prepare())
    (tmp_path / "bad.yaml").write_bytes(b"kind: \xff\n")
    with pytest.raises(ManifestError, match="not UTF-8 at octet 6"):
        asyncio.run(Files(tmp_path / "bad.yaml").source.prepare())


NOT_OURS = {
    "an empty file": "",
    "comments only": "# nothing\n",
    "empty documents": "---\n---\n...\n",
    "another kind": "kind: Deployment\nmetadata: {name: a}\n",
    "no kind": "metadata: {name: a}\n",
    "a list of nothing": '{"kind": "List", "items": null}',
    "a list of other kinds": "kind: List\nitems:\n- {kind: ConfigMap, metadata: {name: a}, data: {a: b}}\n",
    "a time": "kind: Namespace2\nmetadata: {creationTimestamp: 2026-01-01T00:00:00Z}\n",
}


@pytest.mark.parametrize("text", NOT_OURS.values(), ids=NOT_OURS)
def test_what_is_not_for_dns_is_passed_over(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert read_manifest(path).documents == []


def test_times_stay_the_texts_that_they_are(tmp_path: Path) -> None:
    item = namespace("shop")
    item["metadata"]["creationTimestamp"] = "X"
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(item).replace("X", "2026-01-01T00:00:00Z"))
    ((kind, data),) = read_manifest(tmp_path / "a.yaml").documents
    assert kind is objects.Namespace
    assert json.loads(bytes(data))["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


def test_a_bomb_of_aliases_is_an_error_of_its_file(tmp_path: Path) -> None:
    """Nesting without end is refused with a line, and ends nothing."""
    (tmp_path / "deep.yaml").write_text("a: " + "[" * 20_000)
    with pytest.raises(ManifestError) as error:
        read_manifest(tmp_path / "deep.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'deep.yaml'}")
    assert "\n" not in str(error.value)


def test_labels_choose_what_is_taken(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.yaml",
        namespace("shop"),
        web(tier="front"),
        service("shop", "db", "10.0.0.2", labels={"tier": "back"}),
        service("shop", "plain", "10.0.0.3"),
    )

    async def run() -> None:
        files = Files(path, labels={objects.Service: "tier in (front)", objects.Namespace: ""})
        await files.source.prepare()
        assert files.services() == {"web"}
        assert Reader(files.index).namespace("shop")
        write(path, namespace("shop"), web(tier="back"))
        await files.source.poll()
        assert files.services() == set(), "a label that changed is a reason to go"

    asyncio.run(run())


def test_other_work_gets_its_turn_while_a_large_file_is_taken(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.yaml", *(service("shop", f"s{i}", "10.0.0.1") for i in range(5 * manifests.OBJECTS_AT_ONCE))
    )

    async def run() -> None:
        files = Files(path)
        sizes: list[int] = []

        async def look() -> None:
            while True:
                sizes.append(len(files.services()))
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await files.source.prepare()
        looking.cancel()
        steps = [later - earlier for earlier, later in itertools.pairwise(sizes)]
        assert 0 < max(steps) <= manifests.OBJECTS_AT_ONCE
        assert len(files.services()) == 5 * manifests.OBJECTS_AT_ONCE

    asyncio.run(run())


def test_a_large_json_list_is_read_without_a_second_copy(tmp_path: Path) -> None:
    items = [endpoint_slice("shop", f"s{i}", "web", [f"10.0.{i // 250}.{i % 250 + 1}"]) for i in range(2_000)]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"kind": "List", "items": items}))

    async def run() -> None:
        files = Files(path)
        await files.source.prepare()
        assert len(files.index.names(objects.EndpointSlice)) == 2_000
        assert Reader(files.index).owners(bytes([10, 0, 7, 250]))

    asyncio.run(run())
