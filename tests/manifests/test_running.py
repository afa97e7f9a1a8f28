"""The base's Corefile at work: what dnsd asks the API server is what the role allows, and what it counts is what the
alerts and the dashboard ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.apiserver import ApiServer, endpoint_slice, namespace, service
from tests.manifests.kustomize import render
from tests.manifests.metrics import Metric, exposed, known
from tests.manifests.web import get
from tests.manifests.workloads import Workload, allowed
from tests.process import dnsd, eventually, free_port
from tests.upstream import Upstream

ZONE = """\
$ORIGIN example.org.
@   300 IN SOA ns hostmaster 1 7200 3600 1209600 300
@   300 IN NS  ns
ns  300 IN A   192.0.2.1
www 300 IN A   192.0.2.80
"""


@dataclass(frozen=True)
class Seen:
    """What was seen from outside while dnsd ran."""

    requests: set[tuple[str, str]]
    """Plural and verb of each request to the API server."""
    ready: int
    metrics: dict[str, Metric]
    codes: set[int]
    """Status codes of the API server's answers."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("running")
    (folder / "zone").write_text(ZONE, encoding="utf-8")
    with ApiServer() as api, Upstream(folder / "zone") as upstream:
        api.put(
            namespace("shop"),
            service("shop", "web", "10.96.0.7"),
            service("shop", "db"),
            endpoint_slice("shop", "db-1", "db", ["10.244.0.1", "10.244.0.2"]),
        )
        # An API server that cannot begin a watch with a list: there the verb `list` is needed too.
        api.streaming = "refused"
        api.kubeconfig(folder / "kubeconfig")
        health, ready, metrics = free_port(), free_port(), free_port()
        corefile = Workload(render("base"), "Deployment", "dnsd").corefile
        for old, new in (
            (".:53 {", ".:PORT {\n    bind 127.0.0.1"),
            ("health {", f"health 127.0.0.1:{health} {{"),
            ("lameduck 5s", "lameduck 0s"),
            ("    ready\n", f"    ready 127.0.0.1:{ready}\n"),
            ("pods insecure", f"pods insecure\n        kubeconfig {folder / 'kubeconfig'}"),
            (":9153", f"127.0.0.1:{metrics}"),
            ("/etc/resolv.conf", upstream.address),
        ):
            assert corefile.count(old) == 1, old
            corefile = corefile.replace(old, new)
        with dnsd(corefile, folder) as server:
            eventually(lambda: server.texts("web.shop.svc.cluster.local") == ["10.96.0.7"], "the first list")
            for name in ("db.shop.svc.cluster.local", "none.shop.svc.cluster.local", "www.example.org"):
                server.ask(name)
                server.ask(name, tcp=True, want_dnssec=True)
            eventually(lambda: all(api.watching(plural) for plural in ("namespaces", "services", "endpointslices")))
            yield Seen(
                {(asked.plural, asked.verb) for asked in list(api.requests)},
                get("127.0.0.1", ready, "/ready")[0],
                exposed(get("127.0.0.1", metrics, "/metrics")[1]),
                {asked.code for asked in list(api.requests)},
            )
            assert get("127.0.0.1", health, "/health") == (200, "OK")


def test_dnsd_is_ready_with_what_the_role_allows(seen: Seen) -> None:
    assert seen.ready == 200
    assert not seen.codes & {401, 403}


def test_dnsd_asks_the_api_server_for_what_the_role_allows_and_nothing_else(seen: Seen) -> None:
    assert seen.requests == {(plural, verb) for _, plural, verb in allowed(render("base"))}


def test_a_metric_of_dnsd_has_the_type_and_the_labels_that_the_table_says(seen: Seen) -> None:
    assert {name: metric for name, metric in seen.metrics.items() if known().get(name) != metric} == {}


def test_every_own_metric_of_the_table_exists(seen: Seen) -> None:
    own = {name for name in known() if name.startswith(("dnsd_", "process_"))}
    assert own <= seen.metrics.keys()
