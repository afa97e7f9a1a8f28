"""Every server of the benchmarks starts with its configuration and answers a small cluster as the zones say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import dns.flags
import pytest

from benchmarks import questions
from benchmarks.bench import QUICK, START_ATTEMPTS, Bench
from benchmarks.client import client
from benchmarks.cluster import generate
from benchmarks.experiments import EXPERIMENTS
from benchmarks.figures import Figure
from benchmarks.processes import BenchmarkError
from benchmarks.servers import BARE_LOOP, DNSD, KNOT, NSD, SERVERS, UNBOUND, UPSTREAMS, Server, Site, choose, corefile

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("setpriv", "taskset"))), reason="needs setpriv and taskset (util-linux)"
)

CLUSTER = generate(services=60, endpoints_per_service=3)
PLAN = replace(QUICK, rounds=1, seconds=0.2, slow_rounds=1, slow_seconds=0.2, new_names=100, flood=100)


def _needed(server: Server) -> None:
    if reason := server.missing():
        pytest.skip(reason)
    if all(upstream.missing() for upstream in UPSTREAMS):
        pytest.skip("no upstream: needs NSD or Knot")


@pytest.mark.parametrize("server", [DNSD, KNOT, NSD, UNBOUND], ids=lambda server: server.name)
def test_a_server_answers_what_the_zones_say(server: Server) -> None:
    _needed(server)
    with Bench(PLAN, CLUSTER, [server]) as bench:
        asked = [*questions.hot(CLUSTER), *questions.mix(CLUSTER, 500), *questions.never_repeating(CLUSTER, 0, 100)]
        asked += questions.forwarded(10) if server.forwards else []
        assert [running.server for running in bench.right(bench.fleet(), asked)] == [server], bench.notes


def test_the_bare_loop_sends_every_query_back_as_a_reply() -> None:
    _needed(BARE_LOOP)
    with Bench(PLAN, CLUSTER, [BARE_LOOP]) as bench, client(bench.fleet()[0].port) as asking:
        for question in questions.mix(CLUSTER, 200):
            reply = asking.ask(question, 10.0)
            assert reply is not None
            assert reply.flags & dns.flags.QR
            assert reply.question[0].name.to_text() == question[0]


def test_an_answer_that_is_not_the_zone_s_takes_a_server_out_of_a_measurement() -> None:
    _needed(KNOT)
    with Bench(PLAN, CLUSTER, [KNOT]) as bench:
        absent = generate(services=61, endpoints_per_service=3).services[-1]
        bench._oracle._zones["cluster.local."].add(absent.owner, "A", ["10.0.0.1"])
        assert bench.right(bench.fleet(), [(absent.owner, "A")]) == []
        assert "Knot answers" in bench.notes[0]


@pytest.mark.parametrize("name", ["start", "udp", "tcp", "rates", "slow", "forward", "flood"])
def test_an_experiment_gives_figures_for_the_servers_that_take_part(name: str) -> None:
    for server in (KNOT, UNBOUND):
        _needed(server)
    if shutil.which("dnsperf") is None:
        pytest.skip("dnsperf is not on PATH")
    with Bench(PLAN, CLUSTER, [KNOT, UNBOUND]) as bench:
        figures: list[Figure] = EXPERIMENTS[name](bench)
    assert {figure.server for figure in figures} == {"forward": {"Unbound"}, "flood": {"Knot"}}.get(
        name, {"Knot", "Unbound"}
    )
    assert {figure.experiment for figure in figures} == {name}
    assert all(sample > 0 for figure in figures for sample in figure.samples)


def test_a_server_that_does_not_start_is_left_out_with_its_last_words() -> None:
    _needed(KNOT)

    def wrong(_site: object, _directory: Path, _port: int) -> list[str]:
        return ["sh", "-c", "echo no such option; exit 1"]

    broken = Server("broken", "sh", wrong)
    with Bench(PLAN, CLUSTER, [broken, KNOT]) as bench:
        assert [running.server for running in bench.fleet()] == [KNOT]
        assert bench.notes == ["broken left out: broken did not start: no such option"]


def test_peers_are_chosen_by_name() -> None:
    assert [server.name for server in choose(["knot", "bare-loop"])] == ["dnsd", "bare loop", "Knot"]
    with pytest.raises(BenchmarkError, match="no such peer: bind"):
        choose(["bind"])


def test_every_server_has_a_name_of_its_own() -> None:
    assert len({server.name for server in SERVERS}) == len(SERVERS)


def test_the_corefile_has_kubeadm_s_plugins() -> None:
    directives = {
        line.split()[0] for line in corefile(53, 5300, "").splitlines() if line.startswith("    ") and line[4] != " "
    }
    kubeadm = [
        "errors",
        "health",
        "ready",
        "kubernetes",
        "prometheus",
        "forward",
        "cache",
        "loop",
        "reload",
        "loadbalance",
    ]
    assert directives - {"bind", "}"} == set(kubeadm)


def test_a_port_that_was_taken_meanwhile_is_given_up_for_another() -> None:
    _needed(BARE_LOOP)
    ports: list[int] = []

    def unlucky(site: Site, directory: Path, port: int) -> list[str]:
        ports.append(port)
        if len(ports) < START_ATTEMPTS:
            return ["sh", "-c", "echo bind: Address already in use; exit 1"]
        return BARE_LOOP.configure(site, directory, port)

    with Bench(PLAN, CLUSTER, [replace(BARE_LOOP, configure=unlucky)]) as bench:
        assert [running.port for running in bench.fleet()] == ports[-1:]
        assert len(ports) == START_ATTEMPTS
