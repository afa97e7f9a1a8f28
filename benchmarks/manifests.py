"""A cluster as Kubernetes objects, with the fields that a real API server adds and that DNS must skip over.

Knows the JSON of core/v1 and discovery.k8s.io/v1. Must not know names, records or servers.
"""

from __future__ import annotations

import ipaddress
import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from benchmarks.cluster import Cluster, Port, Service, endpoint_label, node_of

Object: TypeAlias = dict[str, Any]

_CREATED = "2026-03-14T09:26:53Z"
_UIDS = uuid.UUID("0c3f8b52-7a41-4f0e-9d8e-5f4a3b2c1d00").int


def write(cluster: Cluster, path: Path) -> None:
    """One `kind: List` with every Namespace, Service and EndpointSlice, as `kubectl get -o json` has it but compact."""
    document = {
        "apiVersion": "v1",
        "kind": "List",
        "items": list(objects(cluster)),
        "metadata": {"resourceVersion": ""},
    }
    path.write_bytes(msgspec.json.encode(document))


def objects(cluster: Cluster) -> Iterator[Object]:
    """The cluster's objects; each refers only to objects before it."""
    versions = itertools.count(1)
    for name in cluster.namespaces:
        yield namespace(name, next(versions))
    for service in cluster.services:
        yield service_object(service, next(versions))
        yield endpoint_slice(service, next(versions))


def namespace(name: str, version: int) -> Object:
    """A Namespace."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": _metadata(name, version, labels={"kubernetes.io/metadata.name": name}),
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def service_object(service: Service, version: int) -> Object:
    """A Service; `version` becomes its resourceVersion."""
    address = service.address or "None"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(
            service.name,
            version,
            namespace=service.namespace,
            labels=_labels(service),
            annotations={
                "meta.helm.sh/release-name": service.name,
                "meta.helm.sh/release-namespace": service.namespace,
            },
        ),
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [_service_port(port) for port in service.ports],
            "selector": {"app.kubernetes.io/name": service.name},
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(service: Service, version: int) -> Object:
    """The one EndpointSlice of a Service; `version` becomes its resourceVersion."""
    labels = _labels(service) | {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": service.name,
    }
    if service.headless:
        labels["service.kubernetes.io/headless"] = ""
    metadata = _metadata(
        f"{service.name}-x7k2p",
        version,
        namespace=service.namespace,
        labels=labels,
        annotations={"endpoints.kubernetes.io/last-change-trigger-time": _CREATED},
    )
    metadata["generateName"] = f"{service.name}-"
    metadata["generation"] = 3
    metadata["ownerReferences"] = [
        {
            "apiVersion": "v1",
            "blockOwnerDeletion": True,
            "controller": True,
            "kind": "Service",
            "name": service.name,
            "uid": _uid(version - 1),
        }
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [_endpoint(service, address) for address in service.endpoints],
        "ports": [{"name": port.name, "port": port.target, "protocol": "TCP"} for port in service.ports],
    }


def _metadata(name: str, version: int, *, labels: Object, **others: Any) -> Object:
    return {
        "name": name,
        "labels": labels,
        "creationTimestamp": _CREATED,
        "resourceVersion": str(version),
        "uid": _uid(version),
        **others,
    }


def _labels(service: Service) -> Object:
    return {
        "app.kubernetes.io/instance": service.namespace,
        "app.kubernetes.io/managed-by": "Helm",
        "app.kubernetes.io/name": service.name,
        "helm.sh/chart": f"{service.name}-1.4.2",
    }


def _service_port(port: Port) -> Object:
    return {"name": port.name, "port": port.number, "protocol": "TCP", "targetPort": port.target}


def _endpoint(service: Service, address: str) -> Object:
    node = node_of(address)
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": node,
        "targetRef": {
            "kind": "Pod",
            "name": f"{service.name}-6c5d7f9b4-{endpoint_label(address)[-5:]}",
            "namespace": service.namespace,
            "uid": _uid(int(ipaddress.IPv4Address(address))),
        },
        "zone": f"zone-{'abc'[int(node[-1]) % 3]}",
    }


def _uid(number: int) -> str:
    return str(uuid.UUID(int=_UIDS + number))
