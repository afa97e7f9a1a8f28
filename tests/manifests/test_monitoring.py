"""manifests/monitoring: who is scraped, and that alerts and dashboard ask only for what dnsd has."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.kustomize import ROOT, of_kind, render
from tests.manifests.metrics import DATA, exposed, known, misfits
from tests.manifests.promtool import promtool
from tests.manifests.workloads import Workload, selects

WIDTH = 24
"""Columns of a Grafana dashboard."""

# -- metrics


def test_the_table_of_metrics_agrees_with_what_was_recorded() -> None:
    recorded = exposed((DATA / "metrics.txt").read_text(encoding="utf-8"))
    assert {name: known()[name] for name in recorded} == recorded


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ('sum by (type) (rate(coredns_dns_requests_total{job="kube-dns"}[5m]))', []),
        ("histogram_quantile(0.9, sum by (le) (rate(coredns_dns_request_duration_seconds_bucket[5m])))", []),
        ("process_open_fds / on (instance) process_max_fds > 0.8", []),
        ("rate(coredns_dns_request_count_total[5m])", ["no metric coredns_dns_request_count_total"]),
        ("coredns_dns_request_duration_seconds", ["no metric coredns_dns_request_duration_seconds"]),
        ("rate(dnsd_memo_entries_bucket[5m])", ["no metric dnsd_memo_entries_bucket"]),
        ('rate(coredns_panics_total{zone="."}[5m])', ["coredns_panics_total has no label zone"]),
        ("sum by (rcode) (coredns_cache_entries)", ["nothing has the label rcode"]),
        ("sum by (le) (up)", ["nothing has the label le"]),
        (
            "coredns_panics_total > 0",
            ["coredns_panics_total counts from the start of a process: ask for its rate or increase"],
        ),
        ("vector(1)", ["no metric"]),
    ],
)
def test_the_check_itself_sees_what_does_not_exist(expression: str, said: list[str]) -> None:
    assert misfits(expression) == said


# -- scraping


def test_the_service_monitor_scrapes_the_service() -> None:
    spec = of_kind(render("monitoring"), "ServiceMonitor")["spec"]
    service = of_kind(render("base"), "Service")
    assert selects(spec["selector"]["matchLabels"], service["metadata"]["labels"])
    assert spec["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
    assert {endpoint["port"] for endpoint in spec["endpoints"]} == {"metrics"}
    assert "metrics" in {port["name"] for port in service["spec"]["ports"]}


def test_the_pod_monitor_scrapes_the_node_local_caches() -> None:
    spec = of_kind(render("monitoring"), "PodMonitor")["spec"]
    node = Workload(render("overlays/node-local"), "DaemonSet", "node-local-dns")
    assert selects(spec["selector"]["matchLabels"], node.labels)
    assert {node.port(endpoint["port"]) for endpoint in spec["podMetricsEndpoints"]} == {9253}


def test_the_jobs_are_those_that_the_alerts_name() -> None:
    service = of_kind(render("base"), "Service")["metadata"]["name"]
    monitor = of_kind(render("monitoring"), "ServiceMonitor")["spec"]
    pod_monitor = of_kind(render("monitoring"), "PodMonitor")["spec"]
    node = Workload(render("overlays/node-local"), "DaemonSet", "node-local-dns")
    # Without jobLabel the job is the Service's name.
    assert "jobLabel" not in monitor
    jobs = {service, node.labels[pod_monitor["jobLabel"]]}
    named = {
        name for rule in _alerts() for text in re.findall(r'job=~?"([^"]*)"', rule["expr"]) for name in text.split("|")
    }
    assert named == jobs


def test_metrics_are_scraped_from_where_the_network_policy_lets_them_be() -> None:
    namespaces = {item["metadata"]["namespace"] for item in render("monitoring")}
    (metrics,) = (rule for rule in of_kind(render("base"), "NetworkPolicy")["spec"]["ingress"] if "from" in rule)
    (peer,) = metrics["from"]
    assert namespaces == {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]}


# -- alerts


def test_an_alert_asks_only_for_what_dnsd_has() -> None:
    assert {rule["alert"]: misfits(rule["expr"]) for rule in _alerts()} == {rule["alert"]: [] for rule in _alerts()}


def test_every_selector_of_an_alert_names_its_job() -> None:
    for rule in _alerts():
        selectors = re.findall(r"\b(?:coredns|dnsd|process)_\w+(\{[^}]*\})?|\bup(\{[^}]*\})?", rule["expr"])
        assert all('job="' in text or 'job=~"' in text for text in map("".join, selectors)), rule["expr"]


def test_every_alert_is_explained() -> None:
    headings = re.findall(r"^#+ (\w+)$", (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {rule["alert"] for rule in _alerts()} == {name for name in headings if name.startswith("Dnsd")}
    for rule in _alerts():
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_prometheus_takes_the_alerts(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(of_kind(render("monitoring"), "PrometheusRule")["spec"]), encoding="utf-8")
    done = subprocess.run([promtool(), "check", "rules", str(rules)], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


# -- dashboard


def test_the_dashboard_is_labelled_for_grafana() -> None:
    config = of_kind(render("monitoring"), "ConfigMap")
    assert config["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert list(config["data"]) == ["dnsd.json"]


def test_the_dashboard_asks_only_for_what_dnsd_has() -> None:
    found = {expression: misfits(_plain(expression)) for _, expression in _queries()}
    assert {expression: said for expression, said in found.items() if said} == {}


def test_every_own_metric_can_be_seen() -> None:
    text = json.dumps(_dashboard()) + json.dumps(_alerts())
    assert [name for name in known() if name.startswith("dnsd_") and name not in text] == []


def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": _plain(expression)} for number, (_, expression) in enumerate(_queries())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([promtool(), "check", "rules", str(path)], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_legends_name_labels_that_the_query_leaves() -> None:
    for panel in _panels():
        for target in panel["targets"]:
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            whole = not re.search(r"\b(sum|min|max|count)\b", target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert whole or label in kept, (panel["title"], label)


def test_every_query_follows_the_variables() -> None:
    names = {variable["name"] for variable in _dashboard()["templating"]["list"]}
    assert names == {"datasource", "job", "instance"}
    for _, expression in _queries():
        assert expression.count('{job=~"$job",instance=~"$instance"') == expression.count("{"), expression
    assert {json.dumps(panel["datasource"]) for panel in _panels()} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }


def test_panels_have_their_own_id_and_place() -> None:
    panels = _dashboard()["panels"]
    assert Counter(panel["id"] for panel in panels).most_common(1)[0][1] == 1
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + line) for column in range(place["w"]) for line in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(column for column, _ in cells) < WIDTH, panel["title"]
        taken |= cells
    lines = {line for _, line in taken}
    assert taken == {(column, line) for column in range(WIDTH) for line in lines}, "a hole"


def _alerts() -> list[dict[str, Any]]:
    return [
        rule for group in of_kind(render("monitoring"), "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
    ]


def _dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(of_kind(render("monitoring"), "ConfigMap")["data"]["dnsd.json"])
    return dashboard


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in _dashboard()["panels"] if panel["type"] != "row"]


def _queries() -> Iterator[tuple[str, str]]:
    """Title and expression."""
    for panel in _panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def _plain(expression: str) -> str:
    """The expression as Grafana sends it."""
    return expression.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+")
