"""The clusters that a configuration names: one index for each source, however many stanzas and reloads share it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from dnsd.cluster import objects
from dnsd.cluster.index import Index, Key, Listener
from dnsd.cluster.objects import Kind

log = logging.getLogger("dnsd.cluster")


class SourceError(Exception):
    """A source that cannot be used: one line that says where and what."""


class SourceSettings(msgspec.Struct, frozen=True):
    """Where a cluster comes from; equal settings are one cluster."""

    manifests: tuple[str, ...] = ()
    """Files and folders; the API server where empty."""
    endpoint: str = ""
    tls: tuple[str, str, str] | None = None
    """Certificate, key and CA files."""
    kubeconfig: str = ""
    context: str = ""
    labels: str = ""
    """Label selector on Services, EndpointSlices and Pods."""
    namespace_labels: str = ""
    """Label selector on Namespaces."""
    endpoints: bool = True
    pods: bool = False
    imports: bool = False
    """Whether what is wanted are the ServiceImports of a set of clusters (KEP-1645), and not the Services of one."""
    pod_names: bool = False
    """Whether endpoints are named after their pods (`endpoint_pod_names`)."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What has to be watched, and nothing else."""
        if self.imports:
            return (objects.Namespace, objects.ServiceImport, objects.EndpointSlice)
        kinds: list[Kind] = [objects.Namespace, objects.Service]
        if self.endpoints:
            kinds.append(objects.EndpointSlice)
        if self.pods:
            kinds.append(objects.Pod)
        return tuple(kinds)


class Source(Protocol):
    """What fills an index."""

    async def prepare(self) -> None:
        """Find out whether the source can be used at all; fill the index if that is a matter of moments.

        Raises:
            SourceError: it cannot.
        """

    async def run(self) -> None:
        """Fill the index, and keep it up to date until cancelled."""


@dataclass(slots=True)
class Cluster:
    """One index with its source."""

    number: int
    """Tells clusters apart between processes; never given twice."""
    settings: SourceSettings
    index: Index
    source: Source
    prepared: bool = False
    task: asyncio.Task[None] | None = None
    users: int = 0


@dataclass(slots=True)
class Clusters:
    """The clusters in use, shared by every stanza that names the same source, across reloads."""

    make_source: Callable[[SourceSettings, Index], Source]
    manifests: tuple[str, ...] = ()
    """Where stanzas that name no source take the cluster from (`--manifests`); the API server where empty."""
    listeners: list[Listener] = field(default_factory=list)
    """Told of every change in any of the clusters."""
    by_settings: dict[SourceSettings, Cluster] = field(default_factory=dict)
    following: bool = False
    """Whether another process runs the sources, and tells this one."""
    _made: int = 0

    def get(self, settings: SourceSettings) -> Cluster:
        """The cluster with these settings, made if need be."""
        cluster = self.by_settings.get(settings)
        if cluster is None:
            index = Index(settings.kinds, pod_names=settings.pod_names)
            index.listeners.append(self.changed)
            self._made += 1
            cluster = Cluster(self._made, settings, index, self.make_source(settings, index))
            self.by_settings[settings] = cluster
        return cluster

    async def prepare(self) -> None:
        """Prepare each source that is new.

        Raises:
            SourceError: one of them cannot be used; those that are new are forgotten.
        """
        fresh = [cluster for cluster in self.by_settings.values() if not cluster.prepared]
        try:
            for cluster in fresh:
                await cluster.source.prepare()
                cluster.prepared = True
        except SourceError:
            for cluster in fresh:
                self.by_settings.pop(cluster.settings, None)
            raise

    def forget_unused(self) -> None:
        """Forget the clusters without a user: only a configuration that was refused named them."""
        for cluster in list(self.by_settings.values()):
            if cluster.users == 0:
                del self.by_settings[cluster.settings]

    def follow(self) -> None:
        """Run no source any more: another process does."""
        self.following = True

    def use(self, cluster: Cluster) -> None:
        """Count one more user; the first starts the source."""
        cluster.users += 1
        if cluster.task is None and not self.following:
            cluster.task = asyncio.create_task(cluster.source.run())
            cluster.task.add_done_callback(_report)

    async def release(self, cluster: Cluster) -> None:
        """Count one user less; the last stops the source."""
        cluster.users -= 1
        if cluster.users == 0 and cluster.task is not None and not self.following:
            self.by_settings.pop(cluster.settings, None)
            cluster.task.cancel()
            await asyncio.gather(cluster.task, return_exceptions=True)

    def changed(self, keys: frozenset[Key]) -> None:
        """Tell the listeners what changed."""
        for listener in tuple(self.listeners):
            listener(keys)

    @property
    def synced(self) -> bool:
        """Whether every cluster has been listed once."""
        return all(cluster.index.synced for cluster in self.by_settings.values())

    def when_synced(self, then: Callable[[], None]) -> None:
        """Call `then` as soon as every cluster has been listed once, which may be now."""

        def look(_: frozenset[Key] = frozenset()) -> None:
            if self.synced:
                self.listeners.remove(look)
                then()

        self.listeners.append(look)
        look()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the watch of the cluster ended", exc_info=task.exception())
