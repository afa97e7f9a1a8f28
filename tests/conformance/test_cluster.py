"""Every answer that CoreDNS was recorded to give for a cluster, asked of a real dnsd process.

The cluster comes once from manifests, and once over list and watch from an API server: the answers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.apiserver import ApiServer
from tests.conformance.compare import compare, load
from tests.process import Dnsd, dnsd, eventually
from tests.upstream import Upstream

DATA = Path(__file__).parent / "data"

COREFILES = {
    "pods-insecure": """\
.:PORT {
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        KUBE
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . UPSTREAM
    loadbalance
}
""",
    "pods-verified": """\
.:PORT {
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        KUBE
        pods verified
        endpoint_pod_names
        ttl 5
    }
}
""",
}
"""The configuration under which each recording was taken."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(DATA / "upstream.zone") as server:
        yield server


def synced(server: Dnsd) -> bool:
    return bool(server.texts("web.shop.svc.cluster.local"))


@pytest.mark.parametrize("recording", COREFILES)
def test_the_cluster_from_manifests_is_answered_as_recorded(recording: str, upstream: Upstream, tmp_path: Path) -> None:
    corefile = COREFILES[recording].replace("KUBE", f'manifests "{DATA / "cluster.yaml"}"')
    with dnsd(corefile.replace("UPSTREAM", upstream.address), tmp_path) as server:
        assert compare("127.0.0.1", server.port, load(DATA / f"{recording}.jsonl.gz")) == {}


@pytest.mark.parametrize("recording", COREFILES)
def test_the_cluster_from_an_api_server_is_answered_as_recorded(
    recording: str, upstream: Upstream, tmp_path: Path
) -> None:
    with ApiServer() as api:
        api.load(DATA / "cluster.yaml")
        kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
        corefile = COREFILES[recording].replace("KUBE", f'kubeconfig "{kubeconfig}"')
        with dnsd(corefile.replace("UPSTREAM", upstream.address), tmp_path) as server:
            eventually(lambda: synced(server), "the first sync")
            assert compare("127.0.0.1", server.port, load(DATA / f"{recording}.jsonl.gz")) == {}
