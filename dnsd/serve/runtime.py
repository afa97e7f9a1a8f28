"""dnsd at work in one process: clusters, plugins and sockets of a configuration, and the change to the next one."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

from dnsd.corefile.syntax import ServerBlock
from dnsd.plugins.build import Host
from dnsd.serve.instance import Instance, make_instance
from dnsd.serve.server import Server, Sockets

SYNC_SECONDS = 5.0
"""That a new configuration waits for a cluster that it is the first to name; the old one serves meanwhile."""
GC_THRESHOLDS = (20_000, 20, 100)
"""Objects and collections between garbage collections: queries make no cycles, and a full collection takes
milliseconds that some client would wait for."""


class Runtime:
    """Serves one configuration after another."""

    def __init__(self, host: Host, *, batches: bool = True) -> None:
        self.host = host
        self.server = Server(host.clock, batches=batches)
        self.instance: Instance
        host.clusters.listeners.append(self.server.drop)

    async def prepare(self, blocks: tuple[ServerBlock, ...]) -> Instance:
        """Build a configuration and find out whether its clusters can be used; nothing runs yet.

        Raises:
            CorefileError, SourceError: it cannot be used.
        """
        return await prepare(self.host, blocks)

    async def start(self, instance: Instance, sockets: Sockets | None = None) -> None:
        """Serve what `prepare` built.

        Raises:
            ListenError: an address cannot be used.
        """
        self.instance = instance
        gc.set_threshold(*GC_THRESHOLDS)
        await self.server.start(instance, sockets)
        await instance.start()
        self.host.clusters.when_synced(freeze)

    async def apply(self, blocks: tuple[ServerBlock, ...]) -> None:
        """Serve another configuration; no query is lost.

        Raises:
            CorefileError, SourceError, ListenError: it cannot be used, and the old one goes on.
        """
        new = await self.prepare(blocks)
        await new.start()
        try:
            await wait_for_sync(self.host)
            await self.server.use(new)
        except BaseException:
            await new.stop()
            raise
        old, self.instance = self.instance, new
        await old.stop()

    async def stop(self) -> None:
        """Finish the queries under way, then stop."""
        await self.server.close()
        await self.instance.stop()


async def prepare(host: Host, blocks: tuple[ServerBlock, ...]) -> Instance:
    """Build a configuration and find out whether its clusters can be used; where it cannot, nothing of it is left.

    Raises:
        CorefileError, SourceError: it cannot be used.
    """
    try:
        instance = make_instance(blocks, host)
        await host.clusters.prepare()
    except BaseException:
        host.clusters.forget_unused()
        raise
    return instance


async def wait_for_sync(host: Host) -> None:
    """Wait until every cluster has been listed, for SYNC_SECONDS at most."""
    synced = asyncio.Event()
    host.clusters.when_synced(synced.set)
    with suppress(TimeoutError):
        async with asyncio.timeout(SYNC_SECONDS):
            await synced.wait()


def freeze() -> None:
    """Leave what there is to no garbage collection any more: the index has no cycles, and is looked at for nothing."""
    gc.collect()
    gc.freeze()
