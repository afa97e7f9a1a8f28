"""Who answers queries, as its numbers are read: one process, or a fleet of workers.

Sees to it that counters never go back when a configuration or a worker ends: what they counted is kept in `metrics`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from dnsd.corefile.syntax import ServerBlock
from dnsd.observe import process
from dnsd.observe.collect import collect, of_faces, of_instance
from dnsd.observe.families import Snapshot, decode, encode
from dnsd.observe.metrics import Metrics
from dnsd.serve.fleet import Fleet
from dnsd.serve.instance import Instance
from dnsd.serve.runtime import Runtime
from dnsd.serve.server import Server


class Answering(Protocol):
    """Whoever answers queries."""

    @property
    def instance(self) -> Instance:
        """The configuration that is served."""

    async def apply(self, blocks: tuple[ServerBlock, ...]) -> None:
        """Serve another configuration.

        Raises:
            CorefileError, SourceError, ListenError: it cannot be used, and the old one goes on.
        """

    async def snapshots(self) -> list[Snapshot]:
        """The numbers of each process."""


class OneProcess:
    """The process answers queries itself."""

    def __init__(self, runtime: Runtime, metrics: Metrics) -> None:
        self._runtime = runtime
        self._metrics = metrics

    @property
    def instance(self) -> Instance:
        """The configuration that is served."""
        return self._runtime.instance

    async def apply(self, blocks: tuple[ServerBlock, ...]) -> None:
        """Serve another configuration, and keep what the plugins and listeners of the old one counted."""
        old, listeners = self._runtime.instance, dict(self._runtime.server.listeners)
        await self._runtime.apply(blocks)
        gone = listeners.keys() - self._runtime.server.listeners.keys()
        faces = [face for address in gone for face in listeners[address].faces]
        self._metrics.keep([*of_faces(faces), *of_instance(old)])

    async def snapshots(self) -> list[Snapshot]:
        """Our own numbers."""
        return [collect(self._runtime.server, self._runtime.instance)]


class Workers:
    """Other processes answer queries, and send their numbers."""

    def __init__(self, fleet: Fleet, metrics: Metrics) -> None:
        self._fleet = fleet
        self._metrics = metrics
        fleet.supervisor.on_gone = self._gone

    @property
    def instance(self) -> Instance:
        """The configuration that is served."""
        return self._fleet.instance

    async def apply(self, blocks: tuple[ServerBlock, ...]) -> None:
        """Serve another configuration."""
        await self._fleet.apply(blocks)

    async def snapshots(self) -> list[Snapshot]:
        """The numbers of the workers, and what the kernel says about this process."""
        return [*map(decode, await self._fleet.snapshots()), process.snapshot()]

    def _gone(self, numbers: bytes) -> None:
        try:
            self._metrics.keep(decode(numbers))
        except msgspec.MsgspecError:
            return  # it died while it wrote


def numbers_of_worker(server: Server, instance: Instance) -> bytes:
    """What a worker sends."""
    return encode(collect(server, instance))
