"""/metrics after the questions of a recording: the reference's names, labels and values (spec.md section 7.1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cluster.apiserver import ApiServer
from tests.observe.web import Series, get, scrape, series, total
from tests.process import Dnsd, dnsd, eventually, free_port
from tests.upstream import Upstream

DATA = Path(__file__).parent / "data"
CLUSTER = Path(__file__).parent.parent / "conformance" / "data"

KUBEADM = """
.:PORT {
    bind 127.0.0.1
    errors
    health 127.0.0.1:%d
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig %s
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    hosts {
        10.9.9.9 a.test
        fallthrough
    }
    prometheus 127.0.0.1:%d
    forward . %s
    cache 30 {
        disable success cluster.local
        disable denial cluster.local
    }
    loop
    loadbalance
}
"""

OTHERWISE = {
    "coredns_build_info": "it says what runs",
    "coredns_proxy_conn_cache_hits_total": "each query over UDP has a socket, and so a port, of its own",
}
"""Samples of the reference that are not there as they are, and why."""

THE_SAME = (
    "coredns_dns_requests_total",
    "coredns_dns_do_requests_total",
    "coredns_dns_responses_total",
    "coredns_dns_request_duration_seconds_count",
    "coredns_dns_request_size_bytes_count",
    "coredns_dns_response_size_bytes_count",
    "coredns_cache_requests_total",
    "coredns_cache_hits_total",
    "coredns_cache_misses_total",
    "coredns_forward_healthcheck_broken_total",
    "coredns_forward_max_concurrent_rejects_total",
    "coredns_proxy_request_duration_seconds_count",
    "coredns_health_request_failures_total",
    "coredns_local_localhost_requests_total",
    "coredns_panics_total",
    "coredns_plugin_enabled",
    "coredns_reload_failed_total",
)
"""Samples whose value follows from the questions."""

Sample = tuple[str, frozenset[tuple[str, str]]]


def recorded() -> Series:
    return series((DATA / "recorded.txt").read_text())


def ask_recorded_questions(server: Dnsd) -> None:
    for question in json.loads((DATA / "questions.json").read_text()):
        edns = question.get("edns")
        options = {"use_edns": 0, "payload": edns["size"], "want_dnssec": edns.get("do", False)} if edns else {}
        server.ask(question["name"], question["type"], tcp=question.get("tcp", False), **options)


class Ours(NamedTuple):
    """What dnsd says before and after the questions, in the recording's words for ports."""

    before: Series
    after: Series
    text: str
    """The second, as it came."""


def types(text: str) -> dict[str, str]:
    """The type of each family."""
    return {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE ")}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ours:
    """A real process, an API server and an upstream, asked the questions of the recording."""
    folder = tmp_path_factory.mktemp("metrics")
    health, metrics = free_port(), free_port()
    with Upstream(CLUSTER / "upstream.zone") as upstream, ApiServer() as api:
        api.load(CLUSTER / "cluster.yaml")
        api.kubeconfig(folder / "kubeconfig")
        corefile = KUBEADM % (health, folder / "kubeconfig", metrics, upstream.address)
        with dnsd(corefile, folder) as server:
            names = {str(server.port): "PORT", str(upstream.port): "UPSTREAM"}

            def in_words(found: Series) -> Series:
                return {(name, frozenset(map(word, labels))): value for (name, labels), value in found.items()}

            def word(label: tuple[str, str]) -> tuple[str, str]:
                name, value = label
                if value == f"127.0.0.1:{api.port}":
                    return name, "APISERVER"
                host, _, port = value.rpartition(":")
                return name, f"{host}:{names[port]}" if port in names and host else value

            eventually(lambda: any(" HINFO " in line for line in upstream.asked), "the probe of `loop`")
            eventually(lambda: total(scrape(metrics), "dnsd_cluster_synced") == 1, "the first sync")
            eventually(lambda: total(scrape(metrics), "coredns_health_request_duration_seconds_count") > 0, "a check")
            before = in_words(scrape(metrics))
            ask_recorded_questions(server)
            text = get(metrics, "/metrics").body.decode()
            return Ours(before, in_words(series(text)), text)


def test_every_series_of_the_reference_is_there_with_its_labels(ours: Ours) -> None:
    missing = {sample for sample in recorded().keys() - ours.after.keys() if sample[0] not in OTHERWISE}
    assert missing == set()


def test_no_series_has_the_references_prefix_that_it_does_not_have(ours: Ours) -> None:
    found = {sample for sample in ours.after.keys() - recorded().keys() if sample[0].startswith("coredns_")}
    assert {sample for sample in found if sample[0] not in OTHERWISE} == set()


def test_every_series_is_of_the_references_type(ours: Ours) -> None:
    theirs, own = types((DATA / "recorded.txt").read_text()), types(ours.text)
    assert {name: own.get(name) for name in theirs if name not in OTHERWISE} == {
        name: kind for name, kind in theirs.items() if name not in OTHERWISE
    }


@pytest.mark.parametrize("name", THE_SAME)
def test_questions_count_as_the_reference_counts_them(name: str, ours: Ours) -> None:
    before, after, _ = ours
    once = counted_once(name)
    expected = {sample: value - once(sample) for sample, value in recorded().items() if sample[0] == name}
    found = {
        sample: after[sample] - (before.get(sample, 0) if name != "coredns_plugin_enabled" else 0)
        for sample in expected
    }
    assert found == expected


def counted_once(name: str) -> Callable[[Sample], float]:
    """What the recording has of `loop`'s probe, which came before the questions: one HINFO over UDP, REFUSED."""
    marks = {
        "coredns_dns_requests_total": {("type", "other"), ("proto", "udp")},
        "coredns_dns_responses_total": {("rcode", "REFUSED")},
        "coredns_dns_request_duration_seconds_count": set(),
        "coredns_dns_request_size_bytes_count": {("proto", "udp")},
        "coredns_dns_response_size_bytes_count": {("proto", "udp")},
        "coredns_cache_requests_total": set(),
        "coredns_cache_misses_total": set(),
        "coredns_proxy_request_duration_seconds_count": {("rcode", "REFUSED")},
    }.get(name)
    return lambda sample: float(marks is not None and marks <= sample[1])


def test_the_probe_of_loop_is_counted_too(ours: Ours) -> None:
    assert total(ours.before, "coredns_dns_requests_total", type="other") == 1


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("coredns_dns_request_size_bytes", {"proto": "tcp"}),
        ("coredns_dns_response_size_bytes", {"proto": "tcp"}),
    ],
)
def test_sizes_are_the_references(name: str, labels: dict[str, str], ours: Ours) -> None:
    for sample, value in recorded().items():
        if sample[0].startswith(name) and labels.items() <= set(sample[1]):
            assert ours.after[sample] == value, sample


def test_queries_are_as_long_as_the_references(ours: Ours) -> None:
    before, after, _ = ours
    name = "coredns_dns_request_size_bytes_sum"
    probe = 57  # CoreDNS's has two numbers of 19 digits
    assert total(after, name, proto="udp") - total(before, name, proto="udp") == (
        total(recorded(), name, proto="udp") - probe
    )


def test_a_reply_counts_before_it_is_truncated(ours: Ours) -> None:
    bucket = "coredns_dns_response_size_bytes_bucket"
    long = [
        total(found, bucket, proto="udp", le="8291") - total(found, bucket, proto="udp", le="4095")
        for found in ours[:2]
    ]
    assert long == [0, 1]


def test_the_process_is_described_as_prometheus_clients_of_every_language_do(ours: Ours) -> None:
    names = {name for name, _ in ours.after if name.startswith("process_")}
    assert names >= {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_network_receive_bytes_total",
        "process_network_transmit_bytes_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "process_virtual_memory_max_bytes",
    }


def test_the_freshness_of_each_watch_is_told(ours: Ours) -> None:
    kinds = {dict(labels)["kind"] for name, labels in ours.after if name == "dnsd_watch_age_seconds"}
    assert kinds == {"Namespace", "Service", "EndpointSlice"}
    assert total(ours.after, "dnsd_watch_lists_total") == 3
