"""With plain `cache 30`, as in older Corefiles of kubeadm, names of the cluster are as fresh as the API server's word:
what was asked before a change is answered right after it, whichever way it was asked, and the old answer is gone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.rcode
import dns.rdatatype
import pytest

from tests.cluster.apiserver import ApiServer, endpoint_slice, namespace, service
from tests.conformance import compare
from tests.dropin.published import COREFILES
from tests.dropin.upstreams import ZONES, Resolver
from tests.process import Dnsd, dnsd, eventually, free_port
from tests.upstream import Upstream

WORKERS = pytest.mark.parametrize("workers", [1, 2], ids=["one process", "two workers"])
CONFORMANCE = Path(compare.__file__).parent / "data"

WAYS: tuple[dict[str, Any], ...] = ({}, {"use_edns": 0}, {"want_dnssec": True}, {"tcp": True}) * 4
"""How a question is asked: each of these is kept apart, and several of each reach every worker."""


def partner(name: str) -> dict[str, Any]:
    """A Service that is another name."""
    item = service("shop", "partner")
    item["spec"] = {"type": "ExternalName", "externalName": name}
    return item


WORLD = (
    namespace("shop"),
    service("shop", "web", "10.96.10.1"),
    service("shop", "db"),
    endpoint_slice("shop", "db-1", "db", ["10.244.2.1", "10.244.2.2"]),
    partner("www.example.com"),
)
Z = "svc.cluster.local"


def replace(api: ApiServer, item: dict[str, Any]) -> None:
    """Put another Service in the place of `web`."""
    api.delete("services", "shop", "web")
    api.put(item)


NXDOMAIN, NODATA = ["NXDOMAIN"], ["NOERROR"]

Change = Callable[[ApiServer], None]

CHANGES: dict[str, tuple[str, list[str], Change, list[str]]] = {
    # what happens: the question, the answer before, how it happens, the answer after
    "an endpoint goes": (
        f"db.shop.{Z} A",
        ["10.244.2.1", "10.244.2.2"],
        lambda api: api.put(endpoint_slice("shop", "db-1", "db", ["10.244.2.2"])),
        ["10.244.2.2"],
    ),
    "an endpoint comes in a slice of its own": (
        f"db.shop.{Z} A",
        ["10.244.2.1", "10.244.2.2"],
        lambda api: api.put(endpoint_slice("shop", "db-2", "db", ["10.244.2.3"])),
        ["10.244.2.1", "10.244.2.2", "10.244.2.3"],
    ),
    "no endpoint is ready any more": (
        f"db.shop.{Z} A",
        ["10.244.2.1", "10.244.2.2"],
        lambda api: api.put(endpoint_slice("shop", "db-1", "db", ["10.244.2.1", "10.244.2.2"], ready=False)),
        NXDOMAIN,
    ),
    "an endpoint's own name goes": (
        f"10-244-2-1.db.shop.{Z} A",
        ["10.244.2.1"],
        lambda api: api.delete("endpointslices", "shop", "db-1"),
        NXDOMAIN,
    ),
    "a service that somebody asked for too early": (
        f"new.shop.{Z} A",
        NXDOMAIN,
        lambda api: api.put(service("shop", "new", "10.96.10.9")),
        ["10.96.10.9"],
    ),
    "a headless service that somebody asked for too early": (
        f"late.shop.{Z} A",
        NXDOMAIN,
        lambda api: api.put(endpoint_slice("shop", "late-1", "late", ["10.244.3.1"]), service("shop", "late")),
        ["10.244.3.1"],
    ),
    "a service goes": (f"web.shop.{Z} A", ["10.96.10.1"], lambda api: api.delete("services", "shop", "web"), NXDOMAIN),
    "a service gets another address": (
        f"web.shop.{Z} A",
        ["10.96.10.1"],
        lambda api: replace(api, service("shop", "web", "10.96.10.2")),
        ["10.96.10.2"],
    ),
    "a service gets an address of the other family": (
        f"web.shop.{Z} AAAA",
        NODATA,
        lambda api: api.put(service("shop", "web", "10.96.10.1", "fd00:96::1")),
        ["fd00:96::1"],
    ),
    "a port gets a name": (
        f"_grpc._tcp.web.shop.{Z} SRV",
        NXDOMAIN,
        lambda api: api.put(service("shop", "web", "10.96.10.1", ports={"grpc": 9000})),
        [f"0 100 9000 web.shop.{Z}."],
    ),
    "a namespace goes, and its services are still there": (
        f"web.shop.{Z} A",
        ["10.96.10.1"],
        lambda api: api.delete("namespaces", "", "shop"),
        NXDOMAIN,
    ),
    "a namespace comes": (
        f"web.team.{Z} A",
        NXDOMAIN,
        lambda api: api.put(service("team", "web", "10.96.11.1"), namespace("team")),
        ["10.96.11.1"],
    ),
    "a namespace comes, and with it the names of its pods": (
        "10-0-0-1.team.pod.cluster.local A",
        NXDOMAIN,
        lambda api: api.put(namespace("team")),
        ["10.0.0.1"],
    ),
    "an ExternalName leads elsewhere": (
        f"partner.shop.{Z} A",
        ["203.0.113.10"],
        lambda api: api.put(partner("short.example.com")),
        ["203.0.113.11"],
    ),
    "an ExternalName leads into the cluster": (
        f"partner.shop.{Z} A",
        ["203.0.113.10"],
        lambda api: api.put(partner(f"web.shop.{Z}")),
        ["10.96.10.1"],
    ),
    "an ExternalName becomes a service": (
        f"partner.shop.{Z} A",
        ["203.0.113.10"],
        lambda api: api.put(service("shop", "partner", "10.96.10.7")),
        ["10.96.10.7"],
    ),
    "what an ExternalName leads to goes": (
        f"inner.shop.{Z} A",
        ["10.96.10.1"],
        lambda api: api.delete("services", "shop", "web"),
        NODATA,
    ),
    "an address gets a name that the resolver did not have": (
        "5.10.96.10.in-addr.arpa PTR",
        NXDOMAIN,
        lambda api: api.put(service("shop", "five", "10.96.10.5")),
        [f"five.shop.{Z}."],
    ),
    "an address gets another name": (
        "1.10.96.10.in-addr.arpa PTR",
        [f"web.shop.{Z}."],
        lambda api: replace(api, service("shop", "site", "10.96.10.1")),
        [f"site.shop.{Z}."],
    ),
    "an address of ours goes to the resolver": (
        "1.10.96.10.in-addr.arpa PTR",
        [f"web.shop.{Z}."],
        lambda api: api.delete("services", "shop", "web"),
        NXDOMAIN,
    ),
}


@contextlib.contextmanager
def serving(api: ApiServer, upstream: Upstream, folder: Path, workers: int = 1) -> Iterator[Dnsd]:
    """kubeadm's Corefile with plain `cache 30`, on what the API server says; ready when this returns."""
    corefile = (COREFILES / "kubeadm-cache-30" / "Corefile").read_text()
    for old, new in (
        (".:53 {", ".:PORT {\n    bind 127.0.0.1"),
        ("health {", f"health 127.0.0.1:{free_port()} {{"),
        ("    ready\n", f"    ready 127.0.0.1:{free_port()}\n"),
        ("pods insecure", f"pods insecure\n        kubeconfig {api.kubeconfig(folder / 'kubeconfig')}"),
        ("/etc/resolv.conf", upstream.address),
        (":9153", f"127.0.0.1:{free_port()}"),
    ):
        assert corefile.count(old) == 1, old
        corefile = corefile.replace(old, new)
    with dnsd(corefile, folder, "--workers", str(workers)) as server:
        eventually(lambda: said(server, "svc.cluster.local A", WAYS) == {tuple(NODATA)}, "the first answers")
        eventually(lambda: said(server, f"none.shop.{Z} A", WAYS) == {tuple(NXDOMAIN)}, "the first sync")
        yield server


def said(server: Dnsd, question: str, ways: tuple[dict[str, Any], ...]) -> set[tuple[str, ...]]:
    """What it answers to a question asked in several ways: data of the type asked for, else the rcode."""
    name, type_ = question.split()
    rdtype = dns.rdatatype.from_text(type_)
    found = set()
    for way in ways:
        reply = server.ask(name, type_, **way)
        texts = sorted(data.to_text() for rrset in reply.answer if rrset.rdtype == rdtype for data in rrset)
        found.add(tuple(texts or [dns.rcode.to_text(reply.rcode())]))
    return found


@WORKERS
def test_what_was_asked_before_a_change_is_answered_right_after_it(workers: int, tmp_path: Path) -> None:
    """One server for all changes: the world is put back between two of them."""
    with ApiServer() as api, Resolver(ZONES / "internet.zone") as upstream:
        api.put(*WORLD, inner := partner(f"web.shop.{Z}") | {"metadata": {"namespace": "shop", "name": "inner"}})
        with serving(api, upstream, tmp_path, workers) as server:
            for what, (question, before, change, after) in CHANGES.items():
                eventually(lambda: said(server, question, WAYS) == {tuple(before)}, f"{what}: {before}")  # noqa: B023
                change(api)
                eventually(lambda: said(server, question, WAYS[:1]) == {tuple(after)}, f"{what}: {after}")  # noqa: B023
                eventually(lambda: said(server, question, WAYS) == {tuple(after)}, f"{what}, for all")  # noqa: B023
                for plural in ("services", "endpointslices", "namespaces"):
                    for item in api.items(plural):
                        api.delete(plural, item["metadata"].get("namespace", ""), item["metadata"]["name"])
                api.put(*WORLD, inner)
            assert api.count("watch", "services") == 1, "one watch, however many workers"


def test_the_recorded_answers_are_the_same_behind_a_cache(tmp_path: Path) -> None:
    """Asked twice, so that the second time everything comes from where answers are kept."""
    rows = compare.load(CONFORMANCE / "pods-insecure.jsonl.gz")
    exists = compare.Existence(rows)
    with ApiServer() as api, Upstream(CONFORMANCE / "upstream.zone") as upstream:
        api.load(CONFORMANCE / "cluster.yaml")
        with serving(api, upstream, tmp_path) as server:
            for _ in range(2):
                found = {}
                for row in rows:
                    got = compare.ask("127.0.0.1", server.port, row["q"])
                    texts = compare.differences(row["q"], timeless(row["a"]), timeless(got), exists)
                    if texts:
                        found[json.dumps(row["q"])] = texts
                assert found == {}


def timeless(answer: compare.Json) -> compare.Json:
    """The answer with the TTLs that `cache 30` leaves at most; with none where the resolver has a part in it."""
    if "error" in answer:
        return answer
    sections = {section: answer[section] for section in ("answer", "authority", "additional")}
    rows = [row for section in sections.values() for row in section]
    own = all(owner.lower().endswith(compare.CLUSTER_ZONES) and kind != "CNAME" for owner, _, kind, _ in rows)
    for section, rows in sections.items():
        sections[section] = [[owner, min(ttl, 30) if own else 0, *rest] for owner, ttl, *rest in rows]
    return {**answer, **sections}
