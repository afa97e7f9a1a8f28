"""Which source fills a cluster's index: manifests or the API server."""

from __future__ import annotations

import time
from collections.abc import Callable

from dnsd.cluster import objects
from dnsd.cluster.index import Index
from dnsd.cluster.objects import Kind
from dnsd.cluster.store import Source, SourceSettings


def make_source(
    settings: SourceSettings, index: Index, observe: Callable[[str, str, str, float], None] | None = None
) -> Source:
    """The source that `settings` name. What each needs is imported only where it is used: that is memory.

    `observe` is told of each request to the API server: method, host, status code or `<error>`, seconds.
    """
    if settings.manifests:
        from dnsd.cluster.manifests import FileSource

        labels: dict[Kind, str] = {
            objects.Namespace: settings.namespace_labels,
            objects.Service: settings.labels,
            objects.EndpointSlice: settings.labels,
            objects.Pod: settings.labels,
        }
        return FileSource(settings.manifests, index, time.time, labels)
    from dnsd.cluster.api import ApiSource

    return ApiSource(index, settings, observe=observe)
