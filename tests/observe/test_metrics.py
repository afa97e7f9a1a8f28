"""/metrics: counters that never go back, what comes of the cluster, and what was lost (spec.md section 7.1)."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from dnsd.cluster import objects
from dnsd.cluster.index import Index
from dnsd.cluster.store import Clusters, Source, SourceSettings
from dnsd.observe import collect, families
from dnsd.observe.metrics import Metrics, source_name
from tests.observe.web import Series, scrape, series, total
from tests.process import dnsd, eventually, free_port
from tests.upstream import Upstream

CLUSTER = Path(__file__).parent.parent / "conformance" / "data"

Sample = tuple[str, frozenset[tuple[str, str]]]


# -- counters that never go back

SMALL = """
.:PORT {
    bind 127.0.0.1
    errors
    prometheus 127.0.0.1:%d
    hosts {
        10.0.0.1 www.example.org
        fallthrough
    }
    forward . %s
}
"""


def counters(found: Series) -> Series:
    """What may not go back."""
    endings = ("_total", "_count", "_sum", "_bucket")
    return {sample: value for sample, value in found.items() if sample[0].endswith(endings)}


def went_back(before: Series, after: Series) -> set[Sample]:
    return {sample for sample, value in counters(before).items() if after.get(sample, -1) < value}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reload_keeps_what_was_counted(workers: str, tmp_path: Path) -> None:
    port = free_port()
    with (
        Upstream(CLUSTER / "upstream.zone") as upstream,
        dnsd(SMALL % (port, upstream.address), tmp_path, "--workers", workers) as server,
    ):
        for number in range(20):
            assert server.texts("www.example.org") == ["10.0.0.1"]
            server.ask(f"n{number}.example.com")
        seen = [scrape(port)]
        assert total(seen[0], "coredns_dns_requests_total", type="A") >= 40
        assert total(seen[0], "coredns_proxy_request_duration_seconds_count", rcode="NXDOMAIN") == 20
        path = tmp_path / f"Corefile.{server.port}"
        path.write_text(path.read_text().replace("10.0.0.1 www", "10.0.0.2 www"))
        server.process.send_signal(signal.SIGUSR1)

        def reloaded() -> bool:
            seen.append(scrape(port))
            return total(seen[-1], "coredns_reload_version_info") == 1

        eventually(reloaded, "the reload")
        eventually(lambda: server.texts("www.example.org") == ["10.0.0.2"], "the new configuration")
        server.ask("one-more.example.com")
        seen += [scrape(port) for _ in range(20)]
    for earlier, later in itertools.pairwise(seen):
        assert went_back(earlier, later) == set()
    assert total(seen[-1], "coredns_proxy_request_duration_seconds_count", rcode="NXDOMAIN") == 21


def test_a_worker_that_dies_takes_no_numbers_with_it_that_were_seen(tmp_path: Path) -> None:
    port = free_port()
    with dnsd(SMALL % (port, "127.0.0.1:9"), tmp_path, "--workers", "2") as server:
        for _ in range(20):
            server.texts("www.example.org")
        before = scrape(port)
        assert total(before, "coredns_dns_requests_total", type="A") >= 20
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        eventually(lambda: "is replaced" in server.log, "the end of the worker")
        after = scrape(port)
    dns = {sample for sample in went_back(before, after) if sample[0].startswith("coredns_dns")}
    assert dns == set()


def test_a_corefile_that_cannot_be_used_is_counted_and_the_old_one_named(tmp_path: Path) -> None:
    port = free_port()
    with dnsd(SMALL % (port, "127.0.0.1:9"), tmp_path) as server:
        assert total(scrape(port), "coredns_reload_version_info") == 0
        path = tmp_path / f"Corefile.{server.port}"
        path.write_text(path.read_text().replace("errors", "errrors"))
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: total(scrape(port), "coredns_reload_failed_total") == 1, "the failure")
        found = [dict(labels) for name, labels in scrape(port) if name == "coredns_reload_version_info"]
        assert [(labels["hash"], len(labels["value"])) for labels in found] == [("sha512", 128)]
        assert server.texts("www.example.org") == ["10.0.0.1"]


# -- the cluster


class NoSource:
    """A source that gives nothing."""

    async def prepare(self) -> None:
        """Nothing to prepare."""

    async def run(self) -> None:
        """Nothing to run."""


def no_source(settings: SourceSettings, index: Index) -> Source:
    return NoSource()


NOW = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
DELAY = "coredns_kubernetes_dns_programming_duration_seconds"


def slices(trigger: str | None, *, service: str = "web") -> objects.EndpointSlice:
    annotations = {} if trigger is None else {"endpoints.kubernetes.io/last-change-trigger-time": trigger}
    return objects_from(
        objects.EndpointSlice,
        {
            "metadata": {
                "namespace": "shop",
                "name": "web-1",
                "labels": {"kubernetes.io/service-name": service},
                "annotations": annotations,
            }
        },
    )


def objects_from(kind: type, value: dict[str, object]) -> objects.EndpointSlice:
    made: objects.EndpointSlice = msgspec.json.decode(json.dumps(value), type=kind)
    return made


@pytest.mark.parametrize(
    ("cluster_ip", "trigger", "expected"),
    [
        ("10.96.0.1", "2023-12-31T23:59:58Z", {"cluster_ip": 2.0}),
        ("None", "2023-12-31T23:59:59.500000000Z", {"headless_with_selector": 0.5}),
        ("10.96.0.1", "2024-01-01T01:00:00+01:00", {"cluster_ip": 0.0}),
        ("10.96.0.1", "2024-01-01T00:00:07Z", {"cluster_ip": 0.0}),
        ("10.96.0.1", "2023-12-31T23:59:58", {}),
        ("10.96.0.1", "yesterday", {}),
        ("10.96.0.1", None, {}),
        (None, "2023-12-31T23:59:58Z", {}),
    ],
)
def test_a_change_of_endpoints_is_timed_from_what_led_to_it(
    cluster_ip: str | None, trigger: str | None, expected: dict[str, float]
) -> None:
    clusters, metrics = Clusters(no_source), Metrics(lambda: NOW)
    index = clusters.get(SourceSettings()).index
    metrics.follow(clusters)
    metrics.follow(clusters)
    if cluster_ip is not None:
        spec = {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip]}
        index.put(objects_from(objects.Service, {"metadata": {"namespace": "shop", "name": "web"}, "spec": spec}), NOW)
    index.put(slices(trigger), NOW)
    assert total(series(metrics.page([]).decode()), f"{DELAY}_count") == 0, "what the first list has is no change"
    for kind in index.kinds:
        index.mark_synced(kind)
    index.delete(objects.EndpointSlice, "shop", "web-1", NOW)
    index.put(slices(trigger), NOW)
    found = series(metrics.page([]).decode())
    sums = {dict(labels)["service_kind"]: value for (name, labels), value in found.items() if name == f"{DELAY}_sum"}
    assert sums == expected
    assert total(found, f"{DELAY}_count") == len(expected)


def test_requests_to_the_api_server_are_told_by_code_and_timed() -> None:
    metrics = Metrics(lambda: NOW)
    for code, seconds in (("200", 0.02), ("200", 0.3), ("<error>", 9.0)):
        metrics.observe_request("GET", "10.96.0.1:443", code, seconds)
    found = series(metrics.page([]).decode())
    prefix = "coredns_kubernetes_rest_client"
    assert total(found, f"{prefix}_requests_total", code="200", host="10.96.0.1:443", method="GET") == 2
    assert total(found, f"{prefix}_requests_total", code="<error>") == 1
    durations = f"{prefix}_request_duration_seconds_bucket"
    assert [total(found, durations, verb="GET", le=le) for le in ("0.01", "0.025", "0.5", "10", "+Inf")] == [
        0,
        1,
        2,
        3,
        3,
    ]
    assert total(found, f"{prefix}_rate_limiter_duration_seconds_count", verb="GET") == 3
    assert total(found, f"{prefix}_rate_limiter_duration_seconds_sum") == 0


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (SourceSettings(), "in-cluster"),
        (SourceSettings(endpoint="https://10.0.0.1:6443"), "https://10.0.0.1:6443"),
        (SourceSettings(kubeconfig="/etc/kubeconfig"), "/etc/kubeconfig"),
        (SourceSettings(kubeconfig="/etc/kubeconfig", context="blue"), "/etc/kubeconfig:blue"),
        (SourceSettings(manifests=("a.yaml", "b")), "a.yaml,b"),
    ],
)
def test_a_cluster_is_called_after_its_source(settings: SourceSettings, name: str) -> None:
    assert source_name(settings) == name


# -- losses


def test_datagrams_that_find_no_room_are_counted_by_the_kernel() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        server.bind(("127.0.0.1", 0))
        if collect.receive_drops(server) is None:
            pytest.skip("this kernel does not say")
        assert collect.receive_drops(server) == 0
        for _ in range(100):
            client.sendto(bytes(500), server.getsockname())
        read = 0
        server.setblocking(False)  # noqa: FBT003  the library's signature
        while True:
            try:
                server.recv(512)
            except BlockingIOError:
                break
            read += 1
        assert collect.receive_drops(server) == 100 - read > 0
    assert collect.receive_drops(server) is None


def test_families_without_labels_are_there_from_the_start() -> None:
    found = series(Metrics(lambda: NOW).page([]).decode())
    for name in (
        "coredns_forward_healthcheck_broken_total",
        "coredns_forward_max_concurrent_rejects_total",
        "coredns_health_request_failures_total",
        "coredns_local_localhost_requests_total",
        "coredns_reload_failed_total",
    ):
        assert found[name, frozenset()] == 0


def test_what_ended_counts_on_beside_what_goes_on() -> None:
    metrics = Metrics(lambda: NOW)
    for value in (2, 3):
        ended = families.counter("coredns_panics_total", "")
        ended.add(value)
        entries = families.gauge("coredns_cache_entries", "", adds=True)
        entries.add(7)
        metrics.keep([ended, entries])
    running = families.counter("coredns_panics_total", "")
    running.add(1)
    found = series(metrics.page([[running]]).decode())
    assert found["coredns_panics_total", frozenset()] == 6
    assert total(found, "coredns_cache_entries") == 0
