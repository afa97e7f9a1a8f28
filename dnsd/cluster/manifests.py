"""A cluster from files: YAML or JSON, several documents, `kind: List`, folders; read again when they change.

Knows files and the index; knows no names or records. A file that breaks while dnsd runs keeps its last good content.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from dnsd.cluster import objects, selector
from dnsd.cluster.index import Index
from dnsd.cluster.objects import KINDS, Kind
from dnsd.cluster.store import SourceError

log = logging.getLogger("dnsd.cluster")

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""What is read of a folder; a file named outright may have any."""
POLL_SECONDS = 1.0
"""How often files are looked at for changes: one `stat` each."""
OBJECTS_AT_ONCE = 200
"""Objects that are indexed before queries get their turn: about 2 ms."""

Identity = tuple[Kind, str, str]
"""Kind, namespace and name of an object."""


class ManifestError(SourceError):
    """A manifest that cannot be read: `FILE:LINE:COLUMN: what is wrong`."""


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a time stamp stays the text that it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class _Head(msgspec.Struct, gc=False):
    """What tells one document from another."""

    kind: str | None = None
    items: list[msgspec.Raw] | None = None


class _LabelsOnly(msgspec.Struct, gc=False):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct, gc=False):
    metadata: _LabelsOnly | None = None


_read_head = msgspec.json.Decoder(_Head).decode
_read_labels = msgspec.json.Decoder(_Labelled).decode
_read_kind: dict[Kind, Callable[[bytes | msgspec.Raw], objects.Object]] = {
    kind: msgspec.json.Decoder(kind).decode for kind in KINDS.values()
}

Document = tuple[Kind, bytes | msgspec.Raw]
"""One object as JSON, and what kind it is."""


@dataclass(slots=True)
class Manifest:
    """The objects in a file that DNS reads, in order, and the memory that they lie in."""

    documents: list[Document]
    memory: mmap.mmap | None = None

    def forget(self, octets: int) -> None:
        """Give back the memory of documents that are done with, `octets` in all: a large file need not stay whole."""
        if self.memory is not None and octets >= mmap.PAGESIZE:
            self.memory.madvise(mmap.MADV_DONTNEED, 0, octets // mmap.PAGESIZE * mmap.PAGESIZE)


def read_manifest(path: Path) -> Manifest:
    """The objects in a file.

    Raises:
        ManifestError: the file cannot be read, or is neither YAML nor JSON.
    """
    try:
        with path.open("rb") as file:
            # a copy, not a mapping of the file: one that is cut short while it is mapped kills the process
            memory = mmap.mmap(-1, max(1, os.fstat(file.fileno()).st_size))
            size = file.readinto(memory)
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    if memory[:64].lstrip()[:1] == b"{":
        try:
            return Manifest(list(_objects(memoryview(memory)[:size], "")), memory)
        except msgspec.MsgspecError:
            pass  # YAML may begin with a brace too, and says better where it breaks
    try:
        text = memory[:size].decode("utf-8-sig")
        found = [item for document in yaml.load_all(text, _Loader) for item in _from_yaml(document)]
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 at octet {error.start}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ManifestError(f"{where}: {error.problem}") from error
    except (yaml.YAMLError, msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
        raise ManifestError(f"{path}: {str(error).splitlines()[0]}") from error
    return Manifest(found)


def _from_yaml(document: Any) -> Iterator[Document]:
    if document is None:
        return
    if not isinstance(document, Mapping):
        raise TypeError("a document that is no object")
    yield from _objects(msgspec.json.encode(document), "")


def _objects(data: bytes | memoryview | msgspec.Raw, default: str) -> Iterator[Document]:
    head = _read_head(data)
    kind = head.kind or default
    if kind.endswith("List"):
        for item in head.items or ():
            yield from _objects(item, kind.removesuffix("List"))
    elif kind in KINDS:
        yield KINDS[kind], msgspec.Raw(data) if isinstance(data, memoryview) else data


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What changes when a file does."""

    inode: int
    size: int
    modified: int


class FileSource:
    """Fills an index from files and folders, and follows their changes."""

    def __init__(
        self, paths: tuple[str, ...], index: Index, wall_clock: Callable[[], float], labels: Mapping[Kind, str]
    ) -> None:
        self._paths = [Path(path) for path in paths]
        self._index = index
        self._now = wall_clock
        self._selectors = {kind: selector.parse(text) for kind, text in labels.items() if text}
        self._stamps: dict[Path, _Stamp] = {}
        self._held: dict[Path, set[Identity]] = {}
        self._reported: dict[Path, str] = {}

    async def prepare(self) -> None:
        """Read everything once.

        Raises:
            ManifestError: a path cannot be read.
        """
        for path in self._files(strict=True):
            self._stamps[path] = _stamp(path)
            await self._take(path, read_manifest(path))
        for kind in self._index.kinds:
            self._index.mark_synced(kind)

    async def run(self) -> None:
        """Follow changes until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.poll()

    async def poll(self) -> None:
        """Look at every file once, and read again those that changed."""
        present = self._files(strict=False)
        for path in set(self._held) - set(present):
            self._stamps.pop(path, None)
            self._drop(self._held.pop(path))
        for path in present:
            try:
                stamp = _stamp(path)
                if self._stamps.get(path) == stamp:
                    continue
                found = await asyncio.to_thread(read_manifest, path)
            except (OSError, ManifestError) as error:
                self._report(path, f"{error}; its last good content stays")
                continue
            self._stamps[path] = stamp
            self._reported.pop(path, None)
            await self._take(path, found)

    def _files(self, *, strict: bool) -> list[Path]:
        files: list[Path] = []
        for path in self._paths:
            if path.is_dir():
                files += sorted(
                    item
                    for item in path.rglob("*")
                    if item.suffix in SUFFIXES
                    and item.is_file()
                    and not any(part.startswith(".") for part in item.relative_to(path).parts)
                )
            elif strict or path.exists() or path in self._held:  # one that is gone is reported by whoever opens it
                files.append(path)
        return files

    async def _take(self, path: Path, manifest: Manifest) -> None:
        """Index the objects of one file, and drop those that it no longer has."""
        held: set[Identity] = set()
        octets = 0
        for count, (kind, data) in enumerate(manifest.documents):
            if count % OBJECTS_AT_ONCE == OBJECTS_AT_ONCE - 1:
                manifest.forget(octets)
                await asyncio.sleep(0)
            octets += len(memoryview(data))
            try:
                chosen = self._selectors.get(kind)
                if chosen is not None and not chosen(_labels(data)):
                    continue
                item = _read_kind[kind](data)
            except msgspec.MsgspecError as error:
                self._report(path, f"{path}: a {kind.__name__} that makes no sense is left out: {error}", count)
                continue
            held.add((kind, item.metadata.namespace, item.metadata.name))
            self._index.put(item, self._now())
        gone = self._held.get(path, set()) - held
        self._held[path] = held
        self._drop(gone)

    def _drop(self, gone: set[Identity]) -> None:
        for identity in gone:
            if not any(identity in held for held in self._held.values()):
                self._index.delete(*identity, self._now())

    def _report(self, path: Path, text: str, item: int | None = None) -> None:
        """Log once, until the file changes or says something else."""
        key = path if item is None else path / str(item)
        if self._reported.get(key) != text:
            self._reported[key] = text
            log.warning("%s", text)


def _labels(data: bytes | msgspec.Raw) -> Mapping[str, str]:
    metadata = _read_labels(data).metadata
    return (metadata.labels if metadata else None) or {}


def _stamp(path: Path) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
