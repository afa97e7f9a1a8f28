"""dnsd at work in several processes on one port: a supervisor that watches the clusters, and workers that answer.

Each worker has sockets of its own (SO_REUSEPORT), bound by the supervisor and kept open there: what is asked while a
worker is replaced waits for its heir. Changes of the clusters go to every worker as they are seen.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TypeVar

import msgspec

from dnsd.cluster.index import Change
from dnsd.cluster.store import Cluster
from dnsd.corefile.syntax import ServerBlock
from dnsd.plugins.build import Host
from dnsd.serve.instance import Instance
from dnsd.serve.runtime import Runtime, freeze, prepare, wait_for_sync
from dnsd.serve.server import DRAIN_SECONDS, ListenError, Server, Sockets, close_sockets, open_sockets
from dnsd.serve.supervisor import Supervisor, pack, receive

log = logging.getLogger("dnsd")

T = TypeVar("T")
Snapshot = Callable[[Server, Instance], bytes]
"""The numbers of one worker, for whoever adds up those of all."""

SNAPSHOT = b""
"""The message that asks a worker for its numbers; every other one is changes."""


class Changes(msgspec.Struct):
    """A change of one cluster, by its number."""

    cluster: int
    change: Change


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Changes).decode


class Fleet:
    """Serves one configuration after another with `count` workers."""

    def __init__(
        self, host: Host, count: int, run_loop: Callable[[Coroutine[object, object, int]], int], snapshot: Snapshot
    ) -> None:
        self.host = host
        self.instance: Instance
        self._run_loop = run_loop
        self._snapshot = snapshot
        self._sockets: list[Sockets] = [{} for _ in range(count)]
        self._clusters: list[Cluster] = []
        self.supervisor = Supervisor(count, self._work, self._keep)

    def run(self, main: Coroutine[object, object, T]) -> T:
        """Run the supervisor's `main`."""
        return self.supervisor.run(main)

    async def prepare(self, blocks: tuple[ServerBlock, ...]) -> Instance:
        """Build a configuration and find out whether its clusters can be used; nothing runs yet.

        Raises:
            CorefileError, SourceError: it cannot be used.
        """
        return await prepare(self.host, blocks)

    async def start(self, instance: Instance) -> None:
        """Open the sockets, watch the clusters, and start the workers.

        Workers start at once, so that names outside the clusters are answered, and are replaced after the first sync,
        so that they share the memory of what was listed.

        Raises:
            ListenError: an address cannot be used.
        """
        self.instance = instance
        self._open(instance)
        self._watch(instance)
        await self.supervisor.start()
        if not self.host.clusters.synced:
            self.host.clusters.when_synced(self._synced)

    async def apply(self, blocks: tuple[ServerBlock, ...]) -> None:
        """Serve another configuration: workers that have it take over one by one, and no query is lost.

        Raises:
            CorefileError, SourceError, ListenError: it cannot be used, and the old one goes on.
        """
        new = await self.prepare(blocks)
        try:
            self._open(new)
        except ListenError:
            self.host.clusters.forget_unused()
            raise
        old_clusters = self._clusters
        self._watch(new)
        await wait_for_sync(self.host)
        self.instance = new
        await self.supervisor.roll()
        for sockets in self._sockets:
            close_sockets({address: sockets.pop(address) for address in list(sockets) if address not in new.fronts})
        for cluster in old_clusters:
            await self.host.clusters.release(cluster)

    async def snapshots(self) -> list[bytes]:
        """The numbers of every worker."""
        return await self.supervisor.ask(SNAPSHOT)

    async def stop(self) -> None:
        """Let the workers finish the queries under way, then stop."""
        await self.supervisor.stop(DRAIN_SECONDS + 1.0)
        for cluster in self._clusters:
            await self.host.clusters.release(cluster)
        for sockets in self._sockets:
            close_sockets(sockets)

    # -- in the supervisor

    def _open(self, instance: Instance) -> None:
        """Bind what is new, once for each worker; a port that the kernel picks is the same for all."""
        new = [address for address in instance.fronts if address not in self._sockets[0]]
        opened = [open_sockets(new, share=True)]
        try:
            for _ in self._sockets[1:]:
                opened.append({})
                for address, pairs in opened[0].items():
                    same = address._replace(port=pairs[0][1].getsockname()[1])
                    opened[-1][address] = open_sockets([same], share=True)[same]
        except ListenError:
            for sockets in opened:
                close_sockets(sockets)
            raise
        for sockets, more in zip(self._sockets, opened, strict=True):
            sockets.update(more)

    def _watch(self, instance: Instance) -> None:
        self._clusters = list({cluster.number: cluster for p in instance.plugins for cluster in p.clusters}.values())
        for cluster in self._clusters:
            cluster.index.followers[:] = [partial(self._tell, cluster.number)]
            self.host.clusters.use(cluster)

    def _tell(self, number: int, change: Change) -> None:
        self.supervisor.broadcast(_encode(Changes(number, change)))

    def _synced(self) -> None:
        freeze()
        self._rolling = asyncio.get_running_loop().create_task(self.supervisor.roll())

    def _keep(self, number: int) -> set[int]:
        sockets = (sock for pairs in self._wanted(number).values() for pair in pairs for sock in pair)
        return {sock.fileno() for sock in sockets if sock is not None}

    def _wanted(self, number: int) -> Sockets:
        """The sockets of a worker; one that it kept and did not read from would swallow what is sent there."""
        return {address: pairs for address, pairs in self._sockets[number].items() if address in self.instance.fronts}

    # -- in a worker

    def _work(self, number: int, channel: socket.socket) -> int:
        return self._run_loop(self._answer_queries(number, channel))

    async def _answer_queries(self, number: int, channel: socket.socket) -> int:
        clusters = self.host.clusters
        clusters.listeners.clear()
        clusters.follow()
        indexes = {cluster.number: cluster.index for cluster in self._clusters}
        for index in indexes.values():
            index.followers.clear()
        runtime = Runtime(self.host)
        await runtime.start(self.instance, self._wanted(number))
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        writer.write(pack(b"serving"))
        while (message := await receive(reader)) is not None:
            if message == SNAPSHOT:
                writer.write(pack(self._snapshot(runtime.server, self.instance)))
            else:
                found = _decode(message)
                if found.cluster in indexes:
                    indexes[found.cluster].apply(found.change)
        await runtime.stop()
        if not writer.is_closing():
            writer.write(pack(self._snapshot(runtime.server, self.instance)))
            writer.close()
        return 0
