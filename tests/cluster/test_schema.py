"""The schema of names against a second reading of the specification, and the tables of that specification."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.asking import cluster, said
from tests.cluster.oracle import Options, Oracle
from tests.cluster.worlds import Json, World, filled, identity, names, worlds

TYPES = (
    "A",
    "A",
    "A",
    "AAAA",
    "AAAA",
    "SRV",
    "SRV",
    "PTR",
    "TXT",
    "CNAME",
    "PTR",
    "MX",
    "NS",
    "ANY",
    "HTTPS",
    "SOA",
    "TYPE65280",
)

options = st.builds(
    Options,
    pods=st.sampled_from(["disabled", "insecure", "verified"]),
    ttl=st.sampled_from([0, 5, 3600]),
    endpoint_pod_names=st.booleans(),
    ignore_empty_service=st.sampled_from([False, False, True]),
    noendpoints=st.sampled_from([False] * 7 + [True]),
    namespaces=st.sampled_from([frozenset[str]()] * 5 + [frozenset({"shop"})]),
)


def corefile_options(chosen: Options) -> str:
    lines = [f"pods {chosen.pods}", f"ttl {chosen.ttl}"]
    lines += ["endpoint_pod_names"] * chosen.endpoint_pod_names
    lines += ["ignore empty_service"] * chosen.ignore_empty_service
    lines += ["noendpoints"] * chosen.noendpoints
    if chosen.namespaces:
        lines.append(f"namespaces {' '.join(chosen.namespaces)}")
    return "\n".join(lines)


@settings(max_examples=400, deadline=None)
@given(worlds(), options, st.data())
def test_every_name_has_what_a_second_reading_of_the_objects_says(
    world: World, chosen: Options, data: st.DataObject
) -> None:
    asked = cluster(corefile_options(chosen), filled(world))
    oracle = Oracle(world, chosen)
    for name, type_ in data.draw(st.lists(st.tuples(names(world), st.sampled_from(TYPES)), min_size=4, max_size=16)):
        if name != "cluster.local." or type_ not in ("SOA", "NS"):  # those have a table below
            assert said(asked.ask(name, type_)) == oracle.ask(name, type_), (name, type_)


# -- the golden vectors of spec.md section 2.10


def _meta(name: str, service: str = "") -> Json:
    labels = {"labels": {"kubernetes.io/service-name": service}} if service else {}
    return {"name": name, "namespace": "ns1", **labels}


def _service(name: str, ips: list[str], ports: list[tuple[str, str, int]], **spec: Any) -> Json:
    listed = [{"name": port, "protocol": protocol, "port": number} for port, protocol, number in ports]
    return {"kind": "Service", "metadata": _meta(name), "spec": {"clusterIPs": ips, "ports": listed, **spec}}


def _slice(name: str, service: str, ports: list[tuple[str, str, int]], *endpoints: Json) -> Json:
    listed = [{"name": port, "protocol": protocol, "port": number} for port, protocol, number in ports]
    return {"kind": "EndpointSlice", "metadata": _meta(name, service), "endpoints": list(endpoints), "ports": listed}


def _endpoint(ip: str, *, ready: bool | None = True, hostname: str = "", pod: str = "") -> Json:
    item: Json = {"addresses": [ip], "conditions": {} if ready is None else {"ready": ready}}
    if hostname:
        item["hostname"] = hostname
    if pod:
        item["targetRef"] = {"kind": "Pod", "name": pod}
    return item


WEB = [("http", "TCP", 80), ("https", "TCP", 443)]
WEB_TARGETS = [("http", "TCP", 8080), ("https", "TCP", 8443)]
HL = [("http", "TCP", 8080), ("grpc", "TCP", 9090)]

FIXTURE = [
    {"kind": "Namespace", "metadata": {"name": "ns1"}},
    {"kind": "Namespace", "metadata": {"name": "void"}},
    _service("web", ["10.96.1.1"], WEB, type="ClusterIP"),
    _slice(
        "web-1",
        "web",
        WEB_TARGETS,
        _endpoint("10.244.1.1", pod="web-a"),
        _endpoint("10.244.1.2", hostname="h2"),
        _endpoint("10.244.1.3", ready=False),
    ),
    _service("hl", ["None"], HL),
    _slice(
        "hl-a",
        "hl",
        HL,
        _endpoint("10.244.2.1", hostname="hl-0"),
        _endpoint("10.244.2.2", hostname="hl-1"),
        _endpoint("10.244.2.3", hostname="hl-2", ready=False),
        _endpoint("10.244.2.4", pod="anon-x"),
    ),
    _slice("hl-b", "hl", HL, _endpoint("10.244.2.5"), _endpoint("10.244.2.1", hostname="hl-0")),
    _service("down", ["None"], HL),
    _slice("down-1", "down", HL, _endpoint("10.244.3.1", ready=False)),
    _service("bare", ["None"], HL),
    _service("maybe", ["None"], HL),
    _slice("maybe-1", "maybe", HL, _endpoint("10.244.4.1", ready=None)),
    _service("portless", ["10.96.1.5"], []),
    _service("portless-hl", ["None"], []),
    _slice("portless-hl-1", "portless-hl", [], _endpoint("10.244.5.1")),
    _service("idle", ["10.96.1.6"], WEB),
    _slice("ghost-1", "ghost", WEB, _endpoint("10.244.6.1")),
    _slice("orphan-1", "", WEB, _endpoint("10.244.6.2")),
    _service("dual", ["10.96.1.7", "fd00:96::7"], [("http", "TCP", 80)]),
    _service("kube-dns", ["10.96.0.10"], [("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153)]),
    _slice("kube-dns-1", "kube-dns", [("dns", "UDP", 53)], _endpoint("10.244.9.9")),
    _service("pending", [], WEB, type="LoadBalancer"),
    _service("six", ["None"], HL),
    _slice("six-1", "six", HL, _endpoint("fd00:10:244:1::")),
    _service("loop", [], [], type="ExternalName", externalName="loop.ns1.svc.cluster.local"),
    _service("there", [], [], type="ExternalName", externalName="back.ns1.svc.cluster.local"),
    _service("back", [], [], type="ExternalName", externalName="there.ns1.svc.cluster.local."),
    _service("inside", [], [], type="ExternalName", externalName="web.ns1.svc.cluster.local"),
    _service("twice", [], [], type="ExternalName", externalName="inside.ns1.svc.cluster.local"),
    _service("nowhere", [], [], type="ExternalName", externalName="none.ns1.svc.cluster.local"),
    _service("literal", [], [], type="ExternalName", externalName="192.0.2.1"),
]

VECTORS: list[tuple[str, str, str, list[str]]] = [
    # name without the zone, type, rcode, rdata of the answer
    ("web.ns1.svc", "A", "NOERROR", ["10.96.1.1"]),
    ("web.ns1.svc", "AAAA", "NOERROR", []),
    ("web.ns1.svc", "SRV", "NOERROR", ["0 50 443 web.ns1.svc.Z", "0 50 80 web.ns1.svc.Z"]),
    ("_http._tcp.web.ns1.svc", "SRV", "NOERROR", ["0 100 80 web.ns1.svc.Z"]),
    ("http.tcp.web.ns1.svc", "SRV", "NOERROR", ["0 100 80 web.ns1.svc.Z"]),
    ("_http._tcp.web.ns1.svc", "A", "NOERROR", ["10.96.1.1"]),
    ("_http._tcp.web.ns1.svc", "TXT", "NOERROR", []),
    ("_http._udp.web.ns1.svc", "SRV", "NXDOMAIN", []),
    ("_bogus._tcp.web.ns1.svc", "A", "NXDOMAIN", []),
    ("_http.web.ns1.svc", "A", "NXDOMAIN", []),
    ("__http._tcp.web.ns1.svc", "SRV", "NXDOMAIN", []),
    ("_._tcp.web.ns1.svc", "SRV", "NOERROR", ["0 50 443 web.ns1.svc.Z", "0 50 80 web.ns1.svc.Z"]),
    ("10-244-1-1.web.ns1.svc", "A", "NOERROR", ["10.244.1.1"]),
    ("h2.web.ns1.svc", "A", "NOERROR", ["10.244.1.2"]),
    ("10-244-1-2.web.ns1.svc", "A", "NXDOMAIN", []),
    ("10-244-1-3.web.ns1.svc", "A", "NXDOMAIN", []),
    ("h2.web.ns1.svc", "SRV", "NOERROR", ["0 50 8080 h2.web.ns1.svc.Z", "0 50 8443 h2.web.ns1.svc.Z"]),
    ("hl.ns1.svc", "A", "NOERROR", ["10.244.2.1", "10.244.2.2", "10.244.2.4", "10.244.2.5"]),
    (
        "_http._tcp.hl.ns1.svc",
        "SRV",
        "NOERROR",
        [f"0 20 8080 {label}.hl.ns1.svc.Z" for label in ("10-244-2-4", "10-244-2-5", "hl-0", "hl-1")],
    ),
    ("down.ns1.svc", "A", "NXDOMAIN", []),
    ("down.ns1.svc", "ANY", "NXDOMAIN", []),
    ("bare.ns1.svc", "A", "NXDOMAIN", []),
    ("maybe.ns1.svc", "A", "NOERROR", ["10.244.4.1"]),
    ("portless.ns1.svc", "A", "NOERROR", ["10.96.1.5"]),
    ("portless.ns1.svc", "SRV", "NOERROR", []),
    ("_http._tcp.portless.ns1.svc", "SRV", "NXDOMAIN", []),
    ("portless-hl.ns1.svc", "A", "NOERROR", ["10.244.5.1"]),
    ("portless-hl.ns1.svc", "SRV", "NOERROR", []),
    ("idle.ns1.svc", "A", "NOERROR", ["10.96.1.6"]),
    ("ghost.ns1.svc", "A", "NXDOMAIN", []),
    ("svc", "A", "NOERROR", []),
    ("pod", "A", "NOERROR", []),
    ("ns1.svc", "A", "NOERROR", []),
    ("void.svc", "A", "NOERROR", []),
    ("nope.svc", "A", "NXDOMAIN", []),
    ("dual.ns1.svc", "A", "NOERROR", ["10.96.1.7"]),
    ("dual.ns1.svc", "AAAA", "NOERROR", ["fd00:96::7"]),
    ("_http._tcp.dual.ns1.svc", "SRV", "NOERROR", ["0 50 80 dual.ns1.svc.Z"]),
    ("kube-dns.ns1.svc", "SRV", "NOERROR", ["0 33 53 kube-dns.ns1.svc.Z", "0 33 9153 kube-dns.ns1.svc.Z"]),
    ("pending.ns1.svc", "A", "NOERROR", []),
    ("fd00-10-244-1--0.six.ns1.svc", "AAAA", "NOERROR", ["fd00:10:244:1::"]),
    ("loop.ns1.svc", "A", "NOERROR", []),
    ("there.ns1.svc", "A", "NOERROR", []),
    ("inside.ns1.svc", "A", "NOERROR", ["10.96.1.1", "web.ns1.svc.Z"]),
    ("inside.ns1.svc", "CNAME", "NOERROR", ["web.ns1.svc.Z"]),
    ("inside.ns1.svc", "AAAA", "NOERROR", []),
    ("twice.ns1.svc", "A", "NOERROR", ["10.96.1.1", "inside.ns1.svc.Z", "web.ns1.svc.Z"]),
    ("nowhere.ns1.svc", "A", "NOERROR", []),
    ("literal.ns1.svc", "A", "NXDOMAIN", []),
    ("x.inside.ns1.svc", "A", "NXDOMAIN", []),
    ("*.ns1.svc", "A", "NXDOMAIN", []),
    ("any.ns1.svc", "A", "NXDOMAIN", []),
    ("a.b.1-2-3-4.ns1.pod", "A", "NOERROR", ["1.2.3.4"]),
    ("a.b.c.1-2-3-4.ns1.pod", "A", "NXDOMAIN", []),
    ("01-2-3-4.ns1.pod", "A", "NXDOMAIN", []),
    ("1-2-3-4.nope.pod", "A", "NXDOMAIN", []),
    ("1-2-3-4.ns1.pod", "SRV", "NOERROR", ["0 100 0 1-2-3-4.ns1.pod.Z"]),
    ("dns-version", "TXT", "NOERROR", ['"1.1.0"']),
    ("foo", "A", "NXDOMAIN", []),
    ("ns.dns", "A", "NOERROR", ["10.96.0.10"]),
    ("", "NS", "NOERROR", ["kube-dns.ns1.svc.Z"]),
    ("", "A", "NOERROR", []),
]

POINTERS = [
    ("1.1.96.10.in-addr.arpa", ["web.ns1.svc.Z"]),
    ("4.2.244.10.in-addr.arpa", ["10-244-2-4.hl.ns1.svc.Z"]),
    ("1.2.244.10.in-addr.arpa", ["hl-0.hl.ns1.svc.Z"]),
    ("1.1.244.10.in-addr.arpa", ["10-244-1-1.web.ns1.svc.Z"]),
    ("1.6.244.10.in-addr.arpa", ["10-244-6-1.ghost.ns1.svc.Z"]),
    ("2.6.244.10.in-addr.arpa", []),
    ("3.1.244.10.in-addr.arpa", []),
    ("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa", ["dual.ns1.svc.Z"]),
]


def in_zone(text: str) -> str:
    return text.removesuffix("Z") + "cluster.local." if text.endswith(".Z") else text


@pytest.mark.parametrize(("name", "type_", "rcode", "rdata"), VECTORS, ids=[f"{v[0]} {v[1]}" for v in VECTORS])
def test_golden_vector(name: str, type_: str, rcode: str, rdata: list[str]) -> None:
    index = filled({identity(item): item for item in FIXTURE})
    asked = cluster("pods insecure", index, local=("127.0.0.1", "10.244.9.9"))
    reply = said(asked.ask(f"{name}.cluster.local." if name else "cluster.local.", type_))
    assert (reply.rcode, sorted(record[3] for record in reply.answer)) == (rcode, sorted(map(in_zone, rdata)))


@pytest.mark.parametrize(("name", "targets"), POINTERS)
def test_golden_pointer(name: str, targets: list[str]) -> None:
    reply = said(cluster("", filled({identity(item): item for item in FIXTURE})).ask(name, "PTR"))
    assert reply.rcode == ("NOERROR" if targets else "NXDOMAIN")
    assert sorted(record[3] for record in reply.answer) == [in_zone(target) for target in targets]


def test_endpoints_are_named_after_their_pods_where_wanted() -> None:
    asked = cluster("endpoint_pod_names", filled({identity(item): item for item in FIXTURE}))
    reply = said(asked.ask("4.2.244.10.in-addr.arpa", "PTR"))
    assert [record[3] for record in reply.answer] == ["anon-x.hl.ns1.svc.cluster.local."]
    assert said(asked.ask("web-a.web.ns1.svc.cluster.local", "A")).rcode == "NOERROR"


def test_empty_services_are_ignored_where_wanted() -> None:
    asked = cluster("ignore empty_service", filled({identity(item): item for item in FIXTURE}))
    assert said(asked.ask("idle.ns1.svc.cluster.local")).rcode == "NXDOMAIN"
    assert said(asked.ask("web.ns1.svc.cluster.local")).rcode == "NOERROR"


def test_srv_records_bring_the_addresses_of_both_families() -> None:
    reply = said(
        cluster("", filled({identity(item): item for item in FIXTURE})).ask("dual.ns1.svc.cluster.local", "SRV")
    )
    assert sorted(record[3] for record in reply.additional) == ["10.96.1.7", "fd00:96::7"]


# -- readiness


READINESS = list(itertools.product([None, True, False], [None, True, False], [None, True, False], [True, False]))


@pytest.mark.parametrize("headless", [True, False], ids=["headless", "endpoint of a ClusterIP"])
@pytest.mark.parametrize(("ready", "serving", "terminating", "publish"), READINESS)
def test_only_ready_decides(
    ready: bool | None, serving: bool | None, terminating: bool | None, publish: bool, headless: bool
) -> None:
    """Null and absent count as ready; `serving`, `terminating` and publishNotReadyAddresses do not count (3.2)."""
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    service = _service("web", ["None" if headless else "10.96.1.1"], WEB, publishNotReadyAddresses=publish)
    slice_ = _slice("web-1", "web", WEB, {"addresses": ["10.244.1.1"], "conditions": conditions})
    items = [FIXTURE[0], service, slice_]
    asked = cluster("", filled({identity(item): item for item in items}))
    reply = said(asked.ask("10-244-1-1.web.ns1.svc.cluster.local"))
    pointer = said(asked.ask("1.1.244.10.in-addr.arpa", "PTR"))
    expected = "NXDOMAIN" if ready is False else "NOERROR"
    assert (reply.rcode, pointer.rcode) == (expected, expected)
