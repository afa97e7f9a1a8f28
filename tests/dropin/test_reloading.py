"""What a reload keeps, and what it leaves behind: watches, listeners, pages, and nothing of a Corefile that was bad."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.rcode
import pytest

from tests.cluster.apiserver import ApiServer, Fault, endpoint_slice, namespace, service
from tests.observe.web import get, listens, scrape, total
from tests.process import Dnsd, command, dnsd, eventually, free_port

WORKERS = pytest.mark.parametrize("workers", [1, 2], ids=["one process", "two workers"])

WEB = "web.shop.svc.cluster.local"
WORLD = (
    namespace("shop"),
    service("shop", "db"),
    endpoint_slice("shop", "db-1", "db", ["10.244.2.1"]),
)
ASKERS = 32
"""Times that a question is asked to reach both of two workers; once in 2**31 runs one of them is left out."""


@dataclass
class Subject:
    """A server, and its Corefile, which `serve` replaces."""

    dnsd: Dnsd
    path: Path
    loaded: int = 0
    refused: int = 0
    ready: int = field(default_factory=free_port)

    def put(self, text: str) -> None:
        """Write another Corefile, and have the server look at it."""
        self.path.write_text(text.replace("PORT", str(self.dnsd.port)))
        self.dnsd.process.send_signal(signal.SIGUSR1)

    def serve(self, text: str) -> None:
        """Write another Corefile, and wait until it is served."""
        self.put(text)
        self.loaded += 1
        eventually(lambda: self.dnsd.log.count("Running configuration") == self.loaded, "the reload")

    def refuse(self, text: str) -> None:
        """Write a Corefile that cannot be used, and wait until that is told."""
        self.put(text)
        self.refused += 1
        eventually(lambda: self.dnsd.log.count("the old one goes on") == self.refused, "the refusal")

    def answers(self, name: str = WEB) -> set[str]:
        """What all workers answer: addresses with their TTL, or an rcode."""
        found = set()
        for _ in range(ASKERS):
            reply = self.dnsd.ask(name)
            data = {f"{rrset.ttl} {item.to_text()}" for rrset in reply.answer for item in rrset}
            found |= data or {dns.rcode.to_text(reply.rcode())}
        return found


def corefile(kubeconfig: Path, ttl: int, *more: str) -> str:
    """One that serves a cluster, with more directives."""
    lines = "\n    ".join(more)
    stanza = f"kubernetes cluster.local {{\n        kubeconfig {kubeconfig}\n        ttl {ttl}\n    }}"
    return f".:PORT {{\n    bind 127.0.0.1\n    {stanza}\n    {lines}\n}}\n"


@contextlib.contextmanager
def clusters(folder: Path, count: int) -> Iterator[list[tuple[ApiServer, Path]]]:
    """API servers with one service each, `web`, at 10.96.0.1 in the first, .2 in the second; and their kubeconfigs."""
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(1, count + 1):
            api = stack.enter_context(ApiServer())
            api.put(*WORLD, service("shop", "web", f"10.96.0.{number}"))
            found.append((api, api.kubeconfig(folder / f"kubeconfig.{number}")))
        yield found


@contextlib.contextmanager
def subject(text: str, folder: Path, workers: int) -> Iterator[Subject]:
    """A server with a Corefile that is to be replaced; it has synced."""
    with dnsd(text, folder, "--workers", str(workers)) as server:
        path = folder / f"Corefile.{server.port}"
        found = Subject(server, path)
        eventually(lambda: found.answers() == {"5 10.96.0.1"}, "the first sync")
        yield found


@WORKERS
def test_the_watch_goes_on(workers: int, tmp_path: Path) -> None:
    """The cluster is not listed again, so that neither answers nor readiness are lost for a moment."""
    ready = f"ready 127.0.0.1:{free_port()}"
    with clusters(tmp_path, 1) as [(api, config)], subject(corefile(config, 5, ready), tmp_path, workers) as server:
        for ttl in range(6, 12):
            server.serve(corefile(config, ttl, ready))
            assert get(int(ready.rpartition(":")[2]), "/ready").status == 200
            assert server.answers() == {f"{ttl} 10.96.0.1"}
        assert [asked.verb for asked in api.requests] == ["watch"] * 3
        api.put(service("shop", "web", "10.96.0.9"))
        eventually(lambda: server.answers() == {"11 10.96.0.9"}, "a change")


@WORKERS
def test_a_cluster_that_is_no_longer_named_is_no_longer_watched(workers: int, tmp_path: Path) -> None:
    """The old one answers until the new one has been read."""
    with clusters(tmp_path, 2) as [(old, one), (new, two)], subject(corefile(one, 5), tmp_path, workers) as server:
        for plural in ("namespaces", "services", "endpointslices"):
            new.fault("watch", plural, Fault(delay=0.3))
        server.put(corefile(two, 6))
        eventually(lambda: new.count("watch", "services") == 1, "the new watch")
        seen: set[str] = set()
        while "6 10.96.0.2" not in seen:
            seen |= server.answers()
        assert seen <= {"5 10.96.0.1", "6 10.96.0.2"}
        eventually(lambda: server.answers() == {"6 10.96.0.2"}, "the new cluster everywhere")
        eventually(lambda: old.watching("services") == 0, "the end of the old watch")
        assert new.watching("services") == 1


@WORKERS
def test_nothing_is_left_of_a_corefile_that_was_refused(workers: int, tmp_path: Path) -> None:
    """Its cluster is not watched, then or later, and no later reload waits for it; its listeners are closed."""
    metrics = free_port()
    page = f"prometheus 127.0.0.1:{metrics}"
    with (
        clusters(tmp_path, 2) as [(_, one), (other, two)],
        subject(corefile(one, 5, page), tmp_path, workers) as server,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        free = free_port()
        for fault in (
            "a.test:PORT {\n    frobnicate\n}\n",
            "a.test:PORT {\n    kubernetes {\n        kubeconfig nowhere\n    }\n}\n",
        ):
            server.refuse(corefile(two, 6, page) + fault)
        listeners = "".join(
            f"a.test:{port} {{\n    bind 127.0.0.1\n    whoami\n}}\n" for port in (free, taken.getsockname()[1])
        )
        server.refuse(corefile(one, 7, page) + listeners)
        assert server.answers() == {"5 10.96.0.1"}
        assert not listens(free)
        server.serve(corefile(one, 8, page))
        assert server.answers() == {"8 10.96.0.1"}
        assert other.requests == []
        series = scrape(metrics)
        assert total(series, "dnsd_cluster_synced") == len([s for s in series if s[0] == "dnsd_cluster_synced"]) == 1
        assert total(series, "coredns_reload_failed_total") == 3


@WORKERS
def test_changes_that_follow_each_other_closely_end_with_the_last_one(workers: int, tmp_path: Path) -> None:
    with clusters(tmp_path, 2) as [(_, one), (slow, two)], subject(corefile(one, 5), tmp_path, workers) as server:
        for plural in ("namespaces", "services", "endpointslices"):
            slow.fault("watch", plural, Fault(delay=0.5))
        server.put(corefile(two, 6))
        eventually(lambda: slow.count("watch", "services") == 1, "the first of them")
        server.put(corefile(one, 7))
        server.put(corefile(one, 8))
        eventually(lambda: server.answers() == {"8 10.96.0.1"}, "the last of them")
        eventually(lambda: slow.watching("services") == 0, "the end of what came between")


@WORKERS
def test_an_end_in_the_middle_of_a_reload_is_an_orderly_one(workers: int, tmp_path: Path) -> None:
    with clusters(tmp_path, 2) as [(_, one), (slow, two)], subject(corefile(one, 5), tmp_path, workers) as server:
        for plural in ("namespaces", "services", "endpointslices"):
            slow.fault("watch", plural, Fault(hang=True))
        server.put(corefile(two, 6))
        eventually(lambda: slow.watching("services") == 1, "the wait for the new cluster")
        assert server.answers() == {"5 10.96.0.1"}
        assert server.dnsd.stop() == 0
        assert "[ERROR]" not in server.dnsd.log


@WORKERS
def test_listeners_and_pages_come_and_go(workers: int, tmp_path: Path) -> None:
    before, after, extra = free_port(), free_port(), free_port()
    with clusters(tmp_path, 1) as [(_, config)]:
        first = corefile(config, 5, f"health 127.0.0.1:{before}", f"prometheus 127.0.0.1:{before}")
        more = f"a.test:{extra} {{\n    bind 127.0.0.1\n    hosts {{\n        192.0.2.1 a.test\n    }}\n}}\n"
        with subject(first, tmp_path, workers) as server:
            server.serve(corefile(config, 5, f"health 127.0.0.1:{after}", f"prometheus 127.0.0.1:{before}") + more)
            other = Dnsd(server.dnsd.process, extra, server.dnsd.output)
            assert other.texts("a.test") == other.texts("a.test", tcp=True) == ["192.0.2.1"]
            assert get(before, "/health").status == 404
            assert (get(after, "/health").status, get(before, "/metrics").status) == (200, 200)
            server.serve(first)
            assert (get(before, "/health").status, listens(after)) == (200, False)
            eventually(lambda: not other.answers(), "the end of the listener")
            assert not listens(extra)
            server.serve(first + more)
            for _ in range(ASKERS):
                assert other.texts("a.test") == other.texts("a.test", tcp=True) == ["192.0.2.1"]
            assert server.answers() == {"5 10.96.0.1"}


def test_the_directive_may_come_with_a_reload(tmp_path: Path) -> None:
    """From then on the Corefile is looked at without being told to."""
    with clusters(tmp_path, 1) as [(_, config)], subject(corefile(config, 5), tmp_path, 1) as server:
        server.serve(corefile(config, 6, "reload 2s 0s"))
        server.path.write_text(corefile(config, 7, "reload 2s 0s").replace("PORT", str(server.dnsd.port)))
        eventually(lambda: server.answers() == {"7 10.96.0.1"}, "a look")


def test_a_config_map_that_the_kubelet_swaps_is_seen_as_a_whole(tmp_path: Path) -> None:
    """Files are links into `..data`, itself a link that changes places in one step; imports are read again too."""
    port = free_port()

    def version(number: int) -> Path:
        folder = tmp_path / f"..version-{number}"
        folder.mkdir()
        (folder / "Corefile").write_text(f".:{port} {{\n    bind 127.0.0.1\n    import *.override\n    whoami\n}}\n")
        (folder / "hosts.override").write_text(f"hosts {{\n    192.0.2.{number} a.test\n    fallthrough\n}}\n")
        return folder

    data = tmp_path / "..data"
    data.symlink_to(version(1).name)
    for name in ("Corefile", "hosts.override"):
        (tmp_path / name).symlink_to(Path("..data", name))
    with command(["-conf", str(tmp_path / "Corefile")], port, tmp_path) as server:
        assert server.texts("a.test") == ["192.0.2.1"]
        (tmp_path / "..data_tmp").symlink_to(version(2).name)
        (tmp_path / "..data_tmp").replace(data)
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: server.texts("a.test") == ["192.0.2.2"], "the reload")
