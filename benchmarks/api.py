"""The API server of the tests, holding the benchmarks' cluster. Knows how to change it; must not know who watches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.manifests import Object
from tests.cluster.apiserver import ApiServer


class Api:
    """An API server that runs in a thread of this program."""

    def __init__(self, server: ApiServer, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        """The file that tells a client how to reach it."""
        self._server = server

    def apply(self, item: Object) -> float:
        """Create or replace an object, and return the time.monotonic() just before its event is written, in seconds.

        What the server's thread needs to write it counts as part of the way to the answer.
        """
        written = time.monotonic()
        self._server.put(item)
        return written


@contextmanager
def serve(items: Iterable[Object], directory: Path) -> Iterator[Api]:
    """A server with these objects; `directory` is for its kubeconfig."""
    with ApiServer() as server:
        server.put(*items)
        yield Api(server, server.kubeconfig(directory / "kubeconfig"))
