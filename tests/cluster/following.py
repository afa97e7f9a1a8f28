"""Runs an `ApiSource` inside a test against the API server of the tests, with times that need no waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dnsd.cluster import objects
from dnsd.cluster.api import ApiSource, ServiceAccount, Timing
from dnsd.cluster.index import Index
from dnsd.cluster.objects import Kind
from dnsd.cluster.store import SourceSettings
from tests.cluster.apiserver import ApiServer

ALL_KINDS: tuple[Kind, ...] = (objects.Namespace, objects.Service, objects.EndpointSlice, objects.Pod)
PLURALS = {"Namespace": "namespaces", "Service": "services", "EndpointSlice": "endpointslices", "Pod": "pods"}

NOW = 1_700_000_000.0
"""What the clock shows."""

PATIENCE = 30.0
"""Seconds until a test that waits for something has failed."""


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
