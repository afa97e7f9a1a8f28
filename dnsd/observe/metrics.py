"""The page /metrics: what all processes counted, and what is not of a single one of them.

Knows the API server's requests, the age of the watches, how long changes of the cluster took to arrive, health checks
and reloads; adds snapshots of processes, and what processes and configurations that are gone have left. spec.md 7.1.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

from dnsd import __version__
from dnsd.cluster.store import Cluster, Clusters, SourceSettings
from dnsd.observe.endpoints import HealthLog
from dnsd.observe.families import Family, Snapshot, counter, expose, gauge, histogram, lasting, merge
from dnsd.resolve.histogram import Histogram
from dnsd.serve.reload import Reloader

HEALTH_BOUNDS = tuple(0.00025 * 10**k for k in range(5))
"""Seconds."""
PROGRAMMING_BOUNDS = tuple(0.001 * 2**k for k in range(20))
"""Seconds."""
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds; Prometheus's default buckets."""
SERVICE_KINDS = {"headless": "headless_with_selector", "cluster": "cluster_ip"}
"""The index's types of Service that are observed, as the reference names them."""
ALWAYS = (
    ("coredns_local_localhost_requests_total", "Queries for names under localhost."),
    ("coredns_forward_healthcheck_broken_total", "Queries sent though all upstreams are down."),
    ("coredns_forward_max_concurrent_rejects_total", "Queries refused by max_concurrent."),
)
"""Counters without labels that are there from the start, whether or not their plugin is used."""


class WatchNumbers(Protocol):
    """What the watch of one kind counts."""

    last_event: float
    lists: int
    reconnects: int
    skipped: int


@runtime_checkable
class Watching(Protocol):
    """A source that watches the API server."""

    watches: Mapping[str, WatchNumbers]


class Metrics:
    """What /metrics says; `wall_clock` gives seconds since 1970."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self.reloader: Reloader | None = None
        self.health = HealthLog(Histogram(HEALTH_BOUNDS))
        self._now = wall_clock
        self._clusters: Clusters | None = None
        self._programming: dict[str, Histogram] = {}
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._request_seconds: dict[tuple[str, str], Histogram] = {}
        self._gone: Snapshot = []

    # -- what is told to us

    def observe_request(self, method: str, host: str, code: str, seconds: float) -> None:
        """A request to the API server: status code or `<error>`, and seconds until the headers of the answer."""
        self._requests[code, host, method] += 1
        durations = self._request_seconds.get((host, method))
        if durations is None:
            durations = self._request_seconds[host, method] = Histogram(REQUEST_BOUNDS)
        durations.add(seconds)

    def follow(self, clusters: Clusters) -> None:
        """Observe the slice events of every cluster in use; called for each new configuration."""
        self._clusters = clusters
        for cluster in clusters.by_settings.values():
            if not any(isinstance(listener, _Trigger) for listener in cluster.index.trigger_listeners):
                cluster.index.trigger_listeners.append(_Trigger(self, cluster))

    def observe_trigger(self, trigger: str, service_type: str) -> None:
        """A slice event: when the change happened that led to it (RFC 3339), and the type of its Service.

        Text that is no time, and a time that is still to come, are what a clock elsewhere may give; they do no harm.
        """
        kind = SERVICE_KINDS.get(service_type)
        try:
            moment = datetime.fromisoformat(trigger)
        except ValueError:
            return
        if kind is None or moment.tzinfo is None:
            return
        durations = self._programming.get(kind)
        if durations is None:
            durations = self._programming[kind] = Histogram(PROGRAMMING_BOUNDS)
        durations.add(max(0.0, self._now() - moment.timestamp()))

    def keep(self, snapshot: Iterable[Family]) -> None:
        """Go on counting what a process or a configuration that is gone had counted."""
        self._gone = merge([self._gone, lasting(snapshot)])

    # -- what we tell

    def page(self, snapshots: Iterable[Snapshot]) -> bytes:
        """The text for a scrape, with the present snapshot of each process."""
        parts = merge([self._own(), self._gone, *snapshots])
        named = {family.name for family in parts}
        for name, help_ in ALWAYS:
            if name not in named:
                family = counter(name, help_)
                family.add(0)
                parts.append(family)
        return expose(parts)

    def _own(self) -> Snapshot:
        build = gauge("coredns_build_info", "What runs here.")
        build.add(1, version=__version__, revision="", goversion=f"python{platform.python_version()}")
        return [build, *self._health(), *self._reloads(), *self._api(), *self._delays(), *self._freshness()]

    def _health(self) -> Snapshot:
        seconds = histogram("coredns_health_request_duration_seconds", "Seconds that a look at /health took.")
        seconds.observe(self.health.seconds)
        failures = counter("coredns_health_request_failures_total", "Looks at /health that failed.")
        failures.add(self.health.failures)
        return [seconds, failures]

    def _reloads(self) -> Snapshot:
        failed = counter("coredns_reload_failed_total", "Changed Corefiles that could not be used.")
        version = gauge("coredns_reload_version_info", "The Corefile that is served.")
        failed.add(self.reloader.failed if self.reloader else 0)
        if self.reloader and (self.reloader.attempts or self.reloader.failed):
            version.add(1, hash="sha512", value=self.reloader.version)
        return [failed, version]

    def _api(self) -> Snapshot:
        prefix = "coredns_kubernetes_rest_client"
        requests = counter(f"{prefix}_requests_total", "Requests to the API server.")
        for (code, host, method), count in self._requests.items():
            requests.add(count, code=code, host=host, method=method)
        seconds = histogram(f"{prefix}_request_duration_seconds", "Seconds until the API server answered.")
        waits = histogram(f"{prefix}_rate_limiter_duration_seconds", "Seconds that requests were held back here.")
        for (host, verb), durations in self._request_seconds.items():
            seconds.observe(durations, host=host, verb=verb)
            none = Histogram(REQUEST_BOUNDS)
            none.add(0.0, sum(durations.buckets))  # nothing is held back: requests are few
            waits.observe(none, host=host, verb=verb)
        return [requests, seconds, waits]

    def _delays(self) -> Snapshot:
        family = histogram(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "Seconds from a change of endpoints to the moment that answers have it.",
        )
        for kind, durations in self._programming.items():
            family.observe(durations, service_kind=kind)
        return [family]

    def _freshness(self) -> Snapshot:
        """How fresh the index is: nothing else says so while the API server is away and answers go on."""
        synced = gauge("dnsd_cluster_synced", "Whether everything has been listed once.")
        age = gauge("dnsd_watch_age_seconds", "Seconds since the API server last spoke about a kind.")
        lists = counter("dnsd_watch_lists_total", "Lists that were begun.")
        reconnects = counter("dnsd_watch_reconnects_total", "Watches that were resumed.")
        skipped = counter("dnsd_watch_skipped_total", "Events and objects that made no sense.")
        for cluster in self._clusters.by_settings.values() if self._clusters else ():
            name = source_name(cluster.settings)
            synced.add(float(cluster.index.synced), cluster=name)
            watches = cluster.source.watches if isinstance(cluster.source, Watching) else {}
            for kind, watch in watches.items():
                labels = {"cluster": name, "kind": kind}
                if watch.last_event:
                    age.add(max(0.0, self._now() - watch.last_event), **labels)
                lists.add(watch.lists, **labels)
                reconnects.add(watch.reconnects, **labels)
                skipped.add(watch.skipped, **labels)
        return [synced, age, lists, reconnects, skipped]


class _Trigger:
    """Tells about slice events of one cluster, once its first list is complete: what is listed was there before us."""

    def __init__(self, metrics: Metrics, cluster: Cluster) -> None:
        self._metrics = metrics
        self._cluster = cluster

    def __call__(self, trigger: str, service_type: str) -> None:
        if self._cluster.index.synced:
            self._metrics.observe_trigger(trigger, service_type)


def source_name(settings: SourceSettings) -> str:
    """Where a cluster comes from, in a word."""
    if settings.manifests:
        return ",".join(settings.manifests)
    if settings.kubeconfig:
        return f"{settings.kubeconfig}:{settings.context}" if settings.context else settings.kubeconfig
    return settings.endpoint or "in-cluster"
