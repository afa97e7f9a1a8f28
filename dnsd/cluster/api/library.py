"""Imports `kubernetes.aio.config` and little else of the package `kubernetes`; knows nothing of what it is used for."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

log = logging.getLogger("dnsd.cluster.api")


@functools.cache
def kubernetes_config() -> Any:
    """Return the package `kubernetes.aio.config`, loaded without the two API clients beside it.

    A plain import runs `kubernetes/__init__.py` and `kubernetes/aio/__init__.py`, which load both clients: 21 MB for
    good, where this takes 1.5. So these packages are stood in for while the import lasts, and are then as if never
    touched: who imports kubernetes later gets all of it. Should a later version be laid out in another way, the plain
    import does.
    """
    found = importlib.util.find_spec("kubernetes")
    folder = Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else Path()
    others = _take_modules()
    try:
        for name in ("kubernetes", "kubernetes.aio", "kubernetes.aio.client"):
            package = ModuleType(name)
            package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package
        client: Any = sys.modules["kubernetes.aio.client"]
        client.Configuration = importlib.import_module("kubernetes.aio.client.configuration").Configuration
        client.ApiClient = None
        return importlib.import_module("kubernetes.aio.config")
    except (ImportError, AttributeError) as error:
        log.debug("kubernetes.aio.config cannot be imported alone: %s", error)
    finally:
        _take_modules()
        sys.modules.update(others)
    return importlib.import_module("kubernetes.aio.config")


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "kubernetes"]
    return {name: sys.modules.pop(name) for name in names}
