"""overlays/replace-coredns: on a cluster of kubeadm the image changes, and nothing else has to."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from dnsd import __version__
from dnsd.serve.server import DRAIN_SECONDS
from tests.manifests.kustomize import MANIFESTS, Object, of_kind, render, render_with
from tests.manifests.workloads import Workload, allowed, port_of, watched

KUBEADM = Path(__file__).parent / "data" / "kubeadm.yaml"
COREFILE = Path(__file__).parents[1] / "corefile" / "data" / "kubeadm.Corefile"
DEFAULT_GRACE_SECONDS = 30
"""What Kubernetes gives a pod that does not say."""


@pytest.fixture
def kubeadm() -> tuple[Object, ...]:
    return tuple(yaml.safe_load_all(KUBEADM.read_text(encoding="utf-8")))


@pytest.fixture
def replaced(kubeadm: tuple[Object, ...], tmp_path: Path) -> Workload:
    """kubeadm's Deployment after the overlay. Server-side apply merges containers by name, as this patch does."""
    (tmp_path / "kubeadm.yaml").write_text(KUBEADM.read_text(encoding="utf-8"), encoding="utf-8")
    (patch,) = render("overlays/replace-coredns")
    objects = render_with(tmp_path, {"resources": ["kubeadm.yaml"], "patches": [{"patch": yaml.safe_dump(patch)}]})
    corefile = {
        "kind": "ConfigMap",
        "metadata": {"name": "coredns"},
        "data": {"Corefile": COREFILE.read_text(encoding="utf-8")},
    }
    return Workload((*objects, corefile), "Deployment", "coredns")


def test_the_image_changes_and_nothing_else(kubeadm: tuple[Object, ...], replaced: Workload) -> None:
    expected = copy.deepcopy(of_kind(kubeadm, "Deployment"))
    expected["spec"]["template"]["spec"]["containers"][0]["image"] = replaced.container["image"]
    assert of_kind(replaced.objects, "Deployment") == expected
    assert "dnsd" in replaced.container["image"]


def test_the_overlay_owns_one_field() -> None:
    (deployment,) = render("overlays/replace-coredns")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert set(deployment) == {"apiVersion", "kind", "metadata", "spec"}
    assert deployment["metadata"] == {"name": "coredns", "namespace": "kube-system"}
    assert deployment["spec"] == {"template": {"spec": {"containers": [container]}}}
    assert set(container) == {"name", "image"}


def test_kubeadm_finds_the_patch_by_its_file_name() -> None:
    # `kubeadm --patches DIRECTORY` reads TARGET.yaml as a strategic merge patch.
    assert (MANIFESTS / "overlays" / "replace-coredns" / "corednsdeployment.yaml").is_file()


def test_every_folder_runs_the_same_image_of_this_version(replaced: Workload) -> None:
    images = {
        replaced.container["image"],
        Workload(render("base"), "Deployment", "dnsd").container["image"],
        Workload(render("overlays/node-local"), "DaemonSet", "node-local-dns").container["image"],
    }
    assert images == {f"registry.example.org/dnsd:{__version__}"}


def test_dnsd_opens_the_ports_that_kubeadm_declares_and_probes(replaced: Workload) -> None:
    (options,) = replaced.options()
    probes = {name: replaced.container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert {name: (probe["path"], replaced.port(probe["port"])) for name, probe in probes.items()} == {
        "livenessProbe": ("/health", port_of(options.health)),
        "readinessProbe": ("/ready", port_of(options.ready)),
    }
    assert port_of(options.metrics) == replaced.port("metrics")
    assert {address.port for address in replaced.instance().fronts} == {replaced.port("dns")}


def test_dnsd_may_watch_what_it_watches(replaced: Workload) -> None:
    assert watched(replaced) < allowed(replaced.objects)


def test_dnsd_is_gone_before_the_kubelet_loses_patience(replaced: Workload) -> None:
    (options,) = replaced.options()
    assert replaced.pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS) >= 2 * (
        options.lameduck + DRAIN_SECONDS
    )
