"""The API server of the tests, holding the benchmarks' cluster. Knows how to change it; must not know who watches."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import manifests
from benchmarks.cluster import Cluster
from benchmarks.manifests import Object
from benchmarks.processes import BenchmarkError

END_SECONDS = 5.0
"""How long the server may take to end before it is killed."""

NICENESS = 10
"""The server shares a core with those who measure, and must not hold them up."""


class Api:
    """An API server in a process of its own, so that it and who measures do not wait for one interpreter lock."""

    def __init__(self, kubeconfig: Path, pipe: Connection[Object, float]) -> None:
        self.kubeconfig = kubeconfig
        """The file that tells a client how to reach it."""
        self._pipe = pipe

    def apply(self, item: Object) -> float:
        """Create or replace an object, and return the time.monotonic() just before its event is written, in seconds.

        What the server needs to write it counts as part of the way to the answer.
        """
        self._pipe.send(item)
        return self._pipe.recv()


@contextmanager
def serve(cluster: Cluster, directory: Path) -> Iterator[Api]:
    """A server that holds the cluster; `directory` is for its kubeconfig."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    kubeconfig = directory / "kubeconfig"
    process = context.Process(target=_run, args=(cluster, kubeconfig, theirs), name="apiserver", daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield Api(kubeconfig, ours)
    except EOFError as error:
        raise BenchmarkError("the API server ended") from error
    finally:
        ours.close()
        process.join(END_SECONDS)
        process.kill()


def _run(cluster: Cluster, kubeconfig: Path, pipe: Connection[float, Object]) -> None:
    """The process: apply what comes through the pipe until it is closed."""
    from tests.cluster.apiserver import ApiServer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pipe's end ends this process
    os.nice(NICENESS)
    with ApiServer() as server:
        server.put(*manifests.objects(cluster))
        server.kubeconfig(kubeconfig)
        pipe.send(time.monotonic())
        try:
            while True:
                item = pipe.recv()
                written = time.monotonic()
                server.put(item)
                pipe.send(written)
        except EOFError:
            return
