"""Kubernetes objects, Status and events as JSON values, and selectors over them; knows no sockets and no dnsd."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Labels = dict[str, str] | None

PATHS = {
    "namespaces": ("Namespace", "v1", "/api/v1/namespaces"),
    "services": ("Service", "v1", "/api/v1/services"),
    "endpointslices": ("EndpointSlice", "discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1/endpointslices"),
    "pods": ("Pod", "v1", "/api/v1/pods"),
}
"""Kind, group and version, and where the API server has it, by plural."""

PLURALS = {kind: plural for plural, (kind, _, _) in PATHS.items()}


def namespace(name: str, *, labels: Labels = None) -> Json:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}


def service(
    namespace: str, name: str, *addresses: str, ports: dict[str, int] | None = None, labels: Labels = None
) -> Json:
    """A Service with cluster IPs, or a headless one where there are none. `ports` by name, all TCP."""
    ips = list(addresses) or ["None"]
    listed = [{"name": port, "protocol": "TCP", "port": number} for port, number in (ports or {"http": 80}).items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "labels": labels or {}},
        "spec": {"type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": ips, "ports": listed},
    }


def endpoint_slice(
    namespace: str, name: str, service: str, addresses: list[str], *, ready: bool = True, labels: Labels = None
) -> Json:
    """An EndpointSlice of `service`, with one endpoint an address."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"kubernetes.io/service-name": service, **(labels or {})},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def pod(namespace: str, name: str, address: str, *, phase: str = "Running", labels: Labels = None) -> Json:
    """A Pod with its primary address."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels or {}},
        "status": {"phase": phase, "podIP": address},
    }


def status(code: int, reason: str, message: str, *causes: str) -> Json:
    """A Status, as body of an error or object of an ERROR event."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {"causes": [{"reason": cause} for cause in causes]},
        "code": code,
    }


def gone(message: str = "too old resource version") -> Json:
    """The Status of a resourceVersion or continue token that is no longer known."""
    return status(410, "Expired", message)


# -- selectors


def label_selector(text: str) -> Callable[[Json], bool]:
    """What a label selector picks: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`; commas join."""
    tests = [_label_test(term.strip()) for term in re.split(r",(?![^(]*\))", text) if term.strip()]
    return lambda item: all(test(item["metadata"].get("labels") or {}) for test in tests)


def _label_test(term: str) -> Callable[[Json], bool]:
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", term):
        name, operator, values = found[1], found[2], {value.strip() for value in found[3].split(",")}
        return lambda labels: (labels.get(name) in values) == (operator == "in")
    if found := re.fullmatch(r"([^!=\s]+)\s*(==|=|!=)\s*(\S*)", term):
        name, operator, value = found[1], found[2], found[3]
        return lambda labels: (labels.get(name) == value) != (operator == "!=")
    if term.startswith("!"):
        return lambda labels: term[1:] not in labels
    return lambda labels: term in labels


def field_selector(text: str) -> Callable[[Json], bool]:
    """What a field selector picks: `a.b=c` and `a.b!=c`, joined by commas."""
    tests = [re.fullmatch(r"([^!=]+)(!=|==|=)(.*)", term) for term in text.split(",") if term]

    def matches(item: Json) -> bool:
        for test in tests:
            assert test is not None, text
            value: Any = item
            for part in test[1].split("."):
                value = value.get(part, {}) if isinstance(value, dict) else {}
            if ((value or "") == test[3]) == (test[2] == "!="):
                return False
        return True

    return matches


def event(kind: str, item: Json) -> bytes:
    """One line of a watch, without its line feed."""
    return json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode()
