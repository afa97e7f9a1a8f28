"""One run of the suite: the cluster on disk, the servers that take part, and what happened to those that do not.

Knows how servers are started, checked and ended. Must not know what an experiment measures.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from benchmarks import api, manifests, questions, zones
from benchmarks.client import client, free_port, rcode_and_data
from benchmarks.cluster import Cluster
from benchmarks.processes import LOAD_CORE, SERVER_CORE, BenchmarkError, Process
from benchmarks.questions import Question
from benchmarks.servers import UPSTREAMS, Server, Site

START_SECONDS = 60.0
"""How long a server may take to its first answer."""

START_ATTEMPTS = 3
"""A port that was free may be taken, as the source of somebody's query, before the server binds it."""

POLL_SECONDS = 0.005
ANSWER_SECONDS = 2.0

CHECKED_QUESTIONS = 40
"""How many answers are compared with the zone before a server is measured on a set of questions."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Times in seconds."""

    rounds: int
    seconds: float
    slow_rounds: int
    slow_seconds: float
    """Length of a run at a low rate."""
    new_names: int
    """Names a round that no server has seen before."""
    flood: int
    """Random names in the flood."""
    changes: int
    """Changes of the cluster whose way to an answer is timed."""


FULL = Plan(rounds=5, seconds=2.0, slow_rounds=3, slow_seconds=4.0, new_names=30_000, flood=1_000_000, changes=1_000)
QUICK = Plan(rounds=2, seconds=0.7, slow_rounds=1, slow_seconds=1.5, new_names=5_000, flood=30_000, changes=100)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs and answers."""

    server: Server
    port: int
    process: Process
    start_seconds: float
    """From the start of the process to its first answer."""


class PortTakenError(BenchmarkError):
    """A server found one of its ports in use."""


class Bench:
    """What the experiments of one run share. Leaving the context ends every server and removes every file."""

    def __init__(self, plan: Plan, cluster: Cluster, servers: Sequence[Server], kubeconfig: Path | None = None) -> None:
        self.plan = plan
        self.cluster = cluster
        self.notes: list[str] = []
        self._servers = servers
        self._kubeconfig = kubeconfig
        self._api: api.Api | None = None
        self._stack = ExitStack()
        self._fleet: list[Running] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dnsd-bench-")))
            self.site = self._lay_out()
            upstream = stack.enter_context(self._upstream())
            self.site = replace(self.site, upstream=upstream.port)
            self._stack = stack.pop_all()
        for server in self._servers:
            if reason := server.missing():
                self.drop(server, reason)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def servers(self) -> list[Server]:
        """The servers that still take part."""
        return list(self._servers)

    def drop(self, server: Server, reason: str) -> None:
        """Leave a server out from here on, and say so."""
        self._servers = [other for other in self._servers if other is not server]
        self.note(f"{server.name} left out: {reason}")

    def note(self, text: str) -> None:
        """Say something that the report must carry, once."""
        if text in self.notes:
            return
        self.notes.append(text)
        print(f"  ! {text}", flush=True)

    def fleet(self) -> list[Running]:
        """Every server that takes part, running side by side; those not being asked are idle."""
        if self._fleet is None:
            self._fleet = [running for server in self.servers for running in self._join(server)]
        return [running for running in self._fleet if running.server in self._servers]

    @contextmanager
    def launch(
        self,
        server: Server,
        *,
        site: Site | None = None,
        cores: Sequence[int] = SERVER_CORE,
        first: Question | None = None,
    ) -> Iterator[Running]:
        """A server that has answered its first question. Raises BenchmarkError if it does not."""
        site = site or self.site
        if server.needs_api and site.kubeconfig is None:
            site = replace(site, kubeconfig=self.api().kubeconfig)
        # The last service in the file: when that is answered, everything was read.
        first = first or (self.cluster.services[-1].owner, "A")
        with ExitStack() as stack:
            for attempt in range(1, START_ATTEMPTS + 1):
                try:
                    running = stack.enter_context(self._start(server, site, cores, first))
                    break
                except PortTakenError:
                    if attempt == START_ATTEMPTS:
                        raise
            yield running

    @contextmanager
    def _start(self, server: Server, site: Site, cores: Sequence[int], first: Question) -> Iterator[Running]:
        directory = Path(tempfile.mkdtemp(prefix="server-", dir=self.directory))
        port = free_port()
        argv = server.configure(site, directory, port)
        started = time.monotonic()
        with Process(argv, cores=cores, log=directory / "log", environment=server.environment) as process:
            _await_answer(server, process, port, first, started + START_SECONDS)
            yield Running(server, port, process, time.monotonic() - started)

    def api(self) -> api.Api:
        """An API server that holds the cluster, started on first use."""
        if self._api is None:
            self._api = self._stack.enter_context(api.serve(self.cluster, self.directory))
        return self._api

    def questions(self, name: str, asked: Iterable[Question]) -> Path:
        """A file of questions for dnsperf."""
        path = self.directory / f"{name.replace(' ', '-')}.questions"
        questions.write(asked, path)
        return path

    def right(self, fleet: Iterable[Running], asked: Sequence[Question]) -> list[Running]:
        """The servers whose answers to a sample of the questions are what the zones say; the others get a note."""
        sample = random.Random(len(asked)).sample(asked, min(CHECKED_QUESTIONS, len(asked)))
        return [running for running in fleet if not running.server.answers or self._answers(running, sample)]

    def _answers(self, running: Running, sample: Sequence[Question]) -> bool:
        with client(running.port) as asking:
            for name, rtype in sample:
                reply = asking.ask((name, rtype), ANSWER_SECONDS)
                expected = self._oracle.answer(name, rtype)
                if reply is None or rcode_and_data(reply, rtype) != (expected.rcode, expected.data):
                    got = "nothing" if reply is None else " ".join(map(str, rcode_and_data(reply, rtype)))
                    self.note(f"{running.server.name} answers {name} {rtype} with {got}, not {expected}")
                    return False
        return True

    def _join(self, server: Server) -> Iterator[Running]:
        try:
            yield self._stack.enter_context(self.launch(server))
        except BenchmarkError as error:
            self.drop(server, str(error))

    def _lay_out(self) -> Site:
        """Write the cluster in every form that a server reads."""
        built = zones.build(self.cluster)
        upstream = zones.build_upstream(questions.FORWARDED_NAMES)
        self._oracle = zones.Oracle({**built, upstream.origin: upstream})
        paths = {}
        for zone in (*built.values(), upstream):
            paths[zone.origin] = self.directory / f"{zone.origin}zone"
            zone.write(paths[zone.origin])
        self._upstream_zones = {upstream.origin: paths.pop(upstream.origin)}
        cluster = self.directory / "cluster.json"
        manifests.write(self.cluster, cluster)
        return Site(zones=paths, manifests=cluster, kubeconfig=self._kubeconfig)

    @contextmanager
    def _upstream(self) -> Iterator[Running]:
        site = Site(zones=self._upstream_zones, manifests=self.site.manifests)
        server = next((server for server in UPSTREAMS if not server.missing()), None)
        if server is None:
            raise BenchmarkError(f"needs one of {', '.join(server.program for server in UPSTREAMS)} as an upstream")
        first = questions.forwarded()[0]
        with self.launch(server, site=site, cores=LOAD_CORE, first=first) as running:
            yield running


def _await_answer(server: Server, process: Process, port: int, first: Question, deadline: float) -> None:
    with client(port) as asking:
        while time.monotonic() < deadline:
            reply = asking.ask(first, POLL_SECONDS)
            if reply is not None and (reply.answer or not server.answers):
                return
            if not process.running:
                words = process.last_words()
                kind = PortTakenError if "in use" in words else BenchmarkError
                raise kind(f"{server.name} did not start: {words}")
            time.sleep(POLL_SECONDS)
    raise BenchmarkError(f"{server.name} gave no answer within {START_SECONDS:.0f} s: {process.last_words()}")
