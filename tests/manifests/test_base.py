"""manifests/base: what its objects say about each other, about the Corefile and about the code that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsd.cli.corefile import KUBEADM
from dnsd.serve.server import DRAIN_SECONDS
from tests.manifests.kustomize import Object, of_kind, render, render_with
from tests.manifests.workloads import Workload, allowed, port_of, selects, watched


@pytest.fixture(params=["base", "overlays/autoscale"])
def objects(request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return render(request.param)


@pytest.fixture
def dnsd(objects: tuple[Object, ...]) -> Workload:
    return Workload(objects, "Deployment", "dnsd")


def test_the_corefile_is_the_one_that_kubeadm_writes(dnsd: Workload) -> None:
    assert dnsd.corefile == KUBEADM


def test_dnsd_takes_the_corefile(dnsd: Workload) -> None:
    assert dnsd.instance().banner == [".:53", ".:53"] or dnsd.instance().banner == [".:53"]


def test_the_deployment_selects_its_own_pods(dnsd: Workload) -> None:
    assert selects(dnsd.spec["selector"]["matchLabels"], dnsd.labels)


def test_the_deployment_does_not_pass_for_the_one_of_kubeadm(dnsd: Workload) -> None:
    # kubeadm lists Deployments by this label, and ends with an error where it finds two.
    assert "k8s-app" not in of_kind(dnsd.objects, "Deployment")["metadata"]["labels"]


def test_the_deployment_does_not_select_the_pods_of_coredns(dnsd: Workload) -> None:
    assert not selects(dnsd.spec["selector"]["matchLabels"], {"k8s-app": "kube-dns"})


def test_the_service_is_kube_dns_on_the_tenth_address(objects: tuple[Object, ...], dnsd: Workload) -> None:
    service = of_kind(objects, "Service")
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("kube-dns", "kube-system")
    assert service["spec"]["clusterIP"] == "10.96.0.10"
    assert service["spec"]["selector"] == {"k8s-app": "kube-dns"}
    assert selects(service["spec"]["selector"], dnsd.labels)


def test_the_service_leads_to_ports_that_the_container_has(objects: tuple[Object, ...], dnsd: Workload) -> None:
    ports = of_kind(objects, "Service")["spec"]["ports"]
    assert {(port["name"], port["port"], port["protocol"]) for port in ports} == {
        ("dns", 53, "UDP"),
        ("dns-tcp", 53, "TCP"),
        ("metrics", 9153, "TCP"),
    }
    assert {(dnsd.port(port["targetPort"]), port["protocol"]) for port in ports} <= dnsd.ports


def test_prometheus_finds_the_metrics_by_annotation(objects: tuple[Object, ...], dnsd: Workload) -> None:
    annotations = of_kind(objects, "Service")["metadata"]["annotations"]
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": "9153"}
    assert {options.metrics for options in dnsd.options()} == {":9153"}
    assert dnsd.port("metrics") == 9153


def test_the_container_ports_are_those_that_the_corefile_opens(dnsd: Workload) -> None:
    opened = {(address.port, protocol) for address in dnsd.instance().fronts for protocol in ("UDP", "TCP")}
    for options in dnsd.options():
        opened |= {(port_of(address), "TCP") for address in (options.health, options.ready, options.metrics)}
    assert dnsd.ports == opened


def test_the_probes_ask_where_the_corefile_answers(dnsd: Workload) -> None:
    (options,) = dnsd.options()
    liveness = dnsd.container["livenessProbe"]["httpGet"]
    readiness = dnsd.container["readinessProbe"]["httpGet"]
    assert (liveness["path"], dnsd.port(liveness["port"])) == ("/health", port_of(options.health))
    assert (readiness["path"], dnsd.port(readiness["port"])) == ("/ready", port_of(options.ready))


def test_the_grace_period_covers_lameduck_and_drain(dnsd: Workload) -> None:
    (options,) = dnsd.options()
    assert options.lameduck > 0
    assert dnsd.pod["terminationGracePeriodSeconds"] >= 2 * (options.lameduck + DRAIN_SECONDS)


def test_a_rollout_never_has_fewer_replicas_than_wanted(dnsd: Workload) -> None:
    assert dnsd.spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert dnsd.spec["minReadySeconds"] > 0


def test_evictions_take_one_replica_at_a_time(objects: tuple[Object, ...], dnsd: Workload) -> None:
    spec = of_kind(objects, "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert selects(spec["selector"]["matchLabels"], dnsd.labels)
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_replicas_spread_over_nodes_and_zones(dnsd: Workload) -> None:
    (term,) = dnsd.pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (constraint,) = dnsd.pod["topologySpreadConstraints"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["topologyKey"] == "topology.kubernetes.io/zone"
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    for selector in (term["podAffinityTerm"]["labelSelector"], constraint["labelSelector"]):
        assert selects(selector["matchLabels"], dnsd.labels)


def test_the_pod_runs_where_and_as_coredns_does(dnsd: Workload) -> None:
    assert dnsd.pod["priorityClassName"] == "system-cluster-critical"
    assert dnsd.pod["dnsPolicy"] == "Default"
    assert dnsd.pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert {toleration["key"] for toleration in dnsd.pod["tolerations"]} == {
        "CriticalAddonsOnly",
        "node-role.kubernetes.io/control-plane",
    }


def test_the_memory_is_bounded_and_the_cpu_is_not(dnsd: Workload) -> None:
    assert set(dnsd.container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(dnsd.container["resources"]["limits"]) == {"memory"}


def test_the_pod_keeps_the_restricted_pod_security_standard(dnsd: Workload) -> None:
    assert dnsd.pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert dnsd.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(dnsd.pod)
    assert [set(volume) - {"name"} for volume in dnsd.pod["volumes"]] == [{"configMap"}]


def test_the_role_is_bound_to_the_account_of_the_pods(objects: tuple[Object, ...], dnsd: Workload) -> None:
    account = of_kind(objects, "ServiceAccount")["metadata"]
    binding = of_kind(objects, "ClusterRoleBinding")
    assert dnsd.pod["serviceAccountName"] == account["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    assert binding["roleRef"]["name"] == of_kind(objects, "ClusterRole")["metadata"]["name"]


def test_the_role_allows_exactly_what_the_corefile_haswatched(objects: tuple[Object, ...], dnsd: Workload) -> None:
    assert allowed(objects) == watched(dnsd)


def test_pods_verified_watches_pods_and_is_allowed_to(tmp_path: Path) -> None:
    objects = render_with(
        tmp_path, {"resources": ["manifests/base"], "components": ["manifests/components/pods-verified"]}
    )
    dnsd = Workload(objects, "Deployment", "dnsd")
    assert dnsd.corefile == KUBEADM.replace("pods insecure", "pods verified")
    assert allowed(objects) == watched(dnsd)
    assert allowed(objects) - allowed(render("base")) == {("", "pods", "list"), ("", "pods", "watch")}


def test_dns_comes_in_from_everywhere_and_metrics_from_monitoring_only(
    objects: tuple[Object, ...], dnsd: Workload
) -> None:
    spec = of_kind(objects, "NetworkPolicy")["spec"]
    assert selects(spec["podSelector"]["matchLabels"], dnsd.labels)
    assert spec["policyTypes"] == ["Ingress"]
    sources = {(port["port"], port["protocol"]): rule.get("from") for rule in spec["ingress"] for port in rule["ports"]}
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert sources == {(53, "UDP"): None, (53, "TCP"): None, (9153, "TCP"): monitoring}


def test_autoscale_leaves_the_number_of_replicas_to_the_autoscaler() -> None:
    objects = render("overlays/autoscale")
    scaler = of_kind(objects, "HorizontalPodAutoscaler")["spec"]
    deployment = of_kind(objects, "Deployment")
    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert scaler["minReplicas"] >= 2


def test_autoscale_adds_replicas_at_once_and_takes_them_away_slowly() -> None:
    behavior = of_kind(render("overlays/autoscale"), "HorizontalPodAutoscaler")["spec"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 600
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
