"""Several workers on one port, as real processes: one watch, every worker fresh, none missed when it dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dns.message
import dns.query
import dns.rcode

from tests.process import DEADLINE, Dnsd, dnsd, eventually

COREFILE = """
.:PORT {
    bind 127.0.0.1
    kubernetes cluster.local {
        manifests cluster.yaml
    }
    whoami
}
"""

CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{clusterIP: {address}, ports: [{{name: http, port: 80, protocol: TCP}}]}}
"""

ASKERS = 32
"""Queries from as many ports: that all of them reach one of two workers happens once in 2**31 times."""


def write(folder: Path, address: str) -> None:
    fresh = folder / "cluster.yaml.new"
    fresh.write_text(CLUSTER.format(address=address))
    fresh.replace(folder / "cluster.yaml")


def children(server: Dnsd) -> list[int]:
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def answers(server: Dnsd, name: str) -> set[str]:
    """What as many askers as it takes to reach every worker are told."""
    found = set()
    for _ in range(ASKERS):
        query = dns.message.make_query(name, "A")
        reply = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=DEADLINE)
        texts = [data.to_text() for rrset in reply.answer for data in rrset]
        found.add(texts[0] if texts else dns.rcode.to_text(reply.rcode()))
    return found


def test_every_worker_answers_a_change_and_none_the_old_answer(tmp_path: Path) -> None:
    write(tmp_path, "10.96.0.1")
    with dnsd(COREFILE, tmp_path, "--workers", "2") as server:
        assert len(children(server)) == 2
        assert answers(server, "web.shop.svc.cluster.local") == {"10.96.0.1"}
        write(tmp_path, "10.96.0.2")
        eventually(lambda: "10.96.0.2" in answers(server, "web.shop.svc.cluster.local"), "the change")
        eventually(lambda: answers(server, "web.shop.svc.cluster.local") == {"10.96.0.2"}, "the change everywhere")


def test_a_worker_that_dies_is_replaced_and_every_question_answered(tmp_path: Path) -> None:
    write(tmp_path, "10.96.0.1")
    with dnsd(COREFILE, tmp_path, "--workers", "2") as server:
        first, second = children(server)
        os.kill(first, signal.SIGKILL)
        assert answers(server, "web.shop.svc.cluster.local") == {"10.96.0.1"}
        eventually(lambda: len(children(server)) == 2, "a new worker")
        assert first not in children(server)
        assert second in children(server)
        write(tmp_path, "10.96.0.3")
        eventually(lambda: answers(server, "web.shop.svc.cluster.local") == {"10.96.0.3"}, "the change everywhere")


def test_a_reload_replaces_workers_and_loses_no_query(tmp_path: Path) -> None:
    write(tmp_path, "10.96.0.1")
    with dnsd(COREFILE, tmp_path, "--workers", "2") as server:
        before = set(children(server))
        (corefile,) = tmp_path.glob("Corefile.*")
        corefile.write_text(corefile.read_text().replace("kubernetes cluster.local", "kubernetes cluster.test"))
        server.process.send_signal(signal.SIGUSR1)
        seen: set[str] = set()
        while seen != {"10.96.0.1"}:
            seen = answers(server, "web.shop.svc.cluster.test")
        eventually(lambda: not before & set(children(server)), "new workers")
        assert answers(server, "web.shop.svc.cluster.local") != {"10.96.0.1"}


def test_sigterm_ends_supervisor_and_workers(tmp_path: Path) -> None:
    write(tmp_path, "10.96.0.1")
    with dnsd(COREFILE, tmp_path, "--workers", "2") as server:
        workers = children(server)
        assert server.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    write(tmp_path, "10.96.0.1")
    with dnsd(COREFILE, tmp_path, "--workers", "2") as server:
        workers = children(server)
        server.process.kill()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers' end")
