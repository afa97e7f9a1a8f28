"""What an API server holds: objects, a window of history, watches that wait, lists under way. Knows no sockets."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.cluster.apiobjects import PATHS, PLURALS, Json, event, gone

Key = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """One entry of the history."""

    version: int
    key: Key
    old: Json | None
    new: Json | None

    def event(self, picks: Callable[[Json], bool]) -> bytes | None:
        """The event of this change for a watch with a selector; None where it sees nothing of it."""
        before = self.old is not None and picks(self.old)
        if self.new is not None and picks(self.new):
            return event("MODIFIED" if before else "ADDED", self.new)
        if not before:
            return None
        last = copy.deepcopy(self.new or self.old) or {}
        last["metadata"]["resourceVersion"] = str(self.version)
        return event("DELETED", last)


@dataclass(eq=False)
class OpenWatch:
    """A watch that somebody holds: lines wait in `lines`; None cuts it off."""

    picks: Callable[[Json], bool]
    lines: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)


class Store:
    """Objects by plural, then by namespace and name. One resourceVersion counts for all."""

    def __init__(self, window: int) -> None:
        self.version = 1000
        self.items: dict[str, dict[Key, Json]] = {plural: {} for plural in PATHS}
        self.watches: dict[str, set[OpenWatch]] = {plural: set() for plural in PATHS}
        self.pages: dict[str, tuple[int, list[Json]]] = {}
        """By `continue` token: the resourceVersion of the list, and what is left of it."""
        self._window = window
        self._history: dict[str, deque[Change]] = {plural: deque() for plural in PATHS}
        self._forgotten: dict[str, int] = dict.fromkeys(PATHS, self.version)
        self._tokens = itertools.count(1)

    def put(self, *given: Json) -> None:
        """Create or update objects."""
        for item in given:
            key = (item["metadata"].get("namespace", ""), item["metadata"]["name"])
            self._change(PLURALS[item["kind"]], key, copy.deepcopy(item))

    def delete(self, plural: str, key: Key) -> None:
        """Delete an object, or raise KeyError."""
        self._change(plural, key, None)

    def _change(self, plural: str, key: Key, new: Json | None) -> None:
        items, history = self.items[plural], self._history[plural]
        old = items[key] if new is None else items.get(key)
        self.version += 1
        if new is None:
            del items[key]
        else:
            new["metadata"]["resourceVersion"] = str(self.version)
            items[key] = new
        change = Change(self.version, key, old, new)
        history.append(change)
        if len(history) > self._window:
            self._forgotten[plural] = history.popleft().version
        for watch in self.watches[plural]:
            if line := change.event(watch.picks):
                watch.lines.put_nowait(line)

    def forget(self, plural: str) -> None:
        """Forget the history of a kind, as etcd does when it compacts."""
        self.version += 1
        self._history[plural].clear()
        self._forgotten[plural] = self.version

    def forgotten(self, plural: str, version: int) -> bool:
        """Whether a watch cannot be resumed from `version`."""
        return 0 < version < self._forgotten[plural]

    def tell(self, plural: str, line: bytes | None) -> None:
        """Write a line into the open watches of a kind, or cut them off."""
        for watch in self.watches[plural]:
            watch.lines.put_nowait(line)

    def bookmark(self, plural: str, **annotations: str) -> bytes:
        """The BOOKMARK of now."""
        kind, api, _ = PATHS[plural]
        metadata = {"resourceVersion": str(self.version), "annotations": annotations}
        return event("BOOKMARK", {"kind": kind, "apiVersion": api, "metadata": metadata})

    def page(self, plural: str, picks: Callable[[Json], bool], limit: int, token: str) -> Json:
        """One page of a list: all of it where `limit` is 0, the first one where `token` is empty."""
        whole = (self.version, [item for item in self.items[plural].values() if picks(item)])
        version, rest = self.pages.pop(token) if token else whole
        page, rest = (rest[:limit], rest[limit:]) if limit else (rest, [])
        metadata = {"resourceVersion": str(version)}
        if rest:
            metadata["continue"] = f"page-{next(self._tokens)}"
            self.pages[metadata["continue"]] = (version, rest)
        kind, api, _ = PATHS[plural]
        return {"kind": f"{kind}List", "apiVersion": api, "metadata": metadata, "items": page}

    def first_lines(self, plural: str, picks: Callable[[Json], bool], version: int, *, end: bool) -> Iterator[bytes]:
        """What a new watch is told about what happened before it; `end` marks the end of a streaming list."""
        if not version:
            yield from (event("ADDED", item) for item in self.items[plural].values() if picks(item))
            if end:
                yield self.bookmark(plural, **{"k8s.io/initial-events-end": "true"})
        elif self.forgotten(plural, version):
            yield event("ERROR", gone())
        else:
            for change in self._history[plural]:
                if change.version > version and (line := change.event(picks)):
                    yield line
