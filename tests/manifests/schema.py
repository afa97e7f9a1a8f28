"""What the API server takes: by the models of the `kubernetes` package, and by those here for the operator's kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes.client
import msgspec

from tests.manifests.kustomize import Object

QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|Ki|Mi|Gi)?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9]|-(?!-)){0,13}[a-z0-9]")
"""IANA_SVC_NAME: 15 characters at most."""


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A field that is not named here is an error."""


class NamespaceSelector(Strict):
    match_names: list[str]


class Selector(Strict):
    match_labels: dict[str, str]


class ScrapeEndpoint(Strict):
    port: str
    interval: str


class ServiceMonitorSpec(Strict):
    selector: Selector
    endpoints: list[ScrapeEndpoint]
    namespace_selector: NamespaceSelector | None = None
    job_label: str | None = None


class PodMonitorSpec(Strict):
    selector: Selector
    pod_metrics_endpoints: list[ScrapeEndpoint]
    namespace_selector: NamespaceSelector | None = None
    job_label: str | None = None


class Rule(Strict, rename=None):
    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    for_: str | None = msgspec.field(default=None, name="for")


class RuleGroup(Strict):
    name: str
    rules: list[Rule]


class PrometheusRuleSpec(Strict):
    groups: list[RuleGroup]


OPERATOR_SPECS: dict[str, type[Strict]] = {
    "ServiceMonitor": ServiceMonitorSpec,
    "PodMonitor": PodMonitorSpec,
    "PrometheusRule": PrometheusRuleSpec,
}


def problems(item: Object) -> list[str]:
    """What the API server would refuse or silently drop; empty for an object that it takes as it is."""
    group, _, version = item["apiVersion"].rpartition("/")
    kind = item["kind"]
    if group == "monitoring.coreos.com":
        found = _operator_problems(item)
    else:
        found = _model_problems(getattr(kubernetes.client, version.capitalize() + kind), item)
    return found + list(_format_problems(item, ""))


def _operator_problems(item: Object) -> list[str]:
    try:
        msgspec.convert(item["spec"], OPERATOR_SPECS[item["kind"]])
    except msgspec.ValidationError as error:
        return [str(error)]
    metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": item["metadata"]}
    return _model_problems(kubernetes.client.V1ConfigMap, metadata)


def _model_problems(model: Any, item: Object) -> list[str]:
    try:
        parsed = model.model_validate(item)
    except ValueError as error:
        return [str(error)]
    # The models take the snake_case names of their own attributes too, which the API server does not.
    write: Any = kubernetes.client.ApiClient().sanitize_for_serialization
    written = write(parsed)
    return [] if written == item else [f"{written} is not {item}"]


def _format_problems(value: Any, path: str) -> Iterator[str]:
    """Text whose format the models leave open."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _format_problems(item, f"{path}[{place}]")
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        here = f"{path}.{key}"
        if key in {"requests", "limits"}:
            yield from (f"{here}: {text}" for text in item.values() if not QUANTITY.fullmatch(text))
        elif key in {"labels", "matchLabels"} and ".rules" not in path:
            yield from (f"{here}: {text}" for text in item.values() if not LABEL_VALUE.fullmatch(text))
        elif key == "metadata" and "name" in item and not DNS_NAME.fullmatch(item["name"]):
            yield f"{here}: {item['name']}"
        elif key == "ports":
            yield from (f"{here}: {p['name']}" for p in item if "name" in p and not PORT_NAME.fullmatch(p["name"]))
        yield from _format_problems(item, here)
