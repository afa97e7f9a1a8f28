"""Until the cluster has been read no name of it is denied, all others are answered, and nothing of it is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.cluster.apiserver import ApiServer, Fault
from tests.dropin.published import CLUSTER, COREFILES
from tests.dropin.upstreams import ZONES, Resolver
from tests.observe.web import get
from tests.process import Dnsd, dnsd, eventually, free_port

WORKERS = pytest.mark.parametrize("workers", [1, 2], ids=["one process", "two workers"])

KINDS = ("namespaces", "services", "endpointslices")

NAMES = {
    # what is asked before and after the first sync, and the answer after it: a datum, or an rcode
    "web.shop.svc.cluster.local A": "10.96.10.1",
    "db.shop.svc.cluster.local A": "10.244.2.1",
    "db-1.db.shop.svc.cluster.local A": "10.244.2.2",
    "_http._tcp.web.shop.svc.cluster.local SRV": "0 100 80 web.shop.svc.cluster.local.",
    "partner.shop.svc.cluster.local A": "www.example.com.",
    "10-0-0-1.shop.pod.cluster.local A": "10.0.0.1",
    "1.10.96.10.in-addr.arpa PTR": "web.shop.svc.cluster.local.",
    "1.2.244.10.in-addr.arpa PTR": "db-0.db.shop.svc.cluster.local.",
    "nope.shop.svc.cluster.local A": "NXDOMAIN",
    "web.nowhere.svc.cluster.local AAAA": "NXDOMAIN",
    "drained.shop.svc.cluster.local A": "NXDOMAIN",
    "8.8.8.8.in-addr.arpa PTR": "dns.example.com.",
    "web.shop.svc.cluster.local AAAA": "NOERROR",
}
ASKERS = 16
"""Times that a question is asked where every worker has to be reached."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Resolver]:
    with Resolver(ZONES / "internet.zone") as server:
        yield server


@contextlib.contextmanager
def serving(api: ApiServer, upstream: Resolver, folder: Path, workers: int = 1) -> Iterator[tuple[Dnsd, int]]:
    """kubeadm's Corefile with plain `cache 30`, and the port of /ready; it has started, and no more."""
    ready = free_port()
    corefile = (COREFILES / "kubeadm-cache-30" / "Corefile").read_text()
    for old, new in (
        (".:53 {", ".:PORT {\n    bind 127.0.0.1"),
        ("health {", f"health 127.0.0.1:{free_port()} {{"),
        ("    ready\n", f"    ready 127.0.0.1:{ready}\n"),
        ("pods insecure", f"pods insecure\n        kubeconfig {api.kubeconfig(folder / 'kubeconfig')}"),
        ("/etc/resolv.conf", upstream.address),
        (":9153", f"127.0.0.1:{free_port()}"),
    ):
        assert corefile.count(old) == 1, old
        corefile = corefile.replace(old, new)
    with dnsd(corefile, folder, "--workers", str(workers)) as server:
        yield server, ready


def ask(server: Dnsd, question: str, **way: object) -> dns.message.Message:
    name, type_ = question.split()
    return server.ask(name, type_, **way)  # type: ignore[arg-type]


def texts(reply: dns.message.Message) -> set[str]:
    """The data of the answer section, or the rcode."""
    found = {data.to_text() for rrset in reply.answer for data in rrset}
    return found or {dns.rcode.to_text(reply.rcode())}


def assert_not_ready(reply: dns.message.Message, question: str, *, edns: bool) -> None:
    assert reply.rcode() == dns.rcode.SERVFAIL, question
    assert not reply.answer
    errors = [option.code for option in reply.options if isinstance(option, dns.edns.EDEOption)]
    assert errors == ([dns.edns.EDECode.NOT_READY] if edns else []), question


def assert_synced(server: Dnsd, ready: int) -> None:
    """From the moment of readiness on, everything is answered by everybody at once: no SERVFAIL was kept."""
    eventually(lambda: get(ready, "/ready").status == 200, "readiness")
    for question, answer in NAMES.items():
        eventually(lambda: answer in texts(ask(server, question)), question)  # noqa: B023  waited for here
        for _ in range(ASKERS):
            assert answer in texts(ask(server, question)), question
            assert answer in texts(ask(server, question, use_edns=0)), question


@WORKERS
def test_names_of_the_cluster_fail_until_it_has_been_read(workers: int, upstream: Resolver, tmp_path: Path) -> None:
    with ApiServer() as api:
        api.load(CLUSTER)
        for plural in KINDS:
            api.fault("watch", plural, Fault(hang=True))
        with serving(api, upstream, tmp_path, workers) as (server, ready):
            for _ in range(2):
                for question in NAMES:
                    assert_not_ready(ask(server, question), question, edns=False)
                    assert_not_ready(ask(server, question, use_edns=0), question, edns=True)
                    assert_not_ready(ask(server, question, use_edns=0, tcp=True), question, edns=True)
            assert texts(ask(server, "www.example.com A")) == {"203.0.113.10"}
            assert texts(ask(server, "missing.example.com A")) == {"NXDOMAIN"}
            got = get(ready, "/ready")
            assert (got.status, got.body) == (503, b"kubernetes")
            with api.outage():
                pass  # what hangs is cut off, and begun anew
            assert_synced(server, ready)
            assert server.log.count("[ERROR]") == 0


@pytest.mark.parametrize("missing", KINDS)
def test_no_name_is_denied_while_one_kind_is_missing(missing: str, upstream: Resolver, tmp_path: Path) -> None:
    """What is known may be answered; a name that is there is never said not to be, nor to have less."""
    with ApiServer() as api:
        api.load(CLUSTER)
        api.fault("watch", missing, Fault(hang=True))
        with serving(api, upstream, tmp_path) as (server, ready):
            eventually(lambda: all(api.watching(plural) for plural in KINDS), "the watches")
            for question, answer in NAMES.items():
                found = texts(ask(server, question))
                assert answer in found or found == {"SERVFAIL"}, question
            assert get(ready, "/ready").status == 503
            with api.outage():
                pass
            assert_synced(server, ready)


def test_an_api_server_that_is_not_there_is_waited_for(upstream: Resolver, tmp_path: Path) -> None:
    with ApiServer() as api:
        api.load(CLUSTER)
        with contextlib.ExitStack() as stack:
            with api.outage():
                server, ready = stack.enter_context(serving(api, upstream, tmp_path))
                assert_not_ready(ask(server, "web.shop.svc.cluster.local A"), "web", edns=False)
                assert texts(ask(server, "www.example.com A")) == {"203.0.113.10"}
                eventually(lambda: "plugin/kubernetes" in server.log, "a line about it")
            assert_synced(server, ready)


@pytest.mark.parametrize("missing", KINDS)
def test_a_missing_permission_is_told_and_is_no_empty_cluster(missing: str, upstream: Resolver, tmp_path: Path) -> None:
    with ApiServer() as api:
        api.load(CLUSTER)
        api.forbid(missing)
        with serving(api, upstream, tmp_path) as (server, ready):
            eventually(lambda: "403" in server.log, "a line about it")
            (line, *_) = [line for line in server.log.splitlines() if "403" in line]
            assert "plugin/kubernetes" in line
            assert missing in line
            assert f'cannot watch resource "{missing}"' in line or f'cannot list resource "{missing}"' in line
            for question, answer in NAMES.items():
                found = texts(ask(server, question))
                assert answer in found or found == {"SERVFAIL"}, question
            assert get(ready, "/ready").body == b"kubernetes"
            api.forbid()
            assert_synced(server, ready)


def test_an_outage_after_the_first_sync_changes_nothing(upstream: Resolver, tmp_path: Path) -> None:
    """The last known state is served, what is missing in it is denied, and readiness stays: or all servers would go."""
    with ApiServer() as api:
        api.load(CLUSTER)
        with serving(api, upstream, tmp_path) as (server, ready):
            assert_synced(server, ready)
            with api.outage():
                for question, answer in NAMES.items():
                    assert answer in texts(ask(server, question, want_dnssec=True)), question
                assert get(ready, "/ready").status == 200
