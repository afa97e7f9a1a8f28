"""Kubernetes objects, reduced to the fields that DNS reads.

Knows the JSON of the API server (core/v1, discovery.k8s.io/v1). Knows nothing of names, records or the network.
Every field may be null or missing, as Go's encoder leaves it: what that means is decided in `index`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
IMPORT_NAME_LABEL = "multicluster.kubernetes.io/service-name"
SOURCE_CLUSTER_LABEL = "multicluster.kubernetes.io/source-cluster"
TRIGGER_TIME_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class Labels(msgspec.Struct, gc=False):
    """The labels that DNS reads: which Service, or which ServiceImport, an EndpointSlice belongs to."""

    service: str = msgspec.field(default="", name=SERVICE_NAME_LABEL)
    imported: str = msgspec.field(default="", name=IMPORT_NAME_LABEL)
    cluster: str = msgspec.field(default="", name=SOURCE_CLUSTER_LABEL)
    """Id of the cluster that an imported slice comes from."""


class Annotations(msgspec.Struct, gc=False):
    """The one annotation that DNS reads: when the change behind an EndpointSlice happened (RFC 3339)."""

    trigger_time: str = msgspec.field(default="", name=TRIGGER_TIME_ANNOTATION)


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """`metadata` of every object."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: Labels | None = None
    annotations: Annotations | None = None


class Namespace(msgspec.Struct, gc=False):
    """A Namespace: DNS reads only that it exists."""

    metadata: Metadata


class ServicePort(msgspec.Struct, gc=False):
    """One entry of `spec.ports` of a Service, or of `ports` of an EndpointSlice."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class ServiceSpec(msgspec.Struct, rename="camel", gc=False):
    """`spec` of a Service. `type` and `protocol` are given by the API server; a manifest may leave them out."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    external_name: str | None = None
    ports: list[ServicePort] | None = None
    publish_not_ready_addresses: bool | None = None


class Ingress(msgspec.Struct, gc=False):
    """One address that a load balancer gave to a Service."""

    ip: str | None = None
    hostname: str | None = None


class LoadBalancer(msgspec.Struct, gc=False):
    """`status.loadBalancer` of a Service."""

    ingress: list[Ingress] | None = None


class ServiceStatus(msgspec.Struct, rename="camel", gc=False):
    """`status` of a Service."""

    load_balancer: LoadBalancer | None = None


class Service(msgspec.Struct, gc=False):
    """A Service (core/v1)."""

    metadata: Metadata
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class ServiceImportSpec(msgspec.Struct, gc=False):
    """`spec` of a ServiceImport."""

    type: str | None = None
    ips: list[str] | None = None
    ports: list[ServicePort] | None = None


class ServiceImport(msgspec.Struct, gc=False):
    """A ServiceImport (multicluster.x-k8s.io/v1alpha1, KEP-1645): a Service of the whole set of clusters."""

    metadata: Metadata
    spec: ServiceImportSpec | None = None


class Conditions(msgspec.Struct, gc=False):
    """Conditions of an endpoint. Only `ready` decides; null or absent means ready (spec.md 3.2)."""

    ready: bool | None = None


class TargetRef(msgspec.Struct, gc=False):
    """What an endpoint stands for: usually a Pod."""

    name: str | None = None


class Endpoint(msgspec.Struct, rename="camel", gc=False):
    """One endpoint of an EndpointSlice."""

    addresses: list[str] | None = None
    conditions: Conditions | None = None
    hostname: str | None = None
    target_ref: TargetRef | None = None
    zone: str | None = None


class EndpointSlice(msgspec.Struct, gc=False):
    """An EndpointSlice (discovery.k8s.io/v1)."""

    metadata: Metadata
    endpoints: list[Endpoint] | None = None
    ports: list[ServicePort] | None = None


class PodStatus(msgspec.Struct, rename="camel", gc=False):
    """`status` of a Pod. Only the primary address is read (spec.md 2.5)."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")


class Pod(msgspec.Struct, gc=False):
    """A Pod (core/v1); needed for `pods verified` only."""

    metadata: Metadata
    status: PodStatus | None = None


Object: TypeAlias = Namespace | Service | ServiceImport | EndpointSlice | Pod
Kind: TypeAlias = type[Namespace] | type[Service] | type[ServiceImport] | type[EndpointSlice] | type[Pod]

KINDS: dict[str, Kind] = {
    "Namespace": Namespace,
    "Service": Service,
    "ServiceImport": ServiceImport,
    "EndpointSlice": EndpointSlice,
    "Pod": Pod,
}
