"""Every folder of manifests/ renders, and the API server takes what comes out of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.kustomize import COMPONENTS, FOLDERS, Object, of_kind, render, render_with
from tests.manifests.schema import problems

PARTIAL = "overlays/replace-coredns"
"""Not whole objects: fields for server-side apply."""


def test_the_folders_are_those_that_the_documentation_names() -> None:
    assert FOLDERS == (
        "base",
        "monitoring",
        "overlays/autoscale",
        "overlays/node-local",
        "overlays/replace-coredns",
    )
    assert COMPONENTS == ("components/pods-verified",)


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != PARTIAL])
def test_the_api_server_takes_every_object_as_it_is(folder: str) -> None:
    assert {_title(item): problems(item) for item in render(folder)} == {_title(item): [] for item in render(folder)}


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("folder", ["base", "overlays/autoscale"])
def test_a_component_goes_with_the_base_and_what_builds_on_it(folder: str, component: str, tmp_path: Path) -> None:
    objects = render_with(tmp_path, {"resources": [f"manifests/{folder}"], "components": [f"manifests/{component}"]})
    assert [problems(item) for item in objects] == [[] for _ in objects]
    assert {_title(item) for item in objects} == {_title(item) for item in render(folder)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_object_is_defined_twice(folder: str) -> None:
    titles = [_title(item) for item in render(folder)]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "hostNetwrok"), True),
        ("Deployment", ("spec", "template", "spec", "host_network"), True),
        ("Deployment", ("spec", "replicas"), "2"),
        ("Deployment", ("spec", "selector"), None),
        ("Deployment", ("metadata", "labels", "a"), "no blanks"),
        ("Service", ("spec", "clusterIp"), "10.96.0.10"),
        ("Service", ("metadata", "name"), "Kube_DNS"),
        ("PodDisruptionBudget", ("spec", "unhealthyPodEviction"), "AlwaysAllow"),
    ],
)
def test_the_check_itself_sees_what_the_api_server_would_refuse(kind: str, path: tuple[str, ...], value: Any) -> None:
    item = copy.deepcopy(of_kind(render("base"), kind))
    assert problems(item) == []
    place = item
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert problems(item) != []


def test_the_check_itself_sees_a_quantity_and_a_port_name_that_are_none() -> None:
    item = copy.deepcopy(of_kind(render("base"), "Deployment"))
    (container,) = item["spec"]["template"]["spec"]["containers"]
    container["resources"]["limits"]["memory"] = "512MB"
    container["ports"][0]["name"] = "longer-than-15-characters"
    assert len(problems(item)) == 2


def _title(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"
