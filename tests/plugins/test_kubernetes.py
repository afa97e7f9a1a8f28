"""`kubernetes`: its options, the time before the first sync, fallthrough, and ExternalName chains."""

from __future__ import annotations

import asyncio
import time

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsd.cluster import objects
from dnsd.cluster.index import Index
from dnsd.cluster.schema import Pods
from dnsd.cluster.store import Clusters
from dnsd.corefile.parser import parse
from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.build import Host
from dnsd.plugins.kubernetes import MAX_CHAIN, Kubernetes
from dnsd.plugins.kubernetes_settings import Stanza
from dnsd.resolve.query import Client
from dnsd.serve.instance import make_instance
from tests.cluster.apiobjects import Json, endpoint_slice, namespace, pod, service
from tests.cluster.asking import Cluster, Idle, cluster, said
from tests.cluster.worlds import filled, identity, parsed
from tests.wire.queries import query

Z = "cluster.local"


def external(name: str, target: str) -> Json:
    item = service("shop", name)
    item["spec"] = {"type": "ExternalName", "externalName": target}
    return item


ITEMS = [
    namespace("shop"),
    service("shop", "web", "10.96.0.1"),
    service("shop", "db"),
    endpoint_slice("shop", "db-1", "db", ["10.244.0.1"]),
    external("out", "www.example.org"),
    external("hop", f"out.shop.svc.{Z}"),
    external("loop", f"loop.shop.svc.{Z}"),
    *(external(f"c{i}", f"c{i + 1}.shop.svc.{Z}") for i in range(MAX_CHAIN + 2)),
    service("shop", f"c{MAX_CHAIN + 2}", "10.96.0.2"),
    pod("shop", "p", "10.244.0.9"),
]


def world(options: str = "", more: str = "", *, items: list[Json] = ITEMS, local: tuple[str, ...] = ()) -> Cluster:
    return cluster(options, filled({identity(item): item for item in items}), more=more, local=local)


# -- the stanza


def stanza(options: str, *, manifests: tuple[str, ...] = (), zones: str = "cluster.local in-addr.arpa") -> Stanza:
    clusters = Clusters(lambda _settings, _index: Idle(), manifests)
    text = f"example.org {{\nkubernetes {zones} {{\n{options}\n}}\n}}\n"
    blocks = parse(text, "Corefile", environment={}, read=str, glob=lambda pattern: [pattern])
    instance = make_instance(blocks, Host("/etc/coredns", clusters, time.monotonic, dict))
    (plugin,) = instance.plugins
    assert isinstance(plugin, Kubernetes)
    return plugin.stanza


def test_defaults_are_those_of_the_reference() -> None:
    made = stanza("")
    assert (made.schema.ttl, made.schema.pods, made.schema.endpoints) == (5, Pods.DISABLED, True)
    assert (made.fallthrough, made.schema.namespaces, made.startup_timeout) == ((), frozenset(), 5.0)
    assert made.schema.primary == (b"cluster", b"local")
    assert (made.source.manifests, made.source.kubeconfig, made.source.endpoint) == ((), "", "")
    assert made.source.kinds == (objects.Namespace, objects.Service, objects.EndpointSlice)


def test_zones_default_to_those_of_the_block() -> None:
    assert stanza("", zones="").schema.zones == ((b"example", b"org"),)


def test_a_cidr_stands_for_its_reverse_zones() -> None:
    assert stanza("", zones="cluster.local 10.96.0.0/15").schema.zones[1:] == (
        (b"96", b"10", b"in-addr", b"arpa"),
        (b"97", b"10", b"in-addr", b"arpa"),
    )


def test_only_what_is_read_is_watched() -> None:
    assert stanza("noendpoints").source.kinds == (objects.Namespace, objects.Service)
    assert objects.Pod in stanza("pods verified").source.kinds
    assert objects.Pod not in stanza("pods insecure").source.kinds


def test_where_the_cluster_comes_from() -> None:
    assert stanza("endpoint https://10.0.0.1 https://10.0.0.2").source.endpoint == "https://10.0.0.1"
    assert stanza("endpoint https://10.0.0.1\ntls a b c").source.tls is not None
    assert stanza("kubeconfig kube.conf other").source.kubeconfig == "/etc/coredns/kube.conf"
    assert stanza("kubeconfig kube.conf other").source.context == "other"
    assert stanza("kubeconfig /kube.conf").source.kubeconfig == "/kube.conf"
    assert stanza("manifests a.yaml /b").source.manifests == ("/etc/coredns/a.yaml", "/b")
    assert stanza("", manifests=("given.yaml",)).source.manifests == ("given.yaml",)
    assert stanza("kubeconfig kube.conf", manifests=("given.yaml",)).source.manifests == (), "a stanza says it better"
    assert stanza("manifests a.yaml", manifests=("given.yaml",)).source.manifests == ("/etc/coredns/a.yaml",)


def test_options_that_have_nothing_to_limit_are_checked_and_passed_over() -> None:
    assert stanza("apiserver_qps 5.5\napiserver_burst 10\napiserver_max_inflight 0") == stanza("")
    for wrong in ("apiserver_qps", "apiserver_qps -1", "apiserver_burst many", "apiserver_burst 1 2"):
        with pytest.raises(CorefileError):
            stanza(wrong)


GOOD = [
    "ttl 0",
    "ttl 3600",
    "namespaces a b\nnamespaces c",
    "namespace_labels a=b,c in (d, e)",
    "labels app=web",
    "pods disabled",
    "pods insecure",
    "fallthrough",
    "fallthrough a.test b.test",
    "ignore empty_service",
    "zonal",
    "noendpoints",
    "endpoint_pod_names",
    "startup_timeout 1m30s",
]


@pytest.mark.parametrize("options", GOOD)
def test_is_understood(options: str) -> None:
    assert stanza(options) != stanza("") or options == "pods disabled"


BAD = [
    "ttl 3601",
    "ttl -1",
    "ttl",
    "ttl 1 2",
    "namespaces",
    "namespaces a\nnamespace_labels a=b",
    "namespace_labels a==b==c",
    "labels",
    "pods",
    "pods some",
    "ignore",
    "ignore other",
    "zonal\nnoendpoints",
    "noendpoints now",
    "endpoint_pod_names yes",
    "startup_timeout soon",
    "endpoint",
    "endpoint https://a\ntls a b",
    "tls a b c",
    "kubeconfig",
    "kubeconfig a b c",
    "manifests",
    "manifests a\nkubeconfig b",
    "manifests a\nendpoint https://b",
    "upstream",
    "multicluster other.test",
]


@pytest.mark.parametrize("options", BAD)
def test_is_refused_with_its_place(options: str) -> None:
    with pytest.raises(CorefileError) as error:
        stanza(options)
    line = 2 + len(options.splitlines())
    assert error.value.position.line in (3, line)


def test_a_cluster_is_shared_by_all_that_name_the_same_source() -> None:
    clusters = Clusters(lambda _settings, _index: Idle())
    text = "".join(
        f"{zone} {{\nkubernetes {zone} {{\nmanifests {path}\nttl {ttl}\n}}\n}}\n"
        for zone, path, ttl in (("a.local", "/one", 5), ("b.local", "/one", 30), ("c.local", "/other", 5))
    )
    blocks = parse(text, "Corefile", environment={}, read=str, glob=lambda pattern: [pattern])
    make_instance(blocks, Host(".", clusters, time.monotonic, dict))
    assert [settings.manifests for settings in clusters.by_settings] == [("/one",), ("/other",)]


# -- before the first sync


def unsynced(options: str = "", *, listed: tuple[objects.Kind, ...] = (), more: str = "") -> Cluster:
    made = cluster(options, Index((objects.Namespace, objects.Service, objects.EndpointSlice)), more=more)
    for item in ITEMS[:4]:
        made.index.put(parsed(item), 1000.0)
    for kind in listed:
        made.index.mark_synced(kind)
    return made


BEFORE = ["web.shop.svc", "nothing.shop.svc", "nothing.svc", "shop.svc", "db.shop.svc"]


@pytest.mark.parametrize("name", BEFORE)
def test_before_the_first_sync_names_are_not_known(name: str) -> None:
    """Spec.md sections 3.3 and 11: SERVFAIL with AA, and never a false NXDOMAIN or a part of the truth."""
    reply = unsynced().ask(f"{name}.{Z}")
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert reply.flags & dns.flags.AA
    assert not reply.answer


ANSWERED_BEFORE = [
    (Z, "A", dns.rcode.NOERROR),
    (Z, "SOA", dns.rcode.NOERROR),
    (f"svc.{Z}", "A", dns.rcode.NOERROR),
    (f"pod.{Z}", "A", dns.rcode.NOERROR),
    (f"dns-version.{Z}", "TXT", dns.rcode.NOERROR),
    (f"foo.{Z}", "A", dns.rcode.NXDOMAIN),
]


@pytest.mark.parametrize(("name", "type_", "rcode"), ANSWERED_BEFORE)
def test_before_the_first_sync_what_no_list_can_change_is_known(name: str, type_: str, rcode: int) -> None:
    assert unsynced().ask(name, type_).rcode() == rcode


def test_a_name_is_known_once_what_it_reads_was_listed() -> None:
    listed = (objects.Namespace, objects.Service)
    assert unsynced(listed=listed).ask(f"web.shop.svc.{Z}").rcode() == dns.rcode.NOERROR
    assert unsynced(listed=listed).ask(f"nothing.shop.svc.{Z}").rcode() == dns.rcode.NXDOMAIN
    assert unsynced(listed=listed).ask(f"db.shop.svc.{Z}").rcode() == dns.rcode.SERVFAIL


def test_before_the_first_sync_nothing_falls_through() -> None:
    """Else somebody's negative cache would keep what the cluster has a name for (section 11)."""
    made = unsynced("fallthrough", more="whoami")
    assert made.ask("1.0.96.10.in-addr.arpa", "PTR").rcode() == dns.rcode.SERVFAIL
    assert made.ask(f"nothing.shop.svc.{Z}").rcode() == dns.rcode.SERVFAIL


def test_what_is_said_before_the_first_sync_is_not_remembered() -> None:
    made = unsynced()
    face = made.face("udp")
    client = Client("10.0.0.9", 40_000, "udp", "127.0.0.1", face.server)
    wire = query(f"web.shop.svc.{Z}")
    asyncio.run(face.answer(wire, client))
    assert len(face.memo) == 0
    for kind in made.index.kinds:
        made.index.mark_synced(kind)
    asyncio.run(face.answer(wire, client))
    assert len(face.memo) == 1


# -- fallthrough


FALLS = [
    # options, name, type, whether the next plugin is asked
    ("fallthrough", f"nothing.shop.svc.{Z}", "A", True),
    ("fallthrough", f"web.shop.svc.{Z}", "A", False),
    ("fallthrough", f"web.shop.svc.{Z}", "AAAA", False),
    ("fallthrough in-addr.arpa", f"nothing.shop.svc.{Z}", "A", False),
    (f"fallthrough {Z}", f"nothing.shop.svc.{Z}", "A", True),
    (f"fallthrough shop.svc.{Z}", f"nothing.shop.svc.{Z}", "A", True),
    (f"fallthrough other.svc.{Z}", f"nothing.shop.svc.{Z}", "A", False),
    ("fallthrough in-addr.arpa", "77.0.96.10.in-addr.arpa", "PTR", True),
    ("fallthrough in-addr.arpa", "1.0.96.10.in-addr.arpa", "PTR", False),
    ("fallthrough in-addr.arpa", "1.0.96.10.in-addr.arpa", "A", True),
    ("", "77.0.96.10.in-addr.arpa", "PTR", False),
    ("", "www.example.org", "A", True),
]


@pytest.mark.parametrize(("options", "name", "type_", "falls"), FALLS)
def test_name_errors_fall_through_where_wanted(options: str, name: str, type_: str, falls: bool) -> None:
    """Matched against the name asked for; NODATA never falls through (spec.md section 10, 32)."""
    reply = world(options, "whoami").ask(name, type_)
    assert bool(reply.additional) == falls, "whoami says who asks there"


# -- ExternalName Services


OUTSIDE = "hosts /dev/null example.org {\n192.0.2.1 www.example.org\n}"


def chain(reply: dns.message.Message) -> list[str]:
    return [data.to_text() for rrset in reply.answer for data in rrset]


def test_a_target_elsewhere_is_asked_of_the_whole_server() -> None:
    made = world(more=OUTSIDE)
    assert chain(made.ask(f"out.shop.svc.{Z}")) == ["www.example.org.", "192.0.2.1"]
    assert chain(made.ask(f"hop.shop.svc.{Z}")) == [f"out.shop.svc.{Z}.", "www.example.org.", "192.0.2.1"]


def test_a_target_elsewhere_that_fails_leaves_the_cname_alone() -> None:
    """Whatever the failure: NOERROR and the CNAME (spec.md section 2.5)."""
    for more in ("", "hosts /dev/null example.org {\n192.0.2.1 other.example.org\n}"):
        reply = world(more=more).ask(f"out.shop.svc.{Z}")
        assert (reply.rcode(), chain(reply)) == (dns.rcode.NOERROR, ["www.example.org."])
        assert not reply.authority


def test_a_cname_question_is_not_followed() -> None:
    assert chain(world(more=OUTSIDE).ask(f"out.shop.svc.{Z}", "CNAME")) == ["www.example.org."]


def test_a_chain_that_comes_back_ends_at_once() -> None:
    assert said(world().ask(f"loop.shop.svc.{Z}")).answer == frozenset()


def test_a_chain_may_have_so_many_links_and_no_more() -> None:
    made = world()
    within = made.ask(f"c2.shop.svc.{Z}")
    assert chain(within)[-1] == "10.96.0.2"
    assert len(chain(within)) == MAX_CHAIN + 1
    beyond = said(made.ask(f"c1.shop.svc.{Z}"))
    assert (beyond.rcode, beyond.answer) == ("NOERROR", frozenset())


def test_a_loop_through_two_zones_ends() -> None:
    """a.local's Service points into b.local, whose Service points back: every turn is counted."""
    items = [namespace("shop"), external("there", "back.shop.svc.b.local"), external("back", "there.shop.svc.a.local")]
    index = filled({identity(item): item for item in items})

    async def run() -> dns.message.Message:
        clusters = Clusters(lambda _settings, _index: Idle())
        text = ". {\nkubernetes a.local b.local\n}\n"
        blocks = parse(text, "Corefile", environment={}, read=str, glob=lambda pattern: [pattern])
        instance = make_instance(blocks, Host(".", clusters, time.monotonic, dict))
        (held,) = clusters.by_settings.values()
        held.index = index
        face = Cluster(instance, clusters).face()
        reply = await face.answer(
            query("there.shop.svc.a.local"), Client("10.0.0.9", 40_000, "tcp", "127.0.0.1", face.server)
        )
        assert reply is not None
        return dns.message.from_wire(reply)

    assert asyncio.run(run()).rcode() == dns.rcode.NOERROR


# -- the zone's name server


def test_the_name_server_is_the_service_that_selects_this_server() -> None:
    items = [
        *ITEMS,
        service("shop", "dns", "10.96.0.10"),
        endpoint_slice("shop", "dns-1", "dns", ["10.244.9.9"]),
    ]
    made = world(items=items, local=("127.0.0.1", "10.244.9.9"))
    reply = made.ask(Z, "NS")
    assert chain(reply) == [f"dns.shop.svc.{Z}."]
    assert [data.to_text() for rrset in reply.additional for data in rrset] == ["10.96.0.10"]
    assert chain(made.ask(Z.upper(), "NS")) == [f"dns.shop.svc.{Z.upper()}."], "in the spelling of the question"
    assert chain(made.ask(f"ns.dns.{Z}")) == ["10.96.0.10"]
    assert chain(world(items=items, local=("127.0.0.1",)).ask(Z, "NS")) == []
