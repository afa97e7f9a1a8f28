"""overlays/node-local: a cache on every node, in front of the cluster's DNS and without a way round it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dnsd.plugins.forward import Forward
from dnsd.plugins.kubernetes import Kubernetes
from dnsd.serve.server import DRAIN_SECONDS
from tests.manifests.kustomize import ROOT, of_kind, render
from tests.manifests.node import ADDRESS
from tests.manifests.workloads import Workload, port_of, selects

UPSTREAM = "10.96.99.1"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Workload:
    """The DaemonSet, where the kubelet has told its pod about the Services of its namespace."""
    workload = Workload(render("overlays/node-local"), "DaemonSet", "node-local-dns")
    service = of_kind(workload.objects, "Service")["metadata"]
    assert service["namespace"] == of_kind(workload.objects, "DaemonSet")["metadata"]["namespace"]
    assert workload.pod.get("enableServiceLinks", True)
    monkeypatch.setenv(f"{service['name'].upper().replace('-', '_')}_SERVICE_HOST", UPSTREAM)
    return workload


def test_the_daemon_set_selects_its_own_pods_and_runs_on_every_node(node: Workload) -> None:
    assert selects(node.spec["selector"]["matchLabels"], node.labels)
    assert {(toleration.get("key"), toleration.get("effect")) for toleration in node.pod["tolerations"]} >= {
        (None, "NoExecute"),
        (None, "NoSchedule"),
    }
    assert node.pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert node.pod["priorityClassName"] == "system-node-critical"


def test_the_pod_is_on_the_network_of_the_node_and_uses_its_resolvers(node: Workload) -> None:
    assert node.pod["hostNetwork"] is True
    assert node.pod["dnsPolicy"] == "Default"


def test_dnsd_listens_on_the_local_address_only(node: Workload) -> None:
    addresses = node.instance().fronts
    assert {(address.host, address.port) for address in addresses} == {(ADDRESS, 53)}
    assert {zone for front in addresses.values() for zone in (b.zone_text for b in front.blocks.values())} == {
        "cluster.local.",
        "in-addr.arpa.",
        "ip6.arpa.",
        ".",
    }


def test_the_cluster_is_asked_over_tcp_and_at_the_upstream_service(node: Workload) -> None:
    asked = {
        block.block.keys[0].zone: (forwarder.stanza.force_tcp, [target.host for target in forwarder.stanza.targets])
        for block in node.instance().blocks
        for plugin in block.plugins
        if isinstance(plugin, Forward)
        for forwarder in plugin.forwarders
    }
    assert asked["cluster.local."] == asked["in-addr.arpa."] == (True, [UPSTREAM])
    assert asked["."][0] is False
    assert UPSTREAM not in asked["."][1]


def test_the_upstream_service_leads_to_the_replicas_and_never_back_to_the_nodes(node: Workload) -> None:
    selector = of_kind(node.objects, "Service", "kube-dns-upstream")["spec"]["selector"]
    kube_dns = of_kind(render("base"), "Service", "kube-dns")["spec"]["selector"]
    assert selector == kube_dns
    assert selects(selector, Workload(render("base"), "Deployment", "dnsd").labels)
    assert not selects(selector, node.labels)


def test_the_service_monitor_does_not_scrape_the_upstream_service_too(node: Workload) -> None:
    selector = of_kind(render("monitoring"), "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert not selects(selector, of_kind(node.objects, "Service")["metadata"]["labels"])


def test_the_cache_needs_no_api_server_and_has_no_token_for_it(node: Workload) -> None:
    assert of_kind(node.objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert not [plugin for plugin in node.instance().plugins if isinstance(plugin, Kubernetes)]
    assert {item["kind"] for item in node.objects} == {"ServiceAccount", "ConfigMap", "Service", "DaemonSet"}


def test_the_probes_ask_where_the_corefile_answers(node: Workload) -> None:
    (health,) = {options.health for options in node.options()} - {None}
    assert health == f"{ADDRESS}:8080"
    for name in ("livenessProbe", "readinessProbe"):
        probe = node.container[name]["httpGet"]
        assert (probe["host"], probe["path"], node.port(probe["port"])) == (ADDRESS, "/health", 8080)


def test_the_container_ports_are_those_that_the_corefile_opens(node: Workload) -> None:
    opened = {(address.port, protocol) for address in node.instance().fronts for protocol in ("UDP", "TCP")}
    given = [address for options in node.options() for address in (options.health, options.metrics) if address]
    assert node.ports == opened | {(port_of(address), "TCP") for address in given}
    for port in node.container["ports"]:
        assert port["hostPort"] == port["containerPort"]
        assert port.get("hostIP", ADDRESS) == ADDRESS


def test_prometheus_finds_the_metrics_by_annotation(node: Workload) -> None:
    annotations = node.spec["template"]["metadata"]["annotations"]
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": "9253"}
    assert {options.metrics for options in node.options()} == {":9253"}


def test_only_the_init_container_may_change_the_network(node: Workload) -> None:
    (init,) = node.pod["initContainers"]
    assert init["securityContext"] == {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
    }
    assert node.container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    }
    assert node.pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}


def test_an_update_replaces_a_pod_in_place_and_soon(node: Workload) -> None:
    assert node.spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}
    assert {options.lameduck for options in node.options()} == {0.0}
    assert DRAIN_SECONDS < node.pod["terminationGracePeriodSeconds"] < 30


def test_a_node_answers_at_the_local_address_what_the_cluster_says(node: Workload, tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text(node.corefile, encoding="utf-8")
    assert _on_a_node(node, tmp_path) == {
        "address": ["10.96.10.1"],
        "over TCP": ["10.96.10.1"],
        "reverse": ["web.shop.svc.cluster.local."],
        "health": [200, "OK"],
        "metrics": True,
        "elsewhere": False,
        "exit status": 0,
    }


def _on_a_node(node: Workload, folder: Path) -> object:
    """Run the init container's script twice, as after a restart, and then `node.main`, in a new network namespace."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH: no network namespace for a node")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace may be made here")
    (init,) = node.pod["initContainers"]
    *shell, script = init["command"]
    assert shell == ["sh", "-euc"]
    steps = f"""
        ip link set lo up
        # A bridge without ports stands in where the kernel has no dummy interfaces.
        ip() {{ command ip "$@" || {{ [ "$*" = "link add nodelocaldns type dummy" ] &&
            command ip link add nodelocaldns type bridge; }}; }}
        {script}
        {script}
        exec "$0" -m tests.manifests.node "$1"
    """
    done = subprocess.run(
        ["unshare", "--net", *shell, steps, sys.executable, str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
