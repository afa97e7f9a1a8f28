"""The plugin `k8s_external`: names of Services as they are reached from outside the cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest

from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.k8s_external import MAX_HOSTS
from tests.plugins import harness
from tests.process import DEADLINE, dnsd, eventually
from tests.upstream import Upstream

CLUSTER = """\
kind: Namespace
apiVersion: v1
metadata: {name: shop}
---
kind: Namespace
apiVersion: v1
metadata: {name: hidden}
---
kind: Service
apiVersion: v1
metadata: {name: lb, namespace: shop}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.1]
  ports: [{name: http, port: 80, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.7}, {ip: "2001:db8::7"}]}}
---
kind: Service
apiVersion: v1
metadata: {name: extips, namespace: shop}
spec: {clusterIPs: [10.96.0.2], externalIPs: [198.51.100.32, 198.51.100.33], ports: [{port: 80, protocol: TCP}]}
---
kind: Service
apiVersion: v1
metadata: {name: shared, namespace: shop}
spec: {clusterIPs: [10.96.0.3], externalIPs: [198.51.100.32], ports: [{name: web, port: 443, protocol: TCP}]}
---
kind: Service
apiVersion: v1
metadata: {name: portless, namespace: shop}
spec: {clusterIPs: [10.96.0.4], externalIPs: [198.51.100.34]}
---
kind: Service
apiVersion: v1
metadata: {name: named, namespace: shop}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.5], ports: [{name: http, port: 80, protocol: TCP}]}
status: {loadBalancer: {ingress: [{hostname: www.example.com}]}}
---
kind: Service
apiVersion: v1
metadata: {name: dangling, namespace: shop}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.6], ports: [{name: http, port: 80, protocol: TCP}]}
status: {loadBalancer: {ingress: [{hostname: nosuch.example.com}]}}
---
kind: Service
apiVersion: v1
metadata: {name: both, namespace: shop}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.7], ports: [{port: 80, protocol: TCP}]}
status: {loadBalancer: {ingress: [{hostname: www.example.com}, {ip: 198.51.100.40}]}}
---
kind: Service
apiVersion: v1
metadata: {name: inside, namespace: shop}
spec: {clusterIPs: [10.96.0.8], ports: [{name: http, port: 80, protocol: TCP}]}
---
kind: Service
apiVersion: v1
metadata: {name: lb, namespace: hidden}
spec: {clusterIPs: [10.96.0.9], externalIPs: [198.51.100.50], ports: [{port: 80, protocol: TCP}]}
---
kind: Service
apiVersion: v1
metadata: {name: hl, namespace: shop}
spec: {clusterIPs: ["None"], ports: [{name: db, port: 5432, protocol: TCP}]}
---
kind: EndpointSlice
apiVersion: discovery.k8s.io/v1
metadata: {name: hl-1, namespace: shop, labels: {kubernetes.io/service-name: hl}}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.1], hostname: hl-0}
- {addresses: [10.1.0.2]}
- {addresses: [10.1.0.3], conditions: {ready: false}}
ports: [{name: db, port: 5433, protocol: TCP}]
---
kind: EndpointSlice
apiVersion: discovery.k8s.io/v1
metadata: {name: lb-1, namespace: shop, labels: {kubernetes.io/service-name: lb}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.9]}]
ports: [{name: http, port: 8080, protocol: TCP}]
"""
COREFILE = """\
.:1053 {{
    errors
    kubernetes cluster.local {{
        manifests cluster.yaml
        namespaces shop
        ttl 7
    }}
    k8s_external ext.test in-addr.arpa ip6.arpa {{
        ttl 42
        {options}
    }}
}}
"""
SOA = "ext.test. SOA ns1.dns.ext.test. hostmaster.dns.ext.test. SERIAL 7200 1800 86400 42"


def ask(tmp_path: Path, name: str, type_: str, options: str = "", corefile: str = COREFILE) -> dns.message.Message:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    reply = harness.answer(corefile.format(options=options), name, type_, directory=tmp_path)
    assert reply is not None
    return reply


def rows(section: object) -> list[str]:
    """`OWNER TTL TYPE RDATA` of each record, sorted, without the serial."""
    found = []
    for owner, ttl, type_, data in harness.records(section):
        text = data if type_ != "SOA" else " ".join([*data.split()[:2], "SERIAL", *data.split()[3:]])
        found.append(f"{owner} {ttl} {type_} {text}")
    return found


POSITIVE = [
    ("addresses of a load balancer", "lb.shop", "A", ["lb.shop 42 A 198.51.100.7"], []),
    ("of either family", "lb.shop", "AAAA", ["lb.shop 42 AAAA 2001:db8::7"], []),
    ("external addresses", "extips.shop", "A",
     ["extips.shop 42 A 198.51.100.32", "extips.shop 42 A 198.51.100.33"], []),
    ("addresses without ports", "portless.shop", "A", ["portless.shop 42 A 198.51.100.34"], []),
    ("a port and its protocol", "_http._tcp.lb.shop", "A", ["_http._tcp.lb.shop 42 A 198.51.100.7"], []),
    ("a label that nobody asked for", "x.lb.shop", "A", ["x.lb.shop 42 A 198.51.100.7"], []),
    ("addresses, and no alias beside them", "both.shop", "A", ["both.shop 42 A 198.51.100.40"], []),
    ("SRV records of all ports with all addresses, and the cluster's TTL", "lb.shop", "SRV",
     ["lb.shop 7 SRV 0 25 53 lb.shop.ext.test.", "lb.shop 7 SRV 0 25 80 lb.shop.ext.test."],
     ["lb.shop 42 A 198.51.100.7", "lb.shop 42 AAAA 2001:db8::7"]),
    ("SRV records of one port", "_dns._udp.lb.shop", "SRV",
     ["_dns._udp.lb.shop 7 SRV 0 50 53 lb.shop.ext.test."],
     ["lb.shop 42 A 198.51.100.7", "lb.shop 42 AAAA 2001:db8::7"]),
]  # fmt: skip


def full(texts: list[str]) -> list[str]:
    """With the zone behind the owner names."""
    return sorted(text.replace(" ", ".ext.test. ", 1) for text in texts)


@pytest.mark.parametrize(("rule", "name", "type_", "answer", "additional"), POSITIVE, ids=[row[0] for row in POSITIVE])
def test_a_service_has(
    rule: str, name: str, type_: str, answer: list[str], additional: list[str], tmp_path: Path
) -> None:
    reply = ask(tmp_path, f"{name}.ext.test", type_)
    assert reply.flags & dns.flags.AA
    assert rows(reply.answer) == full(answer)
    assert rows(reply.additional) == full(additional)
    assert not reply.authority


HEADLESS = [
    ("its endpoints' addresses", "hl.shop", "A", ["hl.shop 42 A 10.1.0.1", "hl.shop 42 A 10.1.0.2"], []),
    ("an endpoint by its host name", "hl-0.hl.shop", "A", ["hl-0.hl.shop 42 A 10.1.0.1"], []),
    ("an endpoint by its address", "10-1-0-2.hl.shop", "A", ["10-1-0-2.hl.shop 42 A 10.1.0.2"], []),
    ("SRV records with the endpoints' ports", "_db._tcp.hl.shop", "SRV",
     ["_db._tcp.hl.shop 7 SRV 0 50 5433 10-1-0-2.hl.shop.ext.test.",
      "_db._tcp.hl.shop 7 SRV 0 50 5433 hl-0.hl.shop.ext.test."],
     ["10-1-0-2.hl.shop 42 A 10.1.0.2", "hl-0.hl.shop 42 A 10.1.0.1"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "type_", "answer", "additional"), HEADLESS, ids=[row[0] for row in HEADLESS])
def test_a_headless_service_has_where_the_option_says_so(
    rule: str, name: str, type_: str, answer: list[str], additional: list[str], tmp_path: Path
) -> None:
    reply = ask(tmp_path, f"{name}.ext.test", type_, "headless")
    assert rows(reply.answer) == full(answer)
    assert rows(reply.additional) == full(additional)
    assert ask(tmp_path, f"{name}.ext.test", type_).rcode() == dns.rcode.NXDOMAIN


NEGATIVE = [
    ("a service that is only inside", "inside.shop", "A", dns.rcode.NXDOMAIN),
    ("a service that is not there", "nosuch.shop", "A", dns.rcode.NXDOMAIN),
    ("a namespace that is not there", "nosuch", "A", dns.rcode.NXDOMAIN),
    ("a namespace that is not served", "lb.hidden", "A", dns.rcode.NXDOMAIN),
    ("a port that is not there", "_ftp._tcp.lb.shop", "A", dns.rcode.NXDOMAIN),
    ("a protocol that is not there", "_http._udp.lb.shop", "SRV", dns.rcode.NXDOMAIN),
    ("too many labels", "a.b.c.lb.shop", "A", dns.rcode.NXDOMAIN),
    ("a name below the apex label", "x.dns", "A", dns.rcode.NXDOMAIN),
    ("more labels before the name server", "x.ns1.dns", "A", dns.rcode.NXDOMAIN),
    ("SOA at a name that is not there", "nosuch.shop", "SOA", dns.rcode.NXDOMAIN),
    ("a namespace", "shop", "A", dns.rcode.NOERROR),
    ("a type that a service has not", "lb.shop", "TXT", dns.rcode.NOERROR),
    ("SOA at a service", "lb.shop", "SOA", dns.rcode.NOERROR),
    ("the other family", "extips.shop", "AAAA", dns.rcode.NOERROR),
    ("SRV without ports", "portless.shop", "SRV", dns.rcode.NOERROR),
    ("the name above ports", "_tcp.lb.shop", "TXT", dns.rcode.NOERROR),
    ("the apex", "", "A", dns.rcode.NOERROR),
    ("the apex label", "dns", "A", dns.rcode.NOERROR),
    ("the name server without an address", "ns1.dns", "A", dns.rcode.NOERROR),
    ("PTR at a service", "lb.shop", "PTR", dns.rcode.NOERROR),
]


@pytest.mark.parametrize(("rule", "name", "type_", "rcode"), NEGATIVE, ids=[row[0] for row in NEGATIVE])
def test_the_zone_denies(rule: str, name: str, type_: str, rcode: dns.rcode.Rcode, tmp_path: Path) -> None:
    reply = ask(tmp_path, f"{name}.ext.test".removeprefix("."), type_)
    assert reply.rcode() == rcode
    assert reply.flags & dns.flags.AA
    assert not reply.answer
    assert rows(reply.authority) == [SOA.replace(" SOA", " 42 SOA")]


def test_the_name_above_a_headless_services_ports_exists(tmp_path: Path) -> None:
    """RFC 8020."""
    assert ask(tmp_path, "_tcp.hl.shop.ext.test", "A", "headless").rcode() == dns.rcode.NOERROR
    assert ask(tmp_path, "_udp.hl.shop.ext.test", "A", "headless").rcode() == dns.rcode.NXDOMAIN


def test_the_apex_has_soa_and_ns_records(tmp_path: Path) -> None:
    assert rows(ask(tmp_path, "ext.test", "SOA").answer) == [SOA.replace(" SOA", " 42 SOA")]
    reply = ask(tmp_path, "ext.test", "NS", "apex edge")
    assert rows(reply.answer) == ["ext.test. 42 NS ns1.edge.ext.test."]
    assert rows(reply.additional) == []
    assert (
        "ns1.edge.ext.test. hostmaster.edge.ext.test." in rows(ask(tmp_path, "ext.test", "SOA", "apex edge").answer)[0]
    )


BOUND = COREFILE.replace("    errors\n", "    errors\n    bind {local}\n")


@pytest.mark.parametrize(
    ("local", "addresses"),
    [
        ("10.1.0.9", ["198.51.100.7", "2001:db8::7"]),
        ("10.1.0.1", ["10.1.0.1", "10.1.0.2"]),
        ("192.0.2.1", ["192.0.2.1"]),
    ],
    ids=["the service that selects this server", "a headless one", "no service: the server itself"],
)
def test_the_name_server_has_the_external_addresses_of(local: str, addresses: list[str], tmp_path: Path) -> None:
    corefile = BOUND.replace("{local}", local)
    reply = ask(tmp_path, "ext.test", "NS", "headless", corefile)
    assert [row.split()[3] for row in rows(reply.additional)] == addresses
    assert {row.split()[0] for row in rows(reply.additional)} == {"ns1.dns.ext.test."}
    first = ask(tmp_path, "ns1.dns.ext.test", "A", "headless", corefile)
    assert [row.split()[3] for row in rows(first.answer)] == [text for text in addresses if ":" not in text]


POINTERS = [
    ("7.100.51.198.in-addr.arpa", ["lb.shop.ext.test."]),
    ("32.100.51.198.in-addr.arpa", ["extips.shop.ext.test.", "shared.shop.ext.test."]),
    ("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", ["lb.shop.ext.test."]),
    ("50.100.51.198.in-addr.arpa", []),
    ("1.0.96.10.in-addr.arpa", []),
    ("99.100.51.198.in-addr.arpa", []),
    ("100.51.198.in-addr.arpa", []),
]


@pytest.mark.parametrize(("name", "targets"), POINTERS)
def test_an_external_address_points_to_its_services(name: str, targets: list[str], tmp_path: Path) -> None:
    reply = ask(tmp_path, name, "PTR")
    assert [row.split()[3] for row in rows(reply.answer)] == targets
    assert {row.split()[1] for row in rows(reply.answer)} <= {"42"}
    assert reply.rcode() == (dns.rcode.NOERROR if targets else dns.rcode.NXDOMAIN)


def test_an_external_address_has_no_pointer_in_the_cluster_zone(tmp_path: Path) -> None:
    corefile = ".:1053 {{\n kubernetes cluster.local in-addr.arpa {{\n  manifests cluster.yaml\n }}\n}}"
    assert ask(tmp_path, "7.100.51.198.in-addr.arpa", "PTR", corefile=corefile).rcode() == dns.rcode.NXDOMAIN
    assert ask(tmp_path, "1.0.96.10.in-addr.arpa", "PTR", corefile=corefile).answer


def test_the_case_that_was_asked_comes_back_and_targets_are_lower(tmp_path: Path) -> None:
    reply = ask(tmp_path, "LB.Shop.Ext.TEST", "SRV")
    assert reply.answer[0].name.to_text() == "LB.Shop.Ext.TEST."
    assert {rdata.target.to_text().lower() for rdata in reply.answer[0]} == {"lb.shop.ext.test."}


# -- host names of load balancers


UPSTREAM = """\
$ORIGIN example.com.
@ 60 SOA a b 1 2 3 4 5
@ 60 NS a
www 60 A 203.0.113.10
www 60 AAAA 2001:db8::10
"""


def test_a_load_balancers_host_name_is_an_alias_that_is_followed(tmp_path: Path) -> None:
    (tmp_path / "up").write_text(UPSTREAM)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    with Upstream(tmp_path / "up") as upstream:
        corefile = COREFILE.format(options="").replace("1053", "PORT").replace("errors", "bind 127.0.0.1", 1)
        corefile = corefile.rstrip().removesuffix("}") + f"    forward . {upstream.address}\n}}\n"
        with dnsd(corefile, tmp_path) as server:
            found = {type_: server.ask("named.shop.ext.test", type_) for type_ in ("A", "AAAA", "CNAME", "SRV", "TXT")}
            dangling = server.ask("dangling.shop.ext.test", "A")
    alias = "named.shop.ext.test. 7 CNAME www.example.com."
    assert rows(found["A"].answer) == [alias, "www.example.com. 60 A 203.0.113.10"]
    assert rows(found["AAAA"].answer) == [alias, "www.example.com. 60 AAAA 2001:db8::10"]
    assert rows(found["CNAME"].answer) == [alias]
    assert rows(found["SRV"].answer) == ["named.shop.ext.test. 7 SRV 0 100 80 www.example.com."]
    assert rows(found["SRV"].additional) == [
        "www.example.com. 60 A 203.0.113.10",
        "www.example.com. 60 AAAA 2001:db8::10",
    ]
    assert (found["TXT"].rcode(), found["TXT"].answer) == (dns.rcode.NOERROR, [])
    assert dangling.rcode() == dns.rcode.NOERROR
    assert rows(dangling.answer) == ["dangling.shop.ext.test. 7 CNAME nosuch.example.com."]


def test_host_names_are_looked_up_for_srv_records_up_to_the_limit(tmp_path: Path) -> None:
    hosts = [f"h{i}.example.com" for i in range(MAX_HOSTS + 3)]
    ingress = ", ".join(f"{{hostname: {host}}}" for host in hosts)
    (tmp_path / "cluster.yaml").write_text(CLUSTER.replace("{hostname: www.example.com}]", ingress + "]", 1))
    (tmp_path / "up").write_text(UPSTREAM + "$TTL 60\n" + "".join(f"{host}. A 203.0.113.9\n" for host in hosts))
    with Upstream(tmp_path / "up") as upstream:
        corefile = COREFILE.format(options="").replace("1053", "PORT").replace("errors", "bind 127.0.0.1", 1)
        corefile = corefile.rstrip().removesuffix("}") + f"    forward . {upstream.address}\n}}\n"
        with dnsd(corefile, tmp_path) as server:
            reply = server.ask("named.shop.ext.test", "SRV", tcp=True)
    assert len(reply.answer[0]) == len(hosts)
    assert len(reply.additional) == MAX_HOSTS


# -- with others


def test_fallthrough_passes_names_on_that_are_not_there(tmp_path: Path) -> None:
    corefile = COREFILE.rstrip().removesuffix("}}") + "    file other ext.test\n}}\n"
    (tmp_path / "other").write_text("@ 60 SOA a b 1 2 3 4 5\nnosuch.shop 60 A 192.0.2.1\nlb.shop 60 TXT no\n")
    passed = ask(tmp_path, "nosuch.shop.ext.test", "A", "fallthrough ext.test", corefile)
    assert rows(passed.answer) == ["nosuch.shop.ext.test. 60 A 192.0.2.1"]
    assert not ask(tmp_path, "lb.shop.ext.test", "TXT", "fallthrough", corefile).answer
    assert ask(tmp_path, "nosuch.shop.ext.test", "A", "fallthrough other.test", corefile).rcode() == dns.rcode.NXDOMAIN


def test_without_kubernetes_queries_pass(tmp_path: Path) -> None:
    corefile = ".:1053 {{\n k8s_external ext.test\n file other ext.test\n}}"
    (tmp_path / "other").write_text("@ 60 SOA a b 1 2 3 4 5\nlb.shop 60 TXT passed\n")
    assert rows(ask(tmp_path, "lb.shop.ext.test", "TXT", corefile=corefile).answer) == [
        'lb.shop.ext.test. 60 TXT "passed"'
    ]


def test_names_are_servfail_before_the_first_sync(tmp_path: Path) -> None:
    async def run() -> None:
        corefile = ".:53 {\n kubernetes cluster.local {\n  manifests x\n }\n k8s_external ext.test\n}"
        reply = await harness.build(corefile, tmp_path).ask("lb.shop.ext.test")
        assert reply is not None
        assert reply.rcode() == dns.rcode.SERVFAIL

    asyncio.run(run())


def test_a_change_of_the_cluster_is_answered_at_once(tmp_path: Path) -> None:
    """By name and by address, over a memo that has kept the answers."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    corefile = COREFILE.format(options="").replace("1053", "PORT").replace("errors", "bind 127.0.0.1", 1)
    with dnsd(corefile, tmp_path) as server:
        assert server.texts("lb.shop.ext.test") == ["198.51.100.7"]
        assert server.texts("8.100.51.198.in-addr.arpa", "PTR") == []
        (tmp_path / "new").write_text(CLUSTER.replace("198.51.100.7}", "198.51.100.8}"))
        (tmp_path / "new").rename(tmp_path / "cluster.yaml")
        eventually(lambda: server.texts("lb.shop.ext.test") == ["198.51.100.8"])
        assert server.texts("8.100.51.198.in-addr.arpa", "PTR") == ["lb.shop.ext.test."]
        assert server.texts("7.100.51.198.in-addr.arpa", "PTR") == []


def test_a_transfer_has_what_queries_are_answered_with(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    corefile = COREFILE.format(options="headless").replace("1053", "PORT").replace("errors", "bind 127.0.0.1", 1)
    corefile = corefile.rstrip().removesuffix("}") + "    transfer {\n to *\n }\n}\n"
    with dnsd(corefile, tmp_path) as server:
        zone = dns.zone.Zone("ext.test", relativize=False)
        dns.query.inbound_xfr("127.0.0.1", zone, port=server.port, timeout=DEADLINE, lifetime=DEADLINE)
        for name, rdataset in zone.iterate_rdatasets():
            texts = sorted(rdata.to_text() for rdata in rdataset)
            asked = server.ask(name.to_text(), dns.rdatatype.to_text(rdataset.rdtype), tcp=True)
            records = [(r, rrset.ttl) for rrset in asked.answer for r in rrset if rrset.rdtype == rdataset.rdtype]
            assert sorted(rdata.to_text() for rdata, _ in records) == texts, name
            assert {ttl for _, ttl in records} == {rdataset.ttl}, name
        owners = {name.to_text().removesuffix(".ext.test.") for name, _ in zone.iterate_rdatasets()}
    assert {"lb.shop", "_http._tcp.lb.shop", "named.shop", "hl.shop", "hl-0.hl.shop", "_db._tcp.hl.shop"} <= owners
    assert not {"inside.shop", "lb.hidden"} & owners


WRONG = [
    ("k8s_external a.test {\n ttl 3601\n }", "2:6: '3601' is not a whole number from 0 to 3600"),
    ("k8s_external a.test {\n apex\n }", "2:2: 'apex' needs 1 argument"),
    ("k8s_external a.test {\n headless yes\n }", "2:11: 'yes' is too much"),
    ("k8s_external a.test {\n what\n }", "2:2: unknown option 'what'"),
    ("k8s_external a.test {\n apex .\n }", "'apex' needs a label"),
    ("k8s_external a.test\n k8s_external b.test", "2:2: 'k8s_external' can be used once"),
]


@pytest.mark.parametrize(("lines", "message"), WRONG)
def test_a_directive_that_cannot_be_used_is_refused(lines: str, message: str) -> None:
    with pytest.raises(CorefileError) as caught:
        harness.build(f". {{ {lines}\n}}")
    assert message in str(caught.value)
