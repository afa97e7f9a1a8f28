"""Serves a published Corefile on this machine: every line stays as it is, but for what belongs to somebody else here -
ports, addresses to listen on, upstreams, and folders of the image. Knows no question and no answer.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.process import Dnsd, command, free_port

HERE = Path(__file__).parent
COREFILES = HERE / "corefiles"
CLUSTER = HERE / "cluster.yaml"
CASES = sorted(path.name for path in COREFILES.iterdir())

KEYS = re.compile(r"^(?=\S)[^(\n]*:\d+.*\{$", re.MULTILINE)
"""The head of a server block whose keys name ports."""
PAGES = re.compile(r"^(\s+)(health|ready|prometheus)\b(?: \S*:\d+)?", re.MULTILINE)
"""What opens a port for HTTP."""


@dataclass(frozen=True, slots=True)
class Served:
    """A published Corefile at work."""

    dnsd: Dnsd
    pages: Mapping[str, int]
    """The ports of `health`, `ready` and `prometheus`."""


def copy(case: str, folder: Path, places: Mapping[str, str]) -> Path:
    """Copy a case and put our own places for those that it names; the path of its Corefile."""
    shutil.copytree(COREFILES / case, folder, dirs_exist_ok=True)
    (folder / "questions").unlink()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.write_text(_replaced(path.read_text(), places))
    return folder / "Corefile"


def _replaced(text: str, places: Mapping[str, str]) -> str:
    found = re.compile("|".join(re.escape(place) for place in sorted(places, key=len, reverse=True)))
    return found.sub(lambda match: places[match[0]], text)


@contextlib.contextmanager
def serve(case: str, folder: Path, places: Mapping[str, str]) -> Iterator[Served]:
    """Serve a case with the cluster of this folder; it answers when this returns."""
    corefile = copy(case, folder, places)
    port = free_port()
    pages = {name: free_port() for name in ("health", "ready", "prometheus")}
    for path in (corefile, *folder.rglob("*.server")):
        path.write_text(_on_ports(path.read_text(), port, pages))
    with command(["-conf", str(corefile), "--manifests", str(CLUSTER)], port, folder) as server:
        yield Served(server, pages)


def _on_ports(text: str, port: int, pages: Mapping[str, int]) -> str:
    listen = "" if "    bind " in text else "\n    bind 127.0.0.1 ::1"
    text = KEYS.sub(lambda head: re.sub(r":\d+\b", f":{port}", head[0]) + listen, text)
    return PAGES.sub(lambda line: f"{line[1]}{line[2]} 127.0.0.1:{pages[line[2]]}", text)
