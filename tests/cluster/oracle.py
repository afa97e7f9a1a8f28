"""A second reading of spec.md section 2: slow, obvious, straight from Kubernetes objects as JSON values.

Shares no code with dnsd. What it leaves out has tables of its own: name servers of the zone, zonal names, fallthrough.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.cluster.worlds import Json, World

Record: TypeAlias = tuple[str, int, str, str]
"""Owner name, TTL, type, rdata."""

ZONE = "cluster.local."


@dataclass(frozen=True)
class Options:
    """Options of the `kubernetes` stanza."""

    pods: str = "disabled"
    ttl: int = 5
    endpoint_pod_names: bool = False
    ignore_empty_service: bool = False
    noendpoints: bool = False
    namespaces: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Expected:
    """What the reply must say. `SOA` in the authority section exactly where there is no answer."""

    rcode: str
    answer: frozenset[Record] = frozenset()
    additional: frozenset[Record] = frozenset()


NXDOMAIN = Expected("NXDOMAIN")
NODATA = Expected("NOERROR")


@dataclass(frozen=True)
class Address:
    """One address of a name, with the port number and the target name that its SRV record has."""

    ip: str
    port: int
    target: str


class Oracle:
    """What each name of a cluster must be answered with."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options

    def ask(self, name: str, type_: str) -> Expected:
        """The answer to a question; `name` absolute and in lower case."""
        if name.endswith(("in-addr.arpa.", "ip6.arpa.")):
            return self._reverse(name, type_)
        if name == ZONE:
            return NODATA
        if type_ == "SOA":
            return NODATA  # 2.4: of whatever name
        left = name.removesuffix("." + ZONE).split(".")
        if left == ["dns-version"]:
            text = frozenset({(name, 28800, "TXT", '"1.1.0"')})
            return Expected("NOERROR", text) if type_ == "TXT" else NODATA
        if left[-1] == "svc":
            return self._service(name, left[:-1], type_)
        if left[-1] == "pod":
            return self._pod(name, left[:-1], type_)
        return NXDOMAIN

    # -- what there is

    def exposed(self, namespace: str) -> bool:
        listed = self.options.namespaces
        return (not listed or namespace in listed) and ("Namespace", "", namespace) in self.world

    def slices(self, namespace: str, service: str) -> Iterator[Json]:
        for (kind, where, _), item in self.world.items():
            if kind == "EndpointSlice" and where == namespace and self.owner(item) == service:
                yield item

    @staticmethod
    def owner(slice_: Json) -> str:
        owner: str = (slice_["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
        return owner

    @staticmethod
    def ready(endpoint: Json) -> bool:
        return (endpoint.get("conditions") or {}).get("ready") is not False

    def ready_endpoints(self, namespace: str, service: str) -> list[tuple[Json, Json, str]]:
        """(slice, endpoint, address) of each ready address."""
        if self.options.noendpoints:
            return []
        return [
            (slice_, endpoint, ip)
            for slice_ in self.slices(namespace, service)
            for endpoint in slice_.get("endpoints") or []
            if self.ready(endpoint)
            for ip in endpoint["addresses"]
        ]

    def label(self, endpoint: Json, ip: str) -> str:
        """The name of an endpoint under its Service (2.5)."""
        if endpoint.get("hostname"):
            return str(endpoint["hostname"])
        pod = (endpoint.get("targetRef") or {}).get("name", "")
        if self.options.endpoint_pod_names and 1 <= len(pod) <= 63:
            return str(pod)
        dashed = ip.replace(".", "-").replace(":", "-")
        return dashed + "0" if dashed.endswith("-") else dashed

    @staticmethod
    def ports(listed: list[Json] | None) -> list[tuple[str, str, int]]:
        """(name, protocol, number); one that has nothing where there are none (rule 5e)."""
        if not listed:
            return [("", "", -1)]
        return [(p.get("name", "").lower(), p.get("protocol", "").lower(), p.get("port", -1)) for p in listed]

    # -- services

    def _service(self, name: str, left: list[str], type_: str) -> Expected:
        if not left:
            return NODATA
        namespace = left[-1]
        if not self.exposed(namespace):
            return NXDOMAIN
        if len(left) == 1:
            return NXDOMAIN if type_ == "TXT" and not self._populated(namespace) else NODATA
        item = self.world.get(("Service", namespace, left[-2]))
        if item is None:
            return NXDOMAIN
        spec, extra = item["spec"], left[:-2]
        headless = self._ips(spec)[:1] == ["None"]
        external = spec.get("type") == "ExternalName"
        ready = self.ready_endpoints(namespace, left[-2])
        if self.options.ignore_empty_service and not headless and not external and not ready:
            return NXDOMAIN
        if external:
            return self._external(name, spec.get("externalName", ""), extra, type_)
        own = f"{left[-2]}.{namespace}.svc.{ZONE}"
        if len(extra) > 2:
            return NXDOMAIN
        if len(extra) == 1 or headless:
            return self._from_endpoints(name, own, extra, type_, item)
        found = [
            Address(ip, number, own)
            for port, protocol, number in self.ports(spec.get("ports"))
            if self._wanted(extra, port, protocol, number)
            for ip in self._ips(spec)
            if ip
        ]
        if not any(self._wanted(extra, *port) for port in self.ports(spec.get("ports"))):
            return NXDOMAIN
        return self._records(name, found, type_)

    @staticmethod
    def _ips(spec: Json) -> list[str]:
        return list(spec.get("clusterIPs") or [spec.get("clusterIP", "")])

    def _from_endpoints(self, name: str, own: str, extra: list[str], type_: str, item: Json) -> Expected:
        namespace, service = item["metadata"]["namespace"], item["metadata"]["name"]
        found = [
            Address(ip, number, f"{self.label(endpoint, ip)}.{own}")
            for slice_, endpoint, ip in self.ready_endpoints(namespace, service)
            if len(extra) != 1 or self.label(endpoint, ip) == extra[0]
            for port, protocol, number in self.ports(slice_.get("ports"))
            if len(extra) != 2 or self._wanted(extra, port, protocol, number)
        ]
        if found:
            return self._records(name, found, type_)
        if len(extra) == 1 and self._above_ports(extra[0], item):
            return NODATA
        return NXDOMAIN

    def _above_ports(self, label: str, item: Json) -> bool:
        """Whether names `_port._label` exist: then the label is an empty non-terminal (RFC 8020)."""
        spec, meta = item["spec"], item["metadata"]
        if self._ips(spec)[:1] == ["None"]:
            lists = [slice_.get("ports") for slice_, _, _ in self.ready_endpoints(meta["namespace"], meta["name"])]
        else:
            lists = [spec.get("ports")]
        return any(
            port and protocol == label.removeprefix("_") for listed in lists for port, protocol, _ in self.ports(listed)
        )

    @staticmethod
    def _wanted(extra: list[str], port: str, protocol: str, number: int) -> bool:
        """Whether `_port._protocol` before the service picks this port (2.2, 2.3 rule 5e)."""
        if len(extra) != 2:
            return True
        asked_port, asked_protocol = (label.removeprefix("_") for label in extra)
        if number == -1 and not port:
            return not asked_port and not asked_protocol
        return asked_port in ("", port) and asked_protocol in ("", protocol)

    def _populated(self, namespace: str) -> bool:
        """Whether any Service of the namespace has records (2.4, TXT)."""
        for (kind, where, name), item in self.world.items():
            if kind != "Service" or where != namespace:
                continue
            if item["spec"].get("type") == "ExternalName" or self.ready_endpoints(namespace, name):
                return True
            if self._ips(item["spec"])[:1] != ["None"] and not self.options.ignore_empty_service:
                return True
        return False

    def _external(self, name: str, target: str, extra: list[str], type_: str) -> Expected:
        if extra or not target or _is_ip(target):
            return NXDOMAIN
        if type_ not in ("A", "AAAA", "CNAME"):
            return NODATA
        chain: set[Record] = set()
        seen = {name}
        while True:
            target = target if target.endswith(".") else target + "."
            chain.add((name, self.options.ttl, "CNAME", target))
            if type_ == "CNAME":
                return Expected("NOERROR", frozenset(chain))
            name = target.lower()
            if not name.endswith("." + ZONE):
                return Expected("NOERROR", frozenset(chain))  # nobody answers for other names here
            if name in seen:
                return NODATA
            seen.add(name)
            labels = name.removesuffix("." + ZONE).split(".")
            item = self.world.get(("Service", labels[1], labels[0])) if len(labels) == 3 else None
            inner = self._target(labels, item)
            if inner is None:
                break
            target = inner
        inside = self.ask(name, type_)
        if not inside.answer:
            return NODATA
        return Expected("NOERROR", frozenset(chain) | inside.answer)

    def _target(self, labels: list[str], item: Json | None) -> str | None:
        """The externalName of a Service that goes on leading elsewhere."""
        if item is None or item["spec"].get("type") != "ExternalName" or not self.exposed(labels[1]):
            return None
        target: str = item["spec"].get("externalName", "")
        return None if not target or _is_ip(target) else target

    # -- pods and reverse names

    def _pod(self, name: str, left: list[str], type_: str) -> Expected:
        if not left:
            return NXDOMAIN if type_ == "TXT" and self.options.pods == "disabled" else NODATA
        if self.options.pods == "disabled" or not self.exposed(left[-1]) or len(left) > 4:
            return NXDOMAIN
        if len(left) == 1:
            return NODATA
        label = left[-2]
        ip = label.replace("-", "." if label.count("-") == 3 and "--" not in label else ":")
        if not _is_ip(ip):
            return NXDOMAIN
        if self.options.pods == "verified" and not self._has_pod(left[-1], ip):
            return NXDOMAIN
        return self._records(name, [Address(ip, 0, name)], type_)

    def _has_pod(self, namespace: str, ip: str) -> bool:
        return any(
            kind == "Pod"
            and where == namespace
            and item["status"].get("podIP") == ip
            and item["status"]["phase"] not in ("Succeeded", "Failed", "Unknown")
            for (kind, where, _), item in self.world.items()
        )

    def _reverse(self, name: str, type_: str) -> Expected:
        targets = self._pointers(name)
        if type_ == "SOA":
            return NODATA
        if not targets:
            return NXDOMAIN
        if type_ != "PTR":
            return NODATA
        return Expected("NOERROR", frozenset((name, self.options.ttl, "PTR", target) for target in targets))

    def _pointers(self, name: str) -> set[str]:
        for (kind, namespace, service), item in self.world.items():
            if kind == "Service" and item["spec"].get("type") != "ExternalName" and self.exposed(namespace):
                ips = self._ips(item["spec"])
                if any(_is_ip(ip) and _reverse_name(ip) == name for ip in ips):
                    return {f"{service}.{namespace}.svc.{ZONE}"}
        found = set()
        for (kind, namespace, _), item in self.world.items():
            if kind != "EndpointSlice" or not self.owner(item) or not self.exposed(namespace):
                continue
            for _, endpoint, ip in self.ready_endpoints(namespace, self.owner(item)):
                if _reverse_name(ip) == name:
                    found.add(f"{self.label(endpoint, ip)}.{self.owner(item)}.{namespace}.svc.{ZONE}")
        return found

    # -- records

    def _records(self, name: str, found: list[Address], type_: str) -> Expected:
        ttl = self.options.ttl
        if type_ in ("A", "AAAA"):
            same = {address.ip for address in found if (":" in address.ip) == (type_ == "AAAA")}
            return Expected("NOERROR", frozenset((name, ttl, type_, _canonical(ip)) for ip in same))
        if type_ != "SRV":
            return NODATA
        visible = [address for address in found if address.port >= 0]
        weight = max(1, 100 // len(found)) if found else 1
        return Expected(
            "NOERROR",
            frozenset((name, ttl, "SRV", f"0 {weight} {a.port} {a.target}") for a in visible),
            frozenset((a.target, ttl, "AAAA" if ":" in a.ip else "A", _canonical(a.ip)) for a in visible),
        )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _canonical(ip: str) -> str:
    return str(ipaddress.ip_address(ip))


def _reverse_name(ip: str) -> str:
    pointer: Any = ipaddress.ip_address(ip).reverse_pointer
    return f"{pointer}."
