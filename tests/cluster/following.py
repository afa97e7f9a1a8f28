"""Runs an `ApiSource` inside a test against the API server of the tests, with times that need no waiting.

Knows both; the tests say what is to come of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from dnsd.cluster import objects
from dnsd.cluster.api import ApiSource, ServiceAccount, Timing
from dnsd.cluster.index import Index
from dnsd.cluster.objects import Kind
from dnsd.cluster.store import SourceSettings
from tests.cluster.apiserver import ApiServer, endpoint_slice, namespace, service

ALL_KINDS: tuple[Kind, ...] = (objects.Namespace, objects.Service, objects.EndpointSlice, objects.Pod)
PLURALS = {"Namespace": "namespaces", "Service": "services", "EndpointSlice": "endpointslices", "Pod": "pods"}

NOW = 1_700_000_000.0
"""What the clock shows."""

PATIENCE = 30.0
"""Seconds until a test that waits for something has failed."""


SHOP = (
    namespace("shop"),
    service("shop", "web", "10.96.0.1"),
    service("shop", "db"),
    endpoint_slice("shop", "db-1", "db", ["10.244.0.1", "10.244.0.2"]),
)
"""A small cluster."""


@dataclass
class Times:
    """Clocks that stand still unless a test moves them, and sleeps that are noted instead of slept."""

    elapsed: float = 0.0
    slept: list[float] = field(default_factory=list)
    asked: list[tuple[float, float]] = field(default_factory=list)
    chosen: Callable[[float, float], float] = lambda low, high: (low + high) / 2

    async def sleep(self, seconds: float) -> None:
        """Note the wait, and give the server a moment."""
        self.slept.append(seconds)
        await asyncio.sleep(0.002)

    def uniform(self, low: float, high: float) -> float:
        """Note what was asked for."""
        self.asked.append((low, high))
        return self.chosen(low, high)

    @property
    def timing(self) -> Timing:
        """What the source is given."""
        return Timing(lambda: NOW, lambda: self.elapsed, self.sleep, self.uniform)


@dataclass
class Following:
    """A source that runs, and the index it fills."""

    index: Index
    source: ApiSource
    times: Times
    requests: list[tuple[str, str, str, float]]

    def names(self, kind: Kind) -> set[str]:
        """namespace/name of every object in the index."""
        return {"/".join(key).lstrip("/") for key in self.index.names(kind)}


@contextlib.asynccontextmanager
async def following(
    settings: SourceSettings,
    *,
    kinds: Iterable[Kind] = (objects.Namespace, objects.Service, objects.EndpointSlice),
    account: ServiceAccount | None = None,
    times: Times | None = None,
) -> AsyncIterator[Following]:
    """Run a source as long as the context lasts."""
    times = times or Times()
    requests: list[tuple[str, str, str, float]] = []

    def observe(*request: Any) -> None:
        requests.append(request)

    index = Index(kinds)
    source = ApiSource(index, settings, account=account, timing=times.timing, observe=observe)
    task = asyncio.create_task(source.run())
    try:
        yield Following(index, source, times, requests)
        assert not task.done(), "the source ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


def content(index: Index) -> dict[str, Any]:
    """All that an index holds, to be compared."""
    return {
        "namespaces": index._namespaces,
        "services": index._services,
        "slices": index._slices,
        "slices of services": {key: set(slices) for key, slices in index._slices_of.items()},
        "pods": index._pods,
        "owners": {address: set(index._owners_of(address)) for address in index._owners},
    }


def held_by(server: ApiServer, kinds: Iterable[Kind]) -> dict[str, Any]:
    """The content of an index that was told what the server holds, object by object."""
    index = Index(kinds)
    for kind in kinds:
        for item in server.items(PLURALS[kind.__name__]):
            index.put(msgspec.convert(item, kind), NOW)
    return content(index)


async def in_step(followed: Following, server: ApiServer, kinds: tuple[Kind, ...] = ()) -> None:
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
