"""Names of a set of clusters (KEP-1645): ServiceImports and their EndpointSlices, spec.md section 2.9."""

from __future__ import annotations

from pathlib import Path

import dns.rcode
import pytest

from tests.plugins import harness

CLUSTERS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: local, namespace: shop}
spec: {clusterIP: 10.96.0.7, ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: web, namespace: shop}
spec: {type: ClusterSetIP, ips: [10.112.0.1], ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: db, namespace: shop}
spec: {type: Headless, ports: [{name: pg, port: 5432, protocol: TCP}]}
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: portless, namespace: shop}
spec: {type: ClusterSetIP, ips: [10.112.0.2]}
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: waiting, namespace: shop}
spec: {type: ClusterSetIP, ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: db-east
  namespace: shop
  labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: East}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1], hostname: db-0}, {addresses: [10.1.0.2], conditions: {ready: false}}]
ports: [{name: pg, port: 5433, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: db-west
  namespace: shop
  labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: west}
addressType: IPv4
endpoints: [{addresses: [10.2.0.1], hostname: db-0}]
ports: [{name: pg, port: 5433, protocol: TCP}]
"""

COREFILE = """
. {{
    kubernetes cluster.local clusterset.local {{
        manifests {manifest}
        multicluster clusterset.local
    }}
}}
"""

Z = "clusterset.local."


@pytest.mark.parametrize(
    ("name", "type_", "rcode", "data"),
    [
        (f"web.shop.svc.{Z}", "A", "NOERROR", ["10.112.0.1"]),
        (f"_http._tcp.web.shop.svc.{Z}", "SRV", "NOERROR", [f"0 100 80 web.shop.svc.{Z}"]),
        (f"db.shop.svc.{Z}", "A", "NOERROR", ["10.1.0.1", "10.2.0.1"]),
        (f"db-0.east.db.shop.svc.{Z}", "A", "NOERROR", ["10.1.0.1"]),
        (f"db-0.WEST.db.shop.svc.{Z}", "A", "NOERROR", ["10.2.0.1"]),
        (f"db-0.north.db.shop.svc.{Z}", "A", "NXDOMAIN", []),
        (f"east.db.shop.svc.{Z}", "A", "NOERROR", []),
        (f"db-0.db.shop.svc.{Z}", "A", "NXDOMAIN", []),
        (
            f"_pg._tcp.db.shop.svc.{Z}",
            "SRV",
            "NOERROR",
            [f"0 50 5433 db-0.east.db.shop.svc.{Z}", f"0 50 5433 db-0.west.db.shop.svc.{Z}"],
        ),
        (f"portless.shop.svc.{Z}", "A", "NXDOMAIN", []),
        (f"waiting.shop.svc.{Z}", "A", "NOERROR", []),
        (f"local.shop.svc.{Z}", "A", "NXDOMAIN", []),
        ("local.shop.svc.cluster.local.", "A", "NOERROR", ["10.96.0.7"]),
        ("web.shop.svc.cluster.local.", "A", "NXDOMAIN", []),
        ("db-0.east.db.shop.svc.cluster.local.", "A", "NXDOMAIN", []),
    ],
)
def test_imported_names(tmp_path: Path, name: str, type_: str, rcode: str, data: list[str]) -> None:
    manifest = tmp_path / "clusters.yaml"
    manifest.write_text(CLUSTERS)
    reply = harness.answer(COREFILE.format(manifest=manifest), name, type_)
    assert reply is not None
    assert dns.rcode.to_text(reply.rcode()) == rcode
    assert sorted(row[3] for row in harness.records(reply.answer)) == data
