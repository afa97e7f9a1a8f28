"""Who answers queries, as operators see it: one process, or a fleet of workers.

Sees to it that counters never go back when a configuration or a worker ends: what they counted is kept in `metrics`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from dnsd.corefile.syntax import ServerBlock
from dnsd.observe import process
from dnsd.observe.collect import collect, of_faces, of_instance
from dnsd.observe.endpoints import Place
from dnsd.observe.families import Snapshot
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

    async def snapshots(self, instance: Instance) -> list[Snapshot]:
        """The numbers of each process."""

    async def unready(self, instance: Instance) -> set[Place]:
        """Plugins that cannot do their job yet, in one process at least."""


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

    async def snapshots(self, instance: Instance) -> list[Snapshot]:
        """Our own numbers."""
        return [collect(self._runtime.server, instance)]

    async def unready(self, instance: Instance) -> set[Place]:
        """Our own plugins."""
        return unready(instance)


class Report(msgspec.Struct, array_like=True):
    """What a worker says about itself."""

    numbers: Snapshot
    unready: set[Place]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Report).decode


class Workers:
    """Other processes answer queries, and report."""

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

    async def snapshots(self, instance: Instance) -> list[Snapshot]:  # noqa: ARG002  workers know what they serve
        """The numbers of the workers, and what the kernel says about this process."""
        return [*(report.numbers for report in await self._reports()), process.snapshot()]

    async def unready(self, instance: Instance) -> set[Place]:
        """Plugins of any worker; all of them while there is no worker."""
        reports = await self._reports()
        if not reports:
            return {(i, plugin.name) for i, built in enumerate(instance.blocks) for plugin in built.plugins}
        return set().union(*(report.unready for report in reports))

    async def _reports(self) -> list[Report]:
        return [_decode(data) for data in await self._fleet.snapshots()]

    def _gone(self, last: bytes) -> None:
        self._metrics.keep(_decode(last).numbers)


def report(server: Server, instance: Instance) -> bytes:
    """What a worker sends when it is asked."""
    return _encode(Report(collect(server, instance), unready(instance)))


def unready(instance: Instance) -> set[Place]:
    """The plugins of this process that cannot do their job yet."""
    return {(i, plugin.name) for i, built in enumerate(instance.blocks) for plugin in built.plugins if not plugin.ready}
