"""Each alert, evaluated by Prometheus itself: quiet on a healthy cluster, and firing on the trouble that it is for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.kustomize import of_kind, render
from tests.manifests.promtool import promtool

MINUTES = 30
"""When it is looked at: every `for` and every range is over by then."""

A = 'job="kube-dns",instance="10.1.0.2:9153"'
B = 'job="kube-dns",instance="10.1.0.3:9153"'
SERVER = 'server="dns://:53",zone="."'
UP = f"up{{{A}}}"
START = f"process_start_time_seconds{{{A}}}"
PANICS = f"coredns_panics_total{{{A}}}"
RELOADS = f"coredns_reload_failed_total{{{A}}}"
SERVFAIL = f'coredns_dns_responses_total{{{A},{SERVER},rcode="SERVFAIL"}}'
ANSWERED = f"coredns_dns_request_duration_seconds_bucket{{{A},{SERVER},le="
PROGRAMMED = f"coredns_kubernetes_dns_programming_duration_seconds_bucket{{{A},le="
FORWARDED = f'coredns_proxy_request_duration_seconds_bucket{{{A},to="10.0.0.2:53",rcode="NOERROR",le='
FORWARDED_COUNT = f'coredns_proxy_request_duration_seconds_count{{{A},to="10.0.0.2:53",rcode='
CHECKED = f"coredns_health_request_duration_seconds_bucket{{{A},le="

NEVER = "0+0x60"
RATE = "0+60x60"
"""One a second."""
ONCE = "0+0x20 1+0x40"
"""In the twenty-first minute."""

HEALTHY = {
    UP: "1+0x60",
    f"up{{{B}}}": "1+0x60",
    START: "1000+0x60",
    PANICS: NEVER,
    RELOADS: NEVER,
    f'coredns_reload_version_info{{{A},hash="sha512",value="aa"}}': "1+0x60",
    f'coredns_reload_version_info{{{B},hash="sha512",value="aa"}}': "1+0x60",
    f'coredns_dns_responses_total{{{A},{SERVER},rcode="NOERROR"}}': "0+6000x60",
    f'coredns_dns_responses_total{{{A},{SERVER},rcode="NXDOMAIN"}}': "0+6000x60",
    SERVFAIL: "0+6x60",
    f'{ANSWERED}"0.00025"}}': "0+9000x60",
    f'{ANSWERED}"0.128"}}': "0+12000x60",
    f'{ANSWERED}"8.192"}}': "0+12000x60",
    f'{ANSWERED}"+Inf"}}': "0+12000x60",
    f"dnsd_cluster_synced{{{A}}}": "1+0x60",
    f'dnsd_watch_age_seconds{{{A},kind="Service"}}': "55+0x60",
    f'{PROGRAMMED}"0.512"}}': "0+60x60",
    f'{PROGRAMMED}"65.536"}}': "0+60x60",
    f'{PROGRAMMED}"+Inf"}}': "0+60x60",
    f'coredns_kubernetes_rest_client_requests_total{{{A},code="200",method="GET"}}': "0+1x60",
    f'{FORWARDED}"0.016"}}': "0+600x60",
    f'{FORWARDED}"8.192"}}': "0+600x60",
    f'{FORWARDED}"+Inf"}}': "0+600x60",
    f'{FORWARDED_COUNT}"NOERROR"}}': "0+600x60",
    f'coredns_proxy_healthcheck_failures_total{{{A},to="10.0.0.2:53"}}': NEVER,
    f"coredns_forward_healthcheck_broken_total{{{A}}}": NEVER,
    f"coredns_forward_max_concurrent_rejects_total{{{A}}}": NEVER,
    f'dnsd_loop_detected{{{A},zone="."}}': NEVER,
    f"process_cpu_seconds_total{{{A}}}": "0+6x60",
    f"process_open_fds{{{A}}}": "60+0x60",
    f"process_max_fds{{{A}}}": "1024+0x60",
    f"dnsd_udp_receive_drops_total{{{A}}}": NEVER,
    f"dnsd_udp_shed_total{{{A}}}": NEVER,
    f'{CHECKED}"0.0025"}}': "0+60x60",
    f'{CHECKED}"2.5"}}': "0+60x60",
    f'{CHECKED}"+Inf"}}': "0+60x60",
}

WARNING, CRITICAL = "warning", "critical"

TROUBLES: list[tuple[dict[str, str], set[tuple[str, str]]]] = [
    ({UP: "0+0x60", f"up{{{B}}}": "0+0x60"}, {("DnsdDown", CRITICAL), ("DnsdReplicaDown", WARNING)}),
    ({UP: "0+0x60"}, {("DnsdReplicaDown", WARNING)}),
    ({START: "1000+0x10 2000+0x5 3000+0x5 4000+0x40"}, {("DnsdRestarting", WARNING)}),
    ({PANICS: ONCE}, {("DnsdPanics", WARNING)}),
    ({RELOADS: ONCE}, {("DnsdReloadFailed", WARNING)}),
    (
        {f'coredns_reload_version_info{{{B},hash="sha512",value="bb"}}': "1+0x60"},
        {("DnsdCorefilesDiffer", WARNING)},
    ),
    ({SERVFAIL: "0+240x60"}, {("DnsdErrorsHigh", WARNING)}),
    ({SERVFAIL: "0+1200x60"}, {("DnsdErrorsHigh", WARNING), ("DnsdErrorsHigh", CRITICAL)}),
    ({f'{ANSWERED}"0.128"}}': "0+11000x60"}, {("DnsdLatencyHigh", WARNING)}),
    ({f"dnsd_cluster_synced{{{A}}}": "0+0x60"}, {("DnsdNotSynced", CRITICAL)}),
    ({f'dnsd_watch_age_seconds{{{A},kind="Service"}}': RATE}, {("DnsdWatchStale", WARNING)}),
    ({f'{PROGRAMMED}"0.512"}}': "0+50x60"}, {("DnsdProgrammingSlow", WARNING)}),
    (
        {f'coredns_kubernetes_rest_client_requests_total{{{A},code="403",method="GET"}}': "0+1x60"},
        {("DnsdApiRequestsRefused", WARNING)},
    ),
    ({f'{FORWARDED_COUNT}"SERVFAIL"}}': RATE}, {("DnsdUpstreamErrors", WARNING)}),
    ({f'{FORWARDED}"0.016"}}': "0+500x60"}, {("DnsdUpstreamSlow", WARNING)}),
    (
        {f'coredns_proxy_healthcheck_failures_total{{{A},to="10.0.0.2:53"}}': RATE},
        {("DnsdUpstreamUnhealthy", WARNING)},
    ),
    ({f"coredns_forward_healthcheck_broken_total{{{A}}}": RATE}, {("DnsdNoUpstream", CRITICAL)}),
    ({f'dnsd_loop_detected{{{A},zone="."}}': "1+0x60"}, {("DnsdLoop", CRITICAL)}),
    ({f"coredns_forward_max_concurrent_rejects_total{{{A}}}": RATE}, {("DnsdForwardRejects", WARNING)}),
    ({f"process_cpu_seconds_total{{{A}}}": "0+57x60"}, {("DnsdBusy", WARNING)}),
    ({f"dnsd_udp_receive_drops_total{{{A}}}": RATE}, {("DnsdQueriesLost", WARNING)}),
    ({f"dnsd_udp_shed_total{{{A}}}": RATE}, {("DnsdQueriesShed", WARNING)}),
    ({f'{CHECKED}"0.0025"}}': "0+50x60"}, {("DnsdSlowToRespond", WARNING)}),
    ({f"process_open_fds{{{A}}}": "900+0x60"}, {("DnsdFewFileDescriptors", WARNING)}),
]


def test_a_healthy_cluster_raises_no_alert(tmp_path: Path) -> None:
    assert _fires(tmp_path, HEALTHY, set()) == ""


@pytest.mark.parametrize(
    ("trouble", "alerts"), TROUBLES, ids=["+".join(sorted({name for name, _ in alerts})) for _, alerts in TROUBLES]
)
def test_a_trouble_raises_its_alert_and_no_other(
    trouble: dict[str, str], alerts: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert _fires(tmp_path, HEALTHY | trouble, alerts) == ""


def test_every_alert_has_its_trouble() -> None:
    groups = of_kind(render("monitoring"), "PrometheusRule")["spec"]["groups"]
    defined = {(rule["alert"], rule["labels"]["severity"]) for group in groups for rule in group["rules"]}
    assert set().union(*(alerts for _, alerts in TROUBLES)) == defined


def test_the_check_itself_sees_an_alert_that_nobody_expects(tmp_path: Path) -> None:
    assert re.search("DnsdBusy", _fires(tmp_path, HEALTHY | {f"process_cpu_seconds_total{{{A}}}": "0+57x60"}, set()))


def _fires(directory: Path, series: dict[str, str], alerts: set[tuple[str, str]]) -> str:
    """What promtool has to object to exactly these alerts, by name and severity, firing."""
    groups: Any = of_kind(render("monitoring"), "PrometheusRule")["spec"]
    (directory / "rules.yaml").write_text(yaml.safe_dump(groups), encoding="utf-8")
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname, severity) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{MINUTES}m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}",severity="{severity}"}}', "value": 1}
                            for name, severity in alerts
                        ],
                    }
                ],
            }
        ],
    }
    (directory / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    done = subprocess.run(
        [promtool(), "test", "rules", "test.yaml"], cwd=directory, capture_output=True, check=False, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
