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
from dnsd.cluster.objects import KINDS, Object

Json: TypeAlias = dict[str, Any]
Identity: TypeAlias = tuple[str, str, str]
"""Kind, namespace, name."""
World: TypeAlias = dict[Identity, Json]

NAMESPACES = ("shop", "svc", "pod", "empty")
SERVICES = ("web", "db", "svc", "alias", "x")
SLICES = ("s1", "s2", "s3", "s4")
PODS = ("p1", "p2")
ADDRESSES = ("10.244.0.1", "10.244.0.2", "10.244.1.9", "fd00::1", "fd00:0:0:1::", "10.96.0.11")
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
    index = Index(KINDS.values(), pod_names=True)
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
    namespace, name = draw(st.sampled_from(NAMESPACES[:3])), draw(st.sampled_from(SERVICES))
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
def slices(draw: st.DrawFn) -> Json:
    """An EndpointSlice of some Service, or of none."""
    owner = draw(st.sampled_from([*SERVICES, *SERVICES, "ghost", ""]))
    labels = {"kubernetes.io/service-name": owner} if owner else {}
    item: Json = {
        "kind": "EndpointSlice",
        "metadata": _metadata(draw(st.sampled_from(SLICES)), draw(st.sampled_from(NAMESPACES[:2])), **labels),
        "endpoints": draw(st.none() | st.lists(endpoints(), max_size=3)),
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
    """A whole cluster; most of its namespaces exist."""
    made = {identity(item): item for item in draw(st.lists(objects, max_size=14))}
    for name in NAMESPACES:
        if draw(st.integers(0, 5)):
            item = {"kind": "Namespace", "metadata": _metadata(name)}
            made[identity(item)] = item
    return made


_LABELS = (
    "h1", "h2", "10-244-0-1", "10-244-1-9", "fd00--1", "fd00-0-0-1--0", "web-a", "_tcp", "_udp", "tcp", "_http", "http",
    "_", "__http", "_dns", "_metrics", "nothing", "*",
)  # fmt: skip


@st.composite
def names(draw: st.DrawFn) -> str:
    """A name that somebody may ask for: absolute, in lower case."""
    shape = draw(st.integers(0, 9))
    if shape == 0:
        return draw(
            st.sampled_from(
                ["cluster.local.", "svc.cluster.local.", "pod.cluster.local.", "foo.cluster.local.",
                 "dns-version.cluster.local.", "web.cluster.local.", "example.org."]
            )
        )  # fmt: skip
    if shape == 1:
        return _reverse_name(draw(st.sampled_from([*ADDRESSES, "10.96.0.12", "fd00:96::b", "10.9.9.9"])))
    if shape == 2:
        label = draw(st.sampled_from(["10-244-0-1", "10-244-1-9", "fd00--1", "010-2-3-4", "1-2-3", "10-9-9-9"]))
        extra = draw(st.sampled_from(["", "", "a.", "a.b.", "a.b.c."]))
        return f"{extra}{label}.{draw(st.sampled_from(NAMESPACES))}.pod.cluster.local."
    branch = draw(st.sampled_from(["svc", "svc", "svc", "svc", "pod"])) if shape == 3 else "svc"
    labels = [draw(st.sampled_from((*NAMESPACES[:2], *NAMESPACES, "nowhere"))), branch, "cluster", "local", ""]
    if shape > 3:
        labels.insert(0, draw(st.sampled_from((*SERVICES, *SERVICES, "ghost"))))
    if shape > 5:
        labels.insert(0, draw(st.sampled_from(_LABELS)))
    if shape > 7:
        labels.insert(0, draw(st.sampled_from(_LABELS)))
    if shape > 8 and draw(st.booleans()):
        labels.insert(0, "far")
    return ".".join(labels)


def _reverse_name(address: str) -> str:
    return f"{ipaddress.ip_address(address).reverse_pointer}."
