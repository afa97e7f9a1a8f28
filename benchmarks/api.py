"""What the benchmarks ask of an API server that runs inside this program.

Knows the seam only. Such a server is given as `--api MODULE:CALLABLE`; the callable is a `Start`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from benchmarks.manifests import Object
from benchmarks.processes import BenchmarkError


class ApiServer(Protocol):
    """A list-and-watch API server that holds the cluster."""

    @property
    def kubeconfig(self) -> Path:
        """The file that tells a client how to reach it."""

    def apply(self, item: Object) -> float:
        """Create or replace an object.

        Returns the time.monotonic() at which its event was written to the watchers, in seconds. The server gives the
        object its resourceVersion.
        """


Start: TypeAlias = Callable[[Path, Path], AbstractContextManager[ApiServer]]
"""Starts a server with the objects of a `kind: List` file; the second path is a directory for its own files."""


def load(name: str) -> Start:
    """The `Start` that `MODULE:CALLABLE` names. Raises BenchmarkError if there is none."""
    module, _, attribute = name.partition(":")
    try:
        start = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BenchmarkError(f"--api {name}: {error}") from error
    return cast("Start", start)
