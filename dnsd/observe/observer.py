"""Everything that operators look at, for one configuration after another: the pages, and the numbers behind them.

Joins `metrics` and `endpoints` to whoever answers queries; knows not how, nor in how many processes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from dnsd.cluster.store import Clusters
from dnsd.corefile.syntax import ServerBlock
from dnsd.observe.answering import Answering
from dnsd.observe.endpoints import Endpoints, Readiness
from dnsd.observe.metrics import Metrics
from dnsd.serve.instance import Instance
from dnsd.serve.server import ListenError

log = logging.getLogger("dnsd")


class Observer:
    """The pages of a process.

    Args:
        metrics: what is not of a single process that answers queries.
        clusters: the clusters in use.
        answering: whose numbers are told.
        clock: seconds on the monotonic clock.
    """

    def __init__(self, metrics: Metrics, clusters: Clusters, answering: Answering, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clusters = clusters
        self._answering = answering
        self._instance: Instance
        self._readiness: Readiness
        self._endpoints = Endpoints(self.unready, self.page, metrics.health, clock)
        self._one_at_a_time = asyncio.Lock()

    async def start(self, instance: Instance) -> None:
        """Open the pages that a configuration names.

        Raises:
            ListenError: an address cannot be used.
        """
        self._follow(instance)
        await self._endpoints.use(instance)

    async def apply(self, blocks: tuple[ServerBlock, ...]) -> None:
        """Serve another configuration, and show its pages; an address of theirs that cannot be used is logged.

        Raises:
            CorefileError, SourceError, ListenError: it cannot be used, and the old one goes on.
        """
        await self._answering.apply(blocks)
        instance = self._answering.instance
        self._follow(instance)
        try:
            await self._endpoints.use(instance)
        except ListenError as error:
            log.warning("%s; the pages stay where they were", error)

    def _follow(self, instance: Instance) -> None:
        self._metrics.follow(self._clusters)
        self._instance, self._readiness = instance, Readiness(instance)

    async def close_ready(self) -> None:
        """End /ready before anything else ends."""
        await self._endpoints.close_ready()

    async def stop(self) -> None:
        """End all pages."""
        await self._endpoints.stop()

    async def unready(self) -> list[str]:
        """Names of the plugins that cannot do their job yet."""
        readiness = self._readiness
        if readiness.final:
            return []
        async with self._one_at_a_time:
            return readiness.names(await self._answering.unready(self._instance))

    async def page(self) -> bytes:
        """The text of /metrics; who scrapes at the same time waits."""
        async with self._one_at_a_time:
            return self._metrics.page(await self._answering.snapshots(self._instance))
