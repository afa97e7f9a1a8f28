"""Signals, and what operators see of an orderly end (spec.md sections 3.3, 5.3 and 6), of real processes."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.observe.web import get, listens, scrape, total
from tests.process import DEADLINE, Dnsd, dnsd, eventually, free_port

COREFILE = """
.:PORT {
    bind 127.0.0.1
    health 127.0.0.1:%d {
        lameduck %s
    }
    ready 127.0.0.1:%d
    prometheus 127.0.0.1:%d
    kubernetes cluster.local {
        manifests "%s"
    }
    hosts {
        10.0.0.1 www.example.org
        fallthrough
    }
}
"""
LONG = "1h"
"""A lameduck that no test lives to see the end of."""


@dataclass
class Server:
    """A dnsd process, its pages, and the manifest that it serves."""

    dnsd: Dnsd
    health: int
    ready: int
    metrics: int
    manifest: Path

    def signal(self, number: signal.Signals) -> None:
        self.dnsd.process.send_signal(number)

    def ended_with(self) -> int:
        return self.dnsd.process.wait(DEADLINE)

    def put(self, address: str) -> None:
        """Let the Service shop/web have this address."""
        service = {
            "kind": "Service",
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"clusterIP": address, "clusterIPs": [address]},
        }
        namespace = {"kind": "Namespace", "metadata": {"name": "shop"}}
        self.manifest.write_text(json.dumps({"kind": "List", "items": [namespace, service]}))

    def limps(self) -> None:
        """Ask for an orderly end, and wait until it has begun."""
        self.signal(signal.SIGTERM)
        eventually(lambda: not listens(self.ready), "the end of /ready")


@contextlib.contextmanager
def serving(folder: Path, lameduck: str = "0s") -> Iterator[Server]:
    health, ready, metrics = (free_port() for _ in range(3))
    manifest = folder / "cluster.json"
    manifest.write_text("{}")
    with dnsd(COREFILE % (health, lameduck, ready, metrics, manifest), folder) as process:
        yield Server(process, health, ready, metrics, manifest)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_ends_with_status_0(number: signal.Signals, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.signal(number)
        assert server.ended_with() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_is_ignored(number: signal.Signals, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.signal(number)
        assert server.dnsd.texts("www.example.org") == ["10.0.0.1"]
        assert server.dnsd.stop() == 0


def test_a_second_sigint_does_not_wait_for_the_lameduck(tmp_path: Path) -> None:
    with serving(tmp_path, LONG) as server:
        server.signal(signal.SIGINT)
        eventually(lambda: not listens(server.ready), "the end of /ready")
        server.signal(signal.SIGINT)
        assert server.ended_with() == 2


def test_sigquit_does_not_wait_for_the_lameduck(tmp_path: Path) -> None:
    with serving(tmp_path, LONG) as server:
        server.limps()
        server.signal(signal.SIGQUIT)
        assert server.ended_with() == 0


def test_in_the_lameduck_nobody_finds_it_ready_and_all_else_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path, LONG) as server:
        assert get(server.ready, "/ready").status == 200
        server.limps()
        assert get(server.health, "/health").body == b"OK"
        assert server.dnsd.texts("www.example.org") == ["10.0.0.1"]
        assert server.dnsd.texts("www.example.org", tcp=True) == ["10.0.0.1"]
        assert total(scrape(server.metrics), "coredns_dns_requests_total", type="A") >= 2


def test_in_the_lameduck_the_cluster_is_still_followed(tmp_path: Path) -> None:
    with serving(tmp_path, LONG) as server:
        server.limps()
        for address in ("10.96.0.1", "10.96.0.2"):
            server.put(address)
            eventually(lambda a=address: server.dnsd.texts("web.shop.svc.cluster.local") == [a], "the new address")  # type: ignore[misc]


def test_after_the_lameduck_it_ends(tmp_path: Path) -> None:
    with serving(tmp_path, "1s") as server:
        server.limps()
        assert server.dnsd.texts("www.example.org") == ["10.0.0.1"]
        assert server.ended_with() == 0


def test_sigusr1_reads_the_corefile_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        path = tmp_path / f"Corefile.{server.dnsd.port}"
        path.write_text(path.read_text().replace("10.0.0.1", "10.0.0.2"))
        server.signal(signal.SIGUSR1)
        eventually(lambda: server.dnsd.texts("www.example.org") == ["10.0.0.2"], "the new configuration")
