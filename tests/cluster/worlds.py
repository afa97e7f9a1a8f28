"""Random clusters: strategies for Kubernetes objects as JSON values, few names and addresses so that they meet.

Knows objects and what they look like; knows no answers.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, TypeAlias

import msgspec
from hypothesis import strategies as st

from dnsd.cluster.index import Index
from dnsd.cluster.objects import KINDS, EndpointSlice, Namespace, Object, Pod, Service

Json: TypeAlias = dict[str, Any]
Identity: TypeAlias = tuple[str, str, str]
"""Kind, namespace, name."""
World: TypeAlias = dict[Identity, Json]

NAMESPACES = ("shop", "pod", "empty")
SERVICES = ("web", "db", "svc")
SLICES = ("s1", "s2", "s3", "s4")
PODS = ("p1", "p2")
ADDRESSES = ("10.244.0.1", "10.244.0.2", "fd00::1", "fd00:0:0:1::", "10.96.0.11")
"""Of endpoints and pods; the last one may also be a cluster IP."""
PORTS = (
    {"name": "http", "protocol": "TCP", "port": 80},
    {"name": "http", "protocol": "UDP", "port": 80},
    {"name": "dns", "protocol": "UDP", "port": 53},
    {"name": "Metrics", "protocol": "TCP", "port": 9153},
    {"protocol": "TCP", "port": 8080},
    {"name": "http", "protocol": "TCP"},
)
EXTERNAL_NAMES = (
    "www.example.org",
    "WWW.Example.org.",
    "10.1.2.3",
    "fd00::7",
    "",
    *(f"{name}.{namespace}.svc.cluster.local" for name in SERVICES for namespace in NAMESPACES[:2]),
    "nothing.shop.svc.cluster.local",
    "s1.web.shop.svc.cluster.local.",
)


def cluster_ips(namespace: str, name: str) -> tuple[str, str]:
    """The cluster IPs of a Service: no two Services ever have the same."""
    number = NAMESPACES.index(namespace) * 16 + SERVICES.index(name) + 11
    return f"10.96.0.{number}", f"fd00:96::{number:x}"


def identity(item: Json) -> Identity:
    """Kind, namespace and name of an object."""
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def parsed(item: Json) -> Object:
    """The object as the sources hand it to the index."""
    return msgspec.json.decode(json.dumps(item), type=KINDS[item["kind"]])


def filled(world: World, *, now: float = 1000.0) -> Index:
    """An index that holds a cluster, synced."""
    index = Index((Namespace, Service, EndpointSlice, Pod), pod_names=True)
    for item in world.values():
        index.put(parsed(item), now)
    for kind in index.kinds:
        index.mark_synced(kind)
    return index


def _metadata(name: str, namespace: str = "", **labels: str) -> Json:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **({"labels": labels} if labels else {})}


port_lists = st.none() | st.lists(st.sampled_from(PORTS), max_size=3)


@st.composite
def namespaces(draw: st.DrawFn) -> Json:
    """A Namespace."""
    return {"kind": "Namespace", "metadata": _metadata(draw(st.sampled_from(NAMESPACES)))}


@st.composite
def services(draw: st.DrawFn) -> Json:
    """A Service of any type."""
    namespace, name = draw(st.sampled_from(NAMESPACES[:2])), draw(st.sampled_from(SERVICES))
    v4, v6 = cluster_ips(namespace, name)
    shapes: list[Json] = [
        {"type": "ClusterIP", "clusterIP": v4, "clusterIPs": [v4]},
        {"type": "ClusterIP", "clusterIP": v4},
        {"type": "NodePort", "clusterIP": v6, "clusterIPs": [v6]},
        {"type": "LoadBalancer", "clusterIP": v4, "clusterIPs": [v4, v6]},
        {"type": "ClusterIP", "clusterIP": ""},
        {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]},
        {"clusterIP": "None"},
        {"type": "ExternalName"},
    ]
    spec = dict(draw(st.sampled_from(shapes)))
    if spec.get("type") == "ExternalName":
        spec["externalName"] = draw(st.sampled_from(EXTERNAL_NAMES))
    ports = draw(port_lists)
    if ports is not None:
        spec["ports"] = ports
    return {"kind": "Service", "metadata": _metadata(name, namespace), "spec": spec}


@st.composite
def endpoints(draw: st.DrawFn) -> Json:
    """An endpoint of a slice."""
    item: Json = {"addresses": draw(st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2))}
    conditions = draw(st.sampled_from([None, {}, {"ready": None}, {"ready": True}, {"ready": True}, {"ready": False}]))
    if conditions is not None:
        item["conditions"] = {**conditions, **draw(st.sampled_from([{}, {"serving": True, "terminating": True}]))}
    hostname = draw(st.sampled_from([None, None, "h1", "h2", "tcp", "_tcp"]))
    if hostname is not None:
        item["hostname"] = hostname
    pod = draw(st.sampled_from([None, "web-a", "p" * 64]))
    if pod is not None:
        item["targetRef"] = {"kind": "Pod", "name": pod}
    return item


@st.composite
def slices(draw: st.DrawFn, owners: tuple[tuple[str, str], ...] = ()) -> Json:
    """An EndpointSlice of some Service, mostly one of `owners` (namespace and name), or of none."""
    others = tuple((namespace, name) for namespace in NAMESPACES[:2] for name in (*SERVICES, "ghost", ""))
    known = bool(owners) and draw(st.integers(0, 4)) > 0
    namespace, owner = draw(st.sampled_from(owners if known else others))
    labels = {"kubernetes.io/service-name": owner} if owner else {}
    item: Json = {
        "kind": "EndpointSlice",
        "metadata": _metadata(draw(st.sampled_from(SLICES)), namespace, **labels),
        "endpoints": draw(st.none() | st.lists(endpoints(), min_size=1, max_size=3)),
    }
    ports = draw(port_lists)
    if ports is not None:
        item["ports"] = ports
    return item


@st.composite
def pods(draw: st.DrawFn) -> Json:
    """A Pod in some phase of its life, never terminating."""
    return {
        "kind": "Pod",
        "metadata": _metadata(draw(st.sampled_from(PODS)), draw(st.sampled_from(NAMESPACES[:2]))),
        "status": {
            "phase": draw(st.sampled_from(["Pending", "Running", "Running", "Succeeded", "Failed"])),
            **({"podIP": draw(st.sampled_from(ADDRESSES))} if draw(st.booleans()) else {}),
        },
    }


objects = namespaces() | services() | services() | slices() | slices() | pods()
"""Any object."""


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A whole cluster; most of its namespaces exist, and most slices belong to a Service that does."""
    items = [{"kind": "Namespace", "metadata": _metadata(name)} for name in NAMESPACES if draw(st.integers(0, 9))]
    made = draw(st.lists(services(), min_size=3, max_size=6))
    owners = tuple((item["metadata"]["namespace"], item["metadata"]["name"]) for item in made)
    items += made
    items += draw(st.lists(slices(owners), min_size=2, max_size=5))
    items += draw(st.lists(pods(), max_size=2))
    return {identity(item): item for item in items}


_ENDPOINTS = ("h1", "h2", "10-244-0-1", "10-244-0-2", "fd00--1", "fd00-0-0-1--0", "web-a", "_tcp", "tcp", "_udp", "*")
_PORTS = ("_http", "_http", "http", "_", "__http", "_dns", "_metrics", "nothing")
_PROTOCOLS = ("_tcp", "_tcp", "tcp", "_udp", "_", "__tcp")


@st.composite
def names(draw: st.DrawFn, world: World | None = None) -> str:
    """A name that somebody may ask for, absolute and in lower case: most often one that `world` may have."""
    shape = draw(
        st.sampled_from(["service", "service", "service", "endpoint", "port", "port", "reverse", "pod", "fixed", "odd"])
    )
    if shape == "fixed":
        return draw(
            st.sampled_from(
                ["cluster.local.", "svc.cluster.local.", "pod.cluster.local.", "foo.cluster.local.",
                 "dns-version.cluster.local.", "web.cluster.local.", *(f"{n}.svc.cluster.local." for n in NAMESPACES),
                 "shop.pod.cluster.local.", "nowhere.svc.cluster.local.", "nowhere.pod.cluster.local."]
            )
        )  # fmt: skip
    if shape == "reverse":
        own = [ip for n in NAMESPACES[:2] for s in SERVICES for ip in cluster_ips(n, s)]
        return _reverse_name(draw(st.sampled_from([*ADDRESSES, *ADDRESSES, *own, "10.9.9.9"])))
    if shape == "pod":
        label = draw(st.sampled_from(["10-244-0-1", "10-244-0-2", "fd00--1", "010-2-3-4", "1-2-3", "10-9-9-9"]))
        extra = draw(st.sampled_from(["", "", "a.", "a.b.", "a.b.c."]))
        return f"{extra}{label}.{draw(st.sampled_from(NAMESPACES[:2]))}.pod.cluster.local."
    present = [(where, name) for kind, where, name in world or () if kind == "Service"]
    namespace, service = draw(st.sampled_from([*present, *present, *present, ("shop", "web"), ("shop", "ghost")]))
    below = f"{service}.{namespace}.svc.cluster.local."
    if shape == "service":
        return below
    if shape == "endpoint":
        return f"{draw(st.sampled_from(_ENDPOINTS))}.{below}"
    if shape == "port":
        return f"{draw(st.sampled_from(_PORTS))}.{draw(st.sampled_from(_PROTOCOLS))}.{below}"
    return ".".join([*draw(st.lists(st.sampled_from((*_ENDPOINTS, *_PORTS, *_PROTOCOLS)), max_size=3)), below])


def _reverse_name(address: str) -> str:
    return f"{ipaddress.ip_address(address).reverse_pointer}."
