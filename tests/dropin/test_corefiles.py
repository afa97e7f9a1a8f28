"""Corefiles as they are published, unchanged but for what is somebody else's on this machine: `dnsd check` takes them,
and questions are answered as written beside them.

Where they come from: kubeadm (as it is today, and with plain `cache 30` as it was), the Kubernetes documentation on
stub domains, NodeLocal DNSCache, AKS with its `coredns-custom` ConfigMap, EKS, k3s with its NodeHosts, OpenShift's
operator, kops for IPv6, minikube; and recipes that people pass on: search paths walked by the server, public names
kept inside, DNS over TLS, no AAAA, access lists, snippets with variables, external addresses, zones from files.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dnsd.cli import main
from tests.dropin import published, questions
from tests.dropin.upstreams import ZONES, Resolver, over_tls
from tests.observe.web import get, scrape, total
from tests.process import eventually

RESOLV_CONF = "/etc/resolv.conf"


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The published address of each upstream, to the one that it has here."""
    folder = tmp_path_factory.mktemp("upstreams")
    with (
        Resolver(ZONES / "internet.zone") as internet,
        Resolver(ZONES / "consul.local.zone") as consul,
        Resolver(ZONES / "puglife.local.zone") as puglife,
        over_tls(internet, folder) as tls,
        published.serve("kubeadm", folder / "kube-dns", {RESOLV_CONF: internet.address}) as kube_dns,
    ):
        yield {
            RESOLV_CONF: internet.address,
            "172.16.0.1": internet.address,
            "172.16.0.2": internet.address,
            "10.150.0.1": consul.address,
            "10.1.0.10": puglife.address,
            "10.96.0.11": f"127.0.0.1:{kube_dns.dnsd.port}",
            "1.1.1.1": tls,
            "1.0.0.1": tls,
            "cloudflare-dns.com": "localhost",
            "SSL_CERT_FILE": str(folder / "ca.crt"),
        }


def places(folder: Path, upstreams: Mapping[str, str]) -> dict[str, str]:
    """Everything that has another place here."""
    return {
        **upstreams,
        "/etc/coredns/": f"{folder}/",
        "/rootfs/etc/": f"{folder}/",
        "169.254.20.10": "127.0.0.1",
        "10.96.0.10": "127.0.0.2",
    }


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, upstreams: Mapping[str, str]) -> None:
    monkeypatch.setenv("CLUSTER_DOMAIN", "cluster.local")
    monkeypatch.setenv("CLUSTER_TTL", "45")
    monkeypatch.setenv("SSL_CERT_FILE", upstreams["SSL_CERT_FILE"])


@pytest.mark.parametrize("case", published.CASES)
def test_check_takes_it_as_it_is_published(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "resolv.conf").write_text("search example.com\nnameserver 192.0.2.53\n")
    folders = {RESOLV_CONF: f"{tmp_path}/resolv.conf", "/etc/coredns/": f"{tmp_path}/", "/rootfs/etc/": f"{tmp_path}/"}
    assert main(["check", str(published.copy(case, tmp_path, folders))]) == 0
    said = capsys.readouterr()
    *zones, verdict = said.out.splitlines()
    assert (verdict, said.err) == (f"{tmp_path}/Corefile: ok", "")
    assert {zone.rpartition(":")[2] for zone in zones} == {"5353" if case == "openshift" else "53"}
    assert [text for text in caplog.messages if "no file matches" not in text] == []


@pytest.mark.parametrize("case", published.CASES)
def test_it_answers_as_written(case: str, upstreams: Mapping[str, str], tmp_path: Path) -> None:
    expected = questions.read(published.COREFILES / case / "questions")
    expected = {
        question: [line.replace("HOSTNAME", platform.node()) for line in lines] for question, lines in expected.items()
    }
    with published.serve(case, tmp_path, places(tmp_path, upstreams)) as served:
        assert questions.ask(served.dnsd, expected) == expected
        said = (tmp_path / "Corefile").read_text()
        if "    ready" in said:
            eventually(lambda: get(served.pages["ready"], "/ready").status == 200, "readiness")
        if "    health" in said:
            assert get(served.pages["health"], "/health").body == b"OK"
        if "    prometheus" in said:
            counted = total(scrape(served.pages["prometheus"]), "coredns_dns_requests_total")
            assert counted >= len(expected)
        assert "Traceback" not in served.dnsd.log
        assert served.dnsd.process.poll() is None
