"""docs/install.md and docs/monitoring.md: examples render, and what they name exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.kustomize import COMPONENTS, FOLDERS, MANIFESTS, ROOT, of_kind, render_with
from tests.manifests.metrics import known
from tests.manifests.schema import problems
from tests.manifests.workloads import Workload

DOCS = ROOT / "docs"
INSTALL = (DOCS / "install.md").read_text(encoding="utf-8")
MONITORING = (DOCS / "monitoring.md").read_text(encoding="utf-8")
KUSTOMIZATIONS: list[dict[str, Any]] = [
    yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", INSTALL, re.DOTALL)
]


@pytest.mark.parametrize("example", KUSTOMIZATIONS, ids=lambda example: str(example["resources"][0]))
def test_an_example_renders_what_the_api_server_takes(example: dict[str, Any], tmp_path: Path) -> None:
    objects = render_with(tmp_path, _with_registry(example))
    assert [problems(item) for item in objects] == [[] for _ in objects]
    assert Workload(objects, "Deployment", "dnsd").instance().plugins


def test_the_examples_change_what_they_say(tmp_path: Path) -> None:
    first, second = (render_with(tmp_path, _with_registry(example)) for example in KUSTOMIZATIONS)
    assert Workload(first, "Deployment", "dnsd").container["image"].startswith("registry.internal/dnsd:")
    assert of_kind(second, "Service")["spec"]["clusterIP"] == "172.20.0.10"
    assert "corp.internal" in Workload(second, "Deployment", "dnsd").corefile
    assert "observability" in str(of_kind(second, "NetworkPolicy"))


def test_every_folder_is_explained() -> None:
    for folder in {*FOLDERS, *COMPONENTS}:
        assert f"manifests/{folder}" in INSTALL


@pytest.mark.parametrize("name", ["install.md", "monitoring.md"])
def test_what_is_linked_exists(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        file = DOCS / target if target else DOCS / name
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, anchor


def test_every_own_metric_is_explained_with_its_labels() -> None:
    rows = re.findall(r"^\| (`dnsd_[^|]*) \| ([^|]*) \|", MONITORING, re.MULTILINE)
    explained = {name: set(labels.split(", ")) for names, labels in rows for name in re.findall(r"`(\w+)`", names)}
    assert explained == {name: set(metric.labels) for name, metric in known().items() if name.startswith("dnsd_")}


@pytest.mark.parametrize("text", re.findall(r"```sh\n(.*?)```", INSTALL + MONITORING, re.DOTALL))
def test_a_command_is_one_that_a_shell_can_read_about_files_that_exist(text: str) -> None:
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    for path in re.findall(r"manifests/\S+", text):
        assert (MANIFESTS.parent / path).is_dir()


def _with_registry(example: dict[str, Any]) -> dict[str, Any]:
    """REGISTRY stands for a name that the reader fills in."""
    filled: dict[str, Any] = yaml.safe_load(yaml.safe_dump(example).replace("REGISTRY", "registry.internal"))
    return filled
