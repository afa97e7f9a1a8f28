"""The plugin `autopath`: the search path of a pod, walked for it, where it is certain who asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile.syntax import CorefileError
from dnsd.plugins import autopath as module
from dnsd.plugins.autopath import MAX_DOMAINS, AutoPath, FileSearch, search_path
from dnsd.resolve.answer import ALWAYS, Answer, Failure
from dnsd.resolve.query import Client, Query, question
from dnsd.serve.face import Face
from dnsd.wire import name as names
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.query import Message, accept
from tests.plugins import harness

CLUSTER = """\
{kind: Namespace, apiVersion: v1, metadata: {name: shop}}
---
{kind: Namespace, apiVersion: v1, metadata: {name: team}}
---
{kind: Service, apiVersion: v1, metadata: {name: web, namespace: shop}, spec: {clusterIPs: [10.96.0.1]}}
---
{kind: Service, apiVersion: v1, metadata: {name: api, namespace: team}, spec: {clusterIPs: [10.96.0.2]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: a, namespace: shop}, status: {phase: Running, podIP: 10.1.0.1}}
---
{kind: Pod, apiVersion: v1, metadata: {name: six, namespace: shop}, status: {phase: Running, podIP: "fd00::1"}}
---
{kind: Pod, apiVersion: v1, metadata: {name: done, namespace: shop}, status: {phase: Succeeded, podIP: 10.1.0.2}}
---
{kind: Pod, apiVersion: v1, metadata: {name: one, namespace: shop}, status: {phase: Running, podIP: 10.1.0.3}}
---
{kind: Pod, apiVersion: v1, metadata: {name: two, namespace: team}, status: {phase: Running, podIP: 10.1.0.3}}
---
{kind: Pod, apiVersion: v1, metadata: {name: x, namespace: team}, status: {phase: Running, podIP: 10.1.0.4}}
---
{kind: Pod, apiVersion: v1, metadata: {name: y, namespace: team}, status: {phase: Running, podIP: 10.1.0.4}}
"""
OUTSIDE = """\
@ 60 SOA a b 1 2 3 4 5
www.example.com 61 A 203.0.113.1
www.example.com 61 A 203.0.113.2
host.corp 62 A 203.0.113.3
"""
COREFILE = """\
.:1053 {
    errors
    autopath @kubernetes
    kubernetes cluster.local {
        manifests cluster.yaml
        pods verified
        ttl 7
    }
    file outside .
}
"""
POD, OTHER = "10.1.0.1", "192.0.2.9"


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose own search path is `corp`, a cluster, and everything else."""
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\nsearch corp\noptions ndots:5\n")
    monkeypatch.setattr(module, "RESOLV_CONF", str(tmp_path / "resolv.conf"))
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "outside").write_text(OUTSIDE)


def ask(
    tmp_path: Path, name: str, type_: str = "A", client: str = POD, corefile: str = COREFILE
) -> dns.message.Message:
    reply = harness.answer(corefile, name, type_, directory=tmp_path, client=client)
    assert reply is not None
    return reply


def rows(section: object) -> list[str]:
    """`OWNER TTL TYPE RDATA` of each record, in the order of the section."""
    return [
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
        for rrset in section  # type: ignore[attr-defined]
        for rdata in rrset
    ]


FOUND = [
    ("the name itself", "web.shop.svc.cluster.local", ["web.shop.svc.cluster.local. 7 A 10.96.0.1"]),
    ("svc.ZONE", "api.team.shop.svc.cluster.local",
     ["api.team.shop.svc.cluster.local. 7 CNAME api.team.svc.cluster.local.",
      "api.team.svc.cluster.local. 7 A 10.96.0.2"]),
    ("ZONE", "api.team.svc.shop.svc.cluster.local",
     ["api.team.svc.shop.svc.cluster.local. 7 CNAME api.team.svc.cluster.local.",
      "api.team.svc.cluster.local. 7 A 10.96.0.2"]),
    ("a domain of the node", "host.shop.svc.cluster.local",
     ["host.shop.svc.cluster.local. 62 CNAME host.corp.", "host.corp. 62 A 203.0.113.3"]),
    ("no domain at all", "www.example.com.shop.svc.cluster.local",
     ["www.example.com.shop.svc.cluster.local. 61 CNAME www.example.com.", "www.example.com. 61 A 203.0.113.1",
      "www.example.com. 61 A 203.0.113.2"]),
    ("a name in the case that it was asked in", "WWW.Example.com.SHOP.svc.cluster.local",
     ["WWW.Example.com.SHOP.svc.cluster.local. 61 CNAME WWW.Example.com.", "WWW.Example.com. 61 A 203.0.113.1",
      "WWW.Example.com. 61 A 203.0.113.2"]),
]  # fmt: skip


@pytest.mark.parametrize(("where", "name", "answer"), FOUND, ids=[row[0] for row in FOUND])
def test_a_pod_finds_a_name_with(where: str, name: str, answer: list[str], tmp_path: Path) -> None:
    reply = ask(tmp_path, name)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.question[0].name.to_text() == f"{name}."
    assert rows(reply.answer) == answer


def test_no_data_further_on_is_the_answer_without_an_alias(tmp_path: Path) -> None:
    reply = ask(tmp_path, "www.example.com.shop.svc.cluster.local", "TXT")
    assert reply.rcode() == dns.rcode.NOERROR
    assert not reply.answer
    assert reply.authority


def test_a_name_that_is_nowhere_has_the_first_answer(tmp_path: Path) -> None:
    reply = ask(tmp_path, "nosuch.shop.svc.cluster.local")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert reply.authority[0].name.to_text() == "cluster.local."


NOT_WALKED = [
    ("a client that is no pod", "www.example.com.shop.svc.cluster.local", OTHER),
    ("a pod of another namespace", "www.example.com.shop.svc.cluster.local", "10.1.0.4"),
    ("an address of pods in two namespaces", "www.example.com.shop.svc.cluster.local", "10.1.0.3"),
    ("a pod that has ended", "www.example.com.shop.svc.cluster.local", "10.1.0.2"),
    ("a name in the second domain of the path", "www.example.com.svc.cluster.local", POD),
    ("a name in the third domain of the path", "www.example.com.cluster.local", POD),
    ("a name beside the first domain", "shop2.svc.cluster.local", POD),
]


@pytest.mark.parametrize(("what", "name", "client"), NOT_WALKED, ids=[row[0] for row in NOT_WALKED])
def test_there_is_no_search_for(what: str, name: str, client: str, tmp_path: Path) -> None:
    reply = ask(tmp_path, name, client=client)
    assert reply.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("client", "name"),
    [("fd00::1", "www.example.com.shop.svc.cluster.local"), ("10.1.0.4", "www.example.com.team.svc.cluster.local")],
    ids=["an IPv6 address", "an address of several pods of one namespace"],
)
def test_a_client_is_known_by(client: str, name: str, tmp_path: Path) -> None:
    assert ask(tmp_path, name, client=client).answer


def test_only_zones_that_are_listed_are_searched(tmp_path: Path) -> None:
    for zones, found in (("cluster.local", True), ("shop.svc.cluster.local", True), ("other.example", False)):
        corefile = COREFILE.replace("autopath ", f"autopath {zones} ")
        assert bool(ask(tmp_path, "www.example.com.shop.svc.cluster.local", corefile=corefile).answer) == found


# -- what is kept


KEPT = [
    ("a name that exists", "web.shop.svc.cluster.local", True),
    ("a name that does not, below no namespace", "nosuch.cluster.local", True),
    ("a name that does not, below a namespace", "nosuch.shop.svc.cluster.local", False),
    ("a name that was found further on", "www.example.com.shop.svc.cluster.local", False),
]


@pytest.mark.parametrize("client", [POD, OTHER])
@pytest.mark.parametrize(("what", "name", "kept"), KEPT, ids=[row[0] for row in KEPT])
def test_an_answer_is_kept_where_it_is_the_same_for_everybody(
    what: str, name: str, kept: bool, client: str, tmp_path: Path
) -> None:
    async def run() -> int:
        chain = harness.build(COREFILE, tmp_path)
        await harness.start(chain)
        (front,) = chain.instance.fronts.values()
        face = Face(front, "dns://:53", "udp", 4, time.monotonic)
        query = dns.message.make_query(name, "A").to_wire()
        await face.answer(query, Client(client, 40000, "udp", "127.0.0.1", face.server))
        await chain.instance.stop()
        return len(face.memo)

    assert asyncio.run(run()) == kept


# -- one search path for everybody


FILE = COREFILE.replace("autopath @kubernetes", "autopath my.conf").replace("pods verified", "")


def test_a_resolv_conf_is_everybodys_search_path(tmp_path: Path) -> None:
    (tmp_path / "my.conf").write_text("domain ignored\nsearch here.example. corp\n")
    reply = ask(tmp_path, "host.here.example", client=OTHER, corefile=FILE)
    assert rows(reply.answer) == ["host.here.example. 62 CNAME host.corp.", "host.corp. 62 A 203.0.113.3"]


RESOLV = [
    ("", []),
    ("nameserver 192.0.2.1\n", []),
    ("search a.example b.example.\n", ["a.example.", "b.example."]),
    ("search A.Example\n", ["a.example."]),
    ("search a.example\nsearch b.example\n", ["b.example."]),
    ("search a.example\ndomain b.example\n", ["b.example."]),
    ("domain a.example\n", ["a.example."]),
    ("search a.example . a.example a..b\n", ["a.example."]),
    ("  search a.example\n#search b.example\n;search c.example\n", ["a.example."]),
    ("search\n", []),
    (f"search {' '.join(f'd{i}.example' for i in range(99))}\n", [f"d{i}.example." for i in range(MAX_DOMAINS)]),
]


@pytest.mark.parametrize(("text", "domains"), RESOLV)
def test_a_search_path_is_the_last_one_of_its_file(text: str, domains: list[str]) -> None:
    assert [names.to_text(name) for name in search_path(text)] == domains


@given(st.text(max_size=300))
def test_any_file_has_some_search_path(text: str) -> None:
    assert len(search_path(f"search {text}")) <= MAX_DOMAINS


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "my.conf").write_text("search here.example\n" + "#" * module.MAX_FILE + "\nsearch late.example\n")
    assert names.to_text(search_path(module._read(tmp_path / "my.conf"))[0]) == "here.example."


# -- on its own


def query(name: str) -> Query:
    message = accept(dns.message.make_query(name, "A").to_wire())
    assert isinstance(message, Message)
    return Query(message, message.question, None, Client("192.0.2.1", 40000, "udp", server="dns://:53"))


def walk(name: str, domains: list[str], answers: Mapping[str, Answer | Failure]) -> tuple[Answer, list[str], AutoPath]:
    """The answer for `name`, the names that were looked up for it, and the plugin."""
    asked: list[str] = []

    async def next_(inner: Query) -> Answer:
        asked.append(names.to_text(inner.name))
        found = answers.get(asked[-1], Answer(Rcode.NXDOMAIN, validity=ALWAYS))
        if isinstance(found, Failure):
            raise found
        return found

    plugin = AutoPath([names.ROOT], FileSearch(tuple(names.from_text(domain) for domain in domains)))
    return asyncio.run(plugin.answer(query(name), next_)), asked, plugin


def test_names_are_tried_in_the_order_of_the_path_until_one_is_there() -> None:
    found, asked, plugin = walk("x.a", ["a", "b", "c"], {"x.c.": Answer(validity=ALWAYS)})
    assert asked == ["x.a.", "x.b.", "x.c."]
    assert found.rcode == Rcode.NOERROR
    (metric,) = plugin.metrics()
    assert [(sample.name, sample.labels, sample.value) for sample in metric.samples] == [
        ("coredns_autopath_success_total", {"server": "dns://:53"}, 1)
    ]


def test_a_failure_on_the_way_gives_the_first_answer_and_is_not_kept() -> None:
    found, asked, plugin = walk("x.a", ["a", "b", "c"], {"x.b.": Failure("no upstream")})
    assert asked == ["x.a.", "x.b."]
    assert found.rcode == Rcode.NXDOMAIN
    assert not found.validity.keep
    assert found.reason is not None
    assert "x.b., next in the search path: no upstream" in found.reason.text
    assert not next(iter(plugin.metrics())).samples


def test_a_failure_of_the_name_itself_is_one() -> None:
    with pytest.raises(Failure, match="no upstream"):
        walk("x.a", ["a", "b"], {"x.a.": Failure("no upstream")})


@pytest.mark.parametrize("rcode", [Rcode.REFUSED, Rcode.SERVFAIL])
def test_any_rcode_but_nxdomain_ends_the_search(rcode: Rcode) -> None:
    found, asked, _ = walk("x.a", ["a", "b", "c"], {"x.b.": Answer(rcode, validity=ALWAYS)})
    assert (found.rcode, asked) == (rcode, ["x.a.", "x.b."])


def test_a_name_that_would_be_too_long_is_left_out() -> None:
    name = ".".join(["x" * 60] * 3)
    _, asked, _ = walk(f"{name}.a", ["a", f"{'y' * 60}.{'z' * 60}", "b"], {})
    assert asked == [f"{name}.a.", f"{name}.b.", f"{name}."]


@pytest.mark.parametrize("type_", [Type.AXFR, Type.IXFR])
def test_transfers_are_not_searched_for(type_: Type) -> None:
    calls = 0

    async def next_(inner: Query) -> Answer:
        nonlocal calls
        calls += 1
        return Answer(Rcode.NXDOMAIN, validity=ALWAYS)

    plugin = AutoPath([names.ROOT], FileSearch((names.from_text("a"), names.from_text("b"))))
    asked = query("x.a")
    inner = asked.asking(asked.name, type_)
    assert question(asked.name, type_) == inner.question
    asyncio.run(plugin.answer(inner, next_))
    assert calls == 1


# -- the directive


WRONG = [
    ("autopath", "'autopath' needs at least 1 argument"),
    ("autopath @file", "'@file' has no search paths"),
    ("autopath nowhere.conf", "nowhere.conf: No such file or directory"),
    ("autopath @kubernetes {\n x\n }", "'autopath' has no options"),
    ("autopath @kubernetes\n autopath @kubernetes", "2:2: 'autopath' can be used once"),
]


@pytest.mark.parametrize(("lines", "message"), WRONG)
def test_a_directive_that_cannot_be_used_is_refused(lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorefileError) as caught:
        harness.build(f". {{ {lines}\n}}", tmp_path)
    assert message in str(caught.value)


IDLE = [
    ("without kubernetes", ". {\n autopath @kubernetes\n}", "has no 'kubernetes'"),
    ("without verified pods", COREFILE.replace("pods verified", ""), "needs 'pods verified'"),
    ("without a search path", FILE.replace("my.conf", "empty.conf"), "has no search path"),
]


@pytest.mark.parametrize(("what", "corefile", "message"), IDLE, ids=[row[0] for row in IDLE])
def test_it_does_nothing_and_says_so(
    what: str, corefile: str, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "empty.conf").write_text("nameserver 192.0.2.1\n")
    with caplog.at_level(logging.WARNING):
        reply = ask(tmp_path, "www.example.com.shop.svc.cluster.local", corefile=corefile)
    assert message in caplog.text
    assert not reply.answer
