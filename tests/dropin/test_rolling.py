"""Replacing and reconfiguring servers costs no client an answer: a rolling restart behind a Service, and a hundred
reloads, some thousands of queries a second the while, each of which is accounted for."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.cluster.apiserver import ApiServer, Fault
from tests.dropin.load import RATE, Load, Question
from tests.dropin.published import CLUSTER
from tests.dropin.upstreams import ZONES, Resolver
from tests.observe.web import get, scrape, total
from tests.process import Dnsd, dnsd, eventually, free_port

WORKERS = pytest.mark.parametrize("workers", [1, 2], ids=["one process", "two workers"])

COREFILE = """\
.:PORT {
    bind 127.0.0.1
    errors
    health 127.0.0.1:HEALTH {
        lameduck 3s
    }
    ready 127.0.0.1:READY
    prometheus 127.0.0.1:METRICS
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig kubeconfig
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . UPSTREAM
    cache 30
    loadbalance
}
"""

COMMON = [
    *[Question("web.shop.svc.cluster.local"), Question("db.shop.svc.cluster.local", answers=2)] * 20,
    *[Question("kubernetes.default.svc.cluster.local"), Question("www.example.com")] * 20,
    *[Question(f"missing-{i}.shop.svc.cluster.local", rcode=3, answers=0) for i in range(10)],
    *[Question(f"10-0-0-{i}.shop.pod.cluster.local") for i in range(10)],
]
"""What pods ask most of the time."""
QUESTIONS = [
    question for i in range(200) for question in (*COMMON, Question(f"slow-{i}.example.com", rcode=3, answers=0))
]
"""The same, and now and then what the upstream takes its time for: it is under way whenever something changes."""


class Slow(Resolver):
    """An upstream that thinks about some names."""

    def answer(self, data: bytes, protocol: str) -> bytes | None:
        """The reply to a query."""
        if b"slow-" in data:
            time.sleep(0.02)
        return super().answer(data, protocol)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Resolver]:
    with Slow(ZONES / "internet.zone") as server:
        yield server


@dataclass(frozen=True, slots=True)
class Pod:
    """A server with the pages that the kubelet and Prometheus look at."""

    dnsd: Dnsd
    health: int
    ready: int
    metrics: int

    @property
    def is_ready(self) -> bool:
        """What a readiness probe says."""
        with contextlib.suppress(OSError):
            return get(self.ready, "/ready").status == 200
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the `kubeconfig` of a cluster, whose API server takes its time: who starts is not ready at once."""
    with ApiServer() as api:
        api.load(CLUSTER)
        api.kubeconfig(tmp_path / "kubeconfig")
        api.fault("watch", "services", Fault(delay=0.05), times=10)
        yield tmp_path


@contextlib.contextmanager
def pod(upstream: Resolver, folder: Path, workers: int) -> Iterator[Pod]:
    """A server that has started; it is not ready yet."""
    health, ready, metrics = free_port(), free_port(), free_port()
    corefile = COREFILE.replace("UPSTREAM", upstream.address).replace("HEALTH", str(health))
    corefile = corefile.replace("READY", str(ready)).replace("METRICS", str(metrics))
    with dnsd(corefile, folder, "--workers", str(workers)) as server:
        yield Pod(server, health, ready, metrics)


class Service:
    """What kube-proxy does: a new flow goes to any pod that is ready, and one that is not gets no more of them."""

    def __init__(self, *pods: Pod) -> None:
        self.pods = list(pods)
        self._ready: list[Pod] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def choose(self) -> int:
        """The port for a new flow."""
        return random.choice(self._ready).dnsd.port

    def has(self, pod: Pod) -> bool:
        """Whether new flows go there."""
        return pod in self._ready

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._ready = [pod for pod in tuple(self.pods) if pod.is_ready]

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: len(self._ready) == len(self.pods), "readiness")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


@WORKERS
def test_a_rolling_restart_loses_no_query(workers: int, upstream: Resolver, folder: Path) -> None:
    """One of two at a time: told to end, out of the Service, a lame duck, gone, and its successor ready."""
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(pod(upstream, folder, workers)) for _ in range(2)]
        service = stack.enter_context(Service(*old))
        with Load(QUESTIONS, service.choose) as load:
            for leaving in old:
                before = load.sent
                leaving.dnsd.process.send_signal(signal.SIGTERM)
                eventually(lambda: not service.has(leaving), "the end of readiness")  # noqa: B023  waited for here
                assert leaving.dnsd.process.poll() is None, "it goes on answering who comes late"
                assert get(leaving.health, "/health").status == 200
                assert leaving.dnsd.process.wait(30) == 0
                new = stack.enter_context(pod(upstream, folder, workers))
                service.pods = [other for other in service.pods if other is not leaving] + [new]
                eventually(lambda: service.has(new), "readiness")  # noqa: B023  waited for here
                assert load.sent > before
    assert (load.lost, load.wrong) == ([], [])
    assert load.sent > RATE


BAD = (
    "forward . UPSTREAM\n    frobnicate {}\n",
    "forward . UPSTREAM {{\n        max_fails {}x\n    }}\n",
    "forward . UPSTREAM\n    file zone-{}.db a..test\n",
    "forward . UPSTREAM\n}}\n}} {}\n",
)
"""Mistakes of all kinds, in place of a line that is good; never the same text twice."""


@WORKERS
def test_a_hundred_reloads_lose_no_query(workers: int, upstream: Resolver, folder: Path) -> None:
    """Two Corefiles that are good take turns, with one that is bad between any two."""
    count = 100
    with contextlib.ExitStack() as stack:
        subject = stack.enter_context(pod(upstream, folder, workers))
        service = stack.enter_context(Service(subject))
        load = stack.enter_context(Load(QUESTIONS, service.choose))
        (path,) = folder.glob("Corefile.*")
        good = path.read_text()
        line = f"forward . {upstream.address}\n"
        assert line in good
        mistakes = itertools.cycle(BAD)
        for number in range(1, count + 1):
            bad = good.replace(line, next(mistakes).format(number).replace("UPSTREAM", upstream.address))
            reload(subject, path, bad, "[ERROR] plugin/reload: ", number)
            ttl = 30 if number % 2 == 0 else 20
            reload(subject, path, good.replace("ttl 30", f"ttl {ttl}"), "[INFO] plugin/reload: ", number)
            eventually(lambda: shown_ttl(subject) == ttl, "the new configuration")  # noqa: B023  waited for here
        series = scrape(subject.metrics)
        assert total(series, "coredns_reload_failed_total") == count
        assert service.has(subject)
        assert subject.dnsd.process.poll() is None
    assert (load.lost, load.wrong) == ([], [])
    assert "Traceback" not in subject.dnsd.log
    assert load.sent > RATE


def reload(subject: Pod, path: Path, text: str, says: str, times: int) -> None:
    """Have another Corefile looked at, and wait until the log says what became of it."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)
    subject.dnsd.process.send_signal(signal.SIGUSR1)
    eventually(lambda: subject.dnsd.log.count(says) == times, f"{times} times {says!r}")


def shown_ttl(subject: Pod) -> int:
    """The TTL of names of the cluster."""
    return subject.dnsd.ask("web.shop.svc.cluster.local").answer[0].ttl
