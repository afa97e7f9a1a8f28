"""Runs `kubectl kustomize` on folders of manifests/; knows nothing of what they say."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Object: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
FOLDERS = tuple(
    str(path.parent.relative_to(MANIFESTS))
    for path in sorted(MANIFESTS.rglob("kustomization.yaml"))
    if "kind: Kustomization" in path.read_text(encoding="utf-8")
)
"""Folders that are rendered on their own."""
COMPONENTS = tuple(
    str(path.parent.relative_to(MANIFESTS))
    for path in sorted(MANIFESTS.rglob("kustomization.yaml"))
    if "kind: Component" in path.read_text(encoding="utf-8")
)
"""Folders that change what others render."""

MINIMUM = 4
"""Major version of kustomize that knows components."""


@functools.cache
def _kubectl() -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on PATH: the manifests cannot be rendered")
    said = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, check=False, text=True)
    version = str(json.loads(said.stdout or "{}").get("kustomizeVersion", "v0"))
    if int(version.lstrip("v").split(".")[0]) < MINIMUM:
        pytest.skip(f"kubectl has kustomize {version}: components need {MINIMUM} or later")
    return kubectl


@functools.cache
def render(folder: str) -> tuple[Object, ...]:
    """The objects of a folder of manifests/."""
    return _run(MANIFESTS / folder)


def render_with(directory: Path, kustomization: Object) -> tuple[Object, ...]:
    """The objects of a kustomization that lies in `directory` beside a copy of manifests/."""
    shutil.copytree(MANIFESTS, directory / "manifests", dirs_exist_ok=True)
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(head | kustomization), encoding="utf-8")
    return _run(directory)


def _run(folder: Path) -> tuple[Object, ...]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(
        [_kubectl(), "kustomize", str(folder)], capture_output=True, check=False, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a deprecated field, or another warning"
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: tuple[Object, ...], kind: str, name: str | None = None) -> Object:
    """The one object of a kind, or the one with that name."""
    (found,) = (item for item in objects if item["kind"] == kind and name in {None, item["metadata"]["name"]})
    return found
