"""What a change of the cluster does: how soon answers follow it, and what many changes do to everybody's latency.

The API server is the benchmarks' own, so that the moment at which an event is written is known.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from benchmarks import manifests, questions
from benchmarks.api import Api
from benchmarks.bench import ANSWER_SECONDS, Bench, Running
from benchmarks.client import Client, client, query
from benchmarks.cluster import Service
from benchmarks.dnsperf import TIMEOUT_SECONDS, Load, Run
from benchmarks.figures import MILLISECONDS, RATE, Figure, interleave, percentile
from benchmarks.manifests import Object
from benchmarks.processes import BenchmarkError
from benchmarks.servers import BARE_LOOP, COREDNS, DNSD, dnsd

BACKGROUND_RATE = 50_000
"""Questions a second while changes are timed."""

TAIL_RATE = 10_000
"""Questions a second while latencies are taken: low enough that a queue means a pause of the server."""

CHANGES_PER_SECOND = 500

LATE_SECONDS = 10.0
"""When an answer that has not followed a change counts as never."""

PAUSE_SECONDS = 0.002
"""Between two changes, so that each is met at rest."""

_NEW_ENDPOINTS = IPv4Address("10.250.0.0")
_NEW_SERVICES = IPv4Address("10.111.0.0")


@dataclass(frozen=True, slots=True)
class Change:
    """An object to apply, and the address that an A question is answered with from then on, and was not before."""

    item: Object
    owner: str
    address: str


def freshness(bench: Bench) -> list[Figure]:
    """From the event on the wire to the new answer."""
    numbers = itertools.count()

    def measure(running: Running, api: Api) -> list[Figure]:
        load = Load(bench.questions("hot names", questions.hot(bench.cluster)), rate=BACKGROUND_RATE, seconds=3_600)
        figures = []
        for case, loaded in (("idle", False), (f"under {BACKGROUND_RATE:,} q/s", True)):
            with ExitStack() as stack:
                background = stack.enter_context(Run(running.port, load, bench.directory)) if loaded else None
                asking = stack.enter_context(client(running.port))
                delays = [delay(asking, api.apply, change) for change in _changes(bench, numbers)]
                if background is not None:
                    rate = background.stop().rate
                    figures.append(Figure("freshness", case, running.server.name, RATE, (rate,)))
            for percent in (50, 99):
                value = percentile(delays, percent) * 1e3
                figures.append(Figure("freshness", f"{case}, p{percent}", running.server.name, MILLISECONDS, (value,)))
        return figures

    return _each_watcher(bench, measure)


def delay(asking: Client, apply: Callable[[Object], float], change: Change) -> float:
    """Seconds from the write of the event until the answer has the new address; the old answer is asked for first.

    `apply` makes the change and returns when its event was written (`Api.apply`). Raises BenchmarkError if the answer
    had the address before, or never gets it.
    """
    message, octets = query((change.owner, "A")), IPv4Address(change.address).packed
    if octets in (asking.exchange(message, ANSWER_SECONDS) or b""):
        raise BenchmarkError(f"{change.owner} was {change.address} before the change")
    written = apply(change.item)
    while time.monotonic() < written + LATE_SECONDS:
        if octets in (asking.exchange(message, ANSWER_SECONDS) or b""):
            return time.monotonic() - written
    raise BenchmarkError(f"{change.owner} did not become {change.address} within {LATE_SECONDS:.0f} s")


def tail(bench: Bench) -> list[Figure]:
    """Latency of hot names while objects change, and while none does; the bare loop shows what the machine adds."""
    seconds = bench.plan.slow_seconds
    path = bench.questions("hot names", questions.hot(bench.cluster))
    load = Load(path, seconds=seconds, rate=TAIL_RATE, latencies=True)

    def run(running: Running, meanwhile: Callable[[], None]) -> float:
        with Run(running.port, load, bench.directory) as asking:
            meanwhile()
            report = asking.report()
        return percentile([*report.latencies, *[float(TIMEOUT_SECONDS)] * report.lost], 99.9) * 1e3

    def measure(running: Running, api: Api) -> list[Figure]:
        with ExitStack() as stack:
            cases: list[tuple[str, Running, Callable[[], None]]] = [
                ("no changes, p99.9", running, _nothing),
                (f"{CHANGES_PER_SECOND} objects/s, p99.9", running, lambda: _churn(bench, api, seconds)),
            ]
            if BARE_LOOP in bench.servers:
                cases.append(("no changes, p99.9", stack.enter_context(bench.launch(BARE_LOOP)), _nothing))
            return [
                Figure("tail", case, asked.server.name, MILLISECONDS, tuple(samples))
                for (case, asked, _), samples in interleave(
                    cases, bench.plan.slow_rounds, lambda case, _round: run(case[1], case[2])
                )
            ]

    return _each_watcher(bench, measure)


def _nothing() -> None:
    """No changes."""


def _each_watcher(bench: Bench, measure: Callable[[Running, Api], list[Figure]]) -> list[Figure]:
    """Measure the servers that watch an API server, one after the other."""
    taking_part = {server.name for server in bench.servers}
    figures: list[Figure] = []
    for server in (replace(DNSD, configure=dnsd(api=True), needs_api=True), COREDNS):
        if server.name in taking_part:
            # Not the API server of --kubeconfig: the changes are made in this program's own.
            site = replace(bench.site, kubeconfig=bench.api().kubeconfig)
            try:
                with bench.launch(server, site=site) as running:
                    figures += measure(running, bench.api())
            except BenchmarkError as error:
                bench.note(f"{server.name} left out: {error}")
    return figures


def _changes(bench: Bench, numbers: Iterator[int]) -> Iterator[Change]:
    """In turn: an endpoint of a headless service is replaced; a service that was asked for in vain is created."""
    headless = [service for service in bench.cluster.services if service.headless]
    for number in itertools.islice(numbers, bench.plan.changes):
        time.sleep(PAUSE_SECONDS)
        if number % 2 == 0:
            service = _with_endpoint(headless[number % len(headless)], str(_NEW_ENDPOINTS + number))
            yield Change(manifests.endpoint_slice(service, number), service.owner, service.endpoints[0])
        else:
            address = str(_NEW_SERVICES + number)
            service = replace(bench.cluster.services[0], name=f"created-{number}", address=address)
            yield Change(manifests.service_object(service, number), service.owner, address)


def _churn(bench: Bench, api: Api, seconds: float) -> None:
    """Replace endpoints of the services that are being asked for, at an even pace."""
    services = bench.cluster.services[: questions.HOT_NAMES]
    begun = time.monotonic()
    for number in range(int(seconds * CHANGES_PER_SECOND)):
        time.sleep(max(0.0, begun + number / CHANGES_PER_SECOND - time.monotonic()))
        service = _with_endpoint(services[number % len(services)], str(_NEW_ENDPOINTS + number))
        api.apply(manifests.endpoint_slice(service, number))


def _with_endpoint(service: Service, address: str) -> Service:
    return replace(service, endpoints=(address, *service.endpoints[1:]))
