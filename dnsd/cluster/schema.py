"""Kubernetes' DNS schema: which records a name in a cluster zone has. Pure: an index in, findings out.

Existence belongs to the name and not to the type asked for (RFC 8020). Where a rule has a number, it is of spec.md;
the Kubernetes DNS specification 1.1.0 is where most of them come from. What an ExternalName points to is only named
here: following it is the plugin's.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import dnslib
import msgspec
from dnslib import RR, DNSLabel

from dnsd.cluster.index import Endpoint, Pod, Port, Reader, Service, ServiceType, Slice, address_text, pack_address
from dnsd.wire import name as names
from dnsd.wire import records
from dnsd.wire.codes import Type
from dnsd.wire.name import Name
from dnsd.wire.query import Question

SCHEMA_VERSION = b"1.1.0"
"""Of the Kubernetes DNS specification, told at dns-version.Z."""
VERSION_TTL = 28_800
"""Seconds; as the reference has it (2.6)."""
MAX_SOA_TTL = 300
"""Seconds (2.7)."""
MAX_POD_EXTRA_LABELS = 2
"""Labels before a pod's address that are passed over, as the reference does (2.2)."""
REVERSE_V4: Name = (b"in-addr", b"arpa")
REVERSE_V6: Name = (b"ip6", b"arpa")


class Pods(enum.Enum):
    """The `pods` option."""

    DISABLED = "disabled"
    INSECURE = "insecure"
    VERIFIED = "verified"


class Settings(msgspec.Struct, frozen=True):
    """The options of a `kubernetes` stanza that decide what a name has."""

    zones: tuple[Name, ...]
    """In lower case, in the order given; the first that is no reverse zone is the primary one."""
    ttl: int = 5
    """Seconds."""
    pods: Pods = Pods.DISABLED
    namespaces: frozenset[str] = frozenset()
    """The only namespaces to expose; all where empty."""
    endpoint_pod_names: bool = False
    endpoints: bool = True
    ignore_empty_service: bool = False
    zonal: bool = False
    imports: bool = False
    """Whether the zone is that of a set of clusters: an endpoint's name is `endpoint.cluster` before its service."""
    local_addresses: tuple[bytes, ...] = ()
    """Packed addresses of this server, not loopback: the Service that selects them is the zone's name server."""

    @property
    def primary(self) -> Name:
        """The zone that PTR records point into."""
        return next(zone for zone in self.zones if not is_reverse(zone))


class Outcome(enum.Enum):
    """What became of a name."""

    DATA = "data"
    NODATA = "nodata"
    NAME_ERROR = "name error"


@dataclass(slots=True)
class Finding:
    """What a name has of the type asked for."""

    outcome: Outcome
    reason: str
    answer: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    target: Name | None = None
    """Where an ExternalName Service points, for whoever asked for addresses; `answer` has its CNAME."""
    fall_through: bool = False
    """The name exists, but the reference passes this type on where `fallthrough` says so (2.5, PTR)."""


class NotFound(Exception):
    """A name error: the name does not exist. The text says why."""


class NoRecords(Exception):
    """NODATA whatever the type. The text says why."""


@dataclass(frozen=True, slots=True)
class Item:
    """One address of a name, with the port and target that a SRV record would have."""

    address: bytes
    port: int
    target: Name


def is_reverse(zone: Name) -> bool:
    """Whether a zone holds reverse names."""
    return zone[-2:] in (REVERSE_V4, REVERSE_V6)


def zone_of(name: Name, zones: Iterable[Name]) -> Name | None:
    """The longest of `zones` that `name` is under."""
    return max((zone for zone in zones if names.is_under(name, zone)), key=len, default=None)


def reverse_address(name: Name) -> bytes | None:
    """The packed address that a complete reverse name stands for, or None (RFC 1035, 3.5; RFC 3596, 2.5)."""
    digits = name[:-2][::-1]
    if name[-2:] == REVERSE_V4 and len(digits) == 4:
        return pack_address(b".".join(digits).decode("ascii", "replace"))
    if name[-2:] == REVERSE_V6 and len(digits) == 32 and all(len(digit) == 1 for digit in digits):
        try:
            return bytes.fromhex(b"".join(digits).decode("ascii"))
        except ValueError:
            return None
    return None


def soa(settings: Settings, zone: Name, serial: int) -> RR:
    """The SOA record of a zone (2.6, 2.7)."""
    times = (serial & 0xFFFFFFFF, 7200, 1800, 86400, settings.ttl)
    return records.soa(zone, min(settings.ttl, MAX_SOA_TTL), (b"ns", b"dns", *zone), (b"hostmaster", *zone), times)


def lookup(reader: Reader, settings: Settings, zone: Name, question: Question) -> Finding:
    """What `question` finds in `zone`, which its name is under."""
    return _Lookup(reader, settings, zone, question).run()


def exposed(reader: Reader, settings: Settings, namespace: str) -> bool:
    """Whether a namespace exists and is one of those to be served (2.3)."""
    return (not settings.namespaces or namespace in settings.namespaces) and reader.namespace(namespace)


def endpoint_name(endpoint: Endpoint, *, pod_names: bool) -> str:
    """The label of an endpoint: hostname, pod name where wanted, or the dashed address (2.5)."""
    if endpoint.hostname:
        return endpoint.hostname
    if pod_names and endpoint.pod:
        return endpoint.pod.lower()
    text = endpoint.text or address_text(endpoint.address)
    dashed = text.lower().replace(".", "-").replace(":", "-")
    return dashed + "0" if dashed.endswith("-") else dashed


def _text(label: bytes) -> str:
    return label.decode("ascii", "replace")


class _Lookup:
    """One question on its way through the rules."""

    def __init__(self, reader: Reader, settings: Settings, zone: Name, question: Question) -> None:
        self.reader = reader
        self.settings = settings
        self.zone = zone
        self.question = question
        self.type = question.type

    def run(self) -> Finding:
        try:
            return self._dispatch(names.relative(self.question.name, self.zone))
        except NotFound as why:
            return Finding(Outcome.NAME_ERROR, str(why))
        except NoRecords as why:
            return Finding(Outcome.NODATA, str(why))

    def _dispatch(self, labels: Name) -> Finding:
        """The shapes of names, by their last labels (2.2)."""
        if not labels:
            return self._apex()
        if self.type == Type.SOA:
            raise NoRecords("only the zone's apex has a SOA record")  # of whatever name, as the reference has it (2.4)
        if is_reverse(self.zone):
            return self._reverse()
        match labels:
            case (b"dns-version",):
                return self._version()
            case (b"ns", b"dns"):
                return self._name_server()
            case (b"dns",) if self._name_servers():
                raise NoRecords("dns has names below it")
            case (*rest, b"svc"):
                return self._service(tuple(rest))
            case (*rest, b"pod"):
                return self._pod(tuple(rest))
        raise NotFound(f"names in {names.to_text(self.zone)} end in svc or pod")

    # -- services

    def _service(self, labels: Name) -> Finding:
        if not labels:
            raise NoRecords("svc has names below it")
        namespace = _text(labels[-1])
        if not exposed(self.reader, self.settings, namespace):
            raise NotFound(f"namespace {namespace} does not exist or is not served")
        if len(labels) == 1:
            if self.type == Type.TXT and not self._has_names(namespace):
                raise NotFound(f"namespace {namespace} is empty")  # other types NODATA, as the reference has it (2.4)
            raise NoRecords(f"namespace {namespace} exists")
        name = _text(labels[-2])
        rest = labels[:-2]
        service = self.reader.service(namespace, name)
        if service is None:
            raise NotFound(f"service {namespace}/{name} does not exist")
        if self.settings.ignore_empty_service and service.type is ServiceType.CLUSTER and not self._has_ready(service):
            raise NotFound(f"service {namespace}/{name} has no ready endpoints, and empty services are ignored")
        if service.type is ServiceType.EXTERNAL:
            return self._external(service, rest)
        if self.settings.zonal and b"_zone" in rest:
            return self._zonal(service, rest)
        if len(rest) > 2:
            raise NotFound("too many labels before the service")
        return self._items(self._service_items(service, rest), f"service {namespace}/{name}")

    def _service_items(self, service: Service, rest: Name) -> list[Item]:
        """The items of a Service's name, or of an endpoint's or a port's below it (2.3 rule 5)."""
        own = (service.name.encode(), service.namespace.encode(), b"svc", *self.zone)
        endpoint, cluster, rest = self._endpoint(rest)
        wanted = PortFilter(rest)
        if service.type is ServiceType.HEADLESS or endpoint:
            items = [
                Item(found.address, port.number, self._target(slice_, found, own))
                for slice_, found in self._endpoints(service)
                if not endpoint or (self._label(found) == endpoint and slice_.cluster == cluster)
                for port in slice_.ports
                if wanted.matches(port)
            ]
            if items:
                return items
            if endpoint and not cluster and self._has_names_below(service, endpoint):
                raise NoRecords(f"service {service.namespace}/{service.name} has names below {_text(endpoint)}")
            raise NotFound(self._why_no_endpoints(service, _text(endpoint), wanted))
        ports = [port for port in service.ports if wanted.matches(port)]
        if not ports:
            raise NotFound(f"service {service.namespace}/{service.name} has no such port")
        return [Item(address, port.number, own) for port in ports for address in service.addresses]

    def _endpoint(self, rest: Name) -> tuple[bytes, str, Name]:
        """The endpoint's and the cluster's label in what stands before a service, and what of it is for ports."""
        if len(rest) == 1:
            return rest[0], "", ()
        if self.settings.imports and len(rest) == 2 and not any(label.startswith(b"_") for label in rest):
            return rest[0], _text(rest[1]), ()
        return b"", "", rest

    def _target(self, slice_: Slice, endpoint: Endpoint, own: Name) -> Name:
        """The name of an endpoint."""
        cluster = (slice_.cluster.encode(),) if slice_.cluster else ()
        return (self._label(endpoint), *cluster, *own)

    def _why_no_endpoints(self, service: Service, endpoint: str, wanted: PortFilter) -> str:
        which = f"service {service.namespace}/{service.name}"
        if not self.settings.endpoints:
            return f"{which} is answered from endpoints, which the option noendpoints leaves out"
        slices = self.reader.slices(service.namespace, service.name)
        ready = sum(len(slice_.endpoints) for slice_ in slices)
        if not ready:
            not_ready = sum(slice_.not_ready for slice_ in slices)
            return f"{which} exists and has no ready endpoints ({not_ready} not ready)"
        if endpoint:
            return f"{which} has no ready endpoint {endpoint}"
        return f"{which} has no such port" if wanted else f"{which} has no endpoints"

    def _endpoints(self, service: Service) -> Iterator[tuple[Slice, Endpoint]]:
        if not self.settings.endpoints:
            return
        for slice_ in self.reader.slices(service.namespace, service.name):
            for endpoint in slice_.endpoints:
                yield slice_, endpoint

    def _has_names(self, namespace: str) -> bool:
        """Whether any Service of the namespace has records."""
        return any(
            service.type is ServiceType.EXTERNAL
            or (service.type is ServiceType.CLUSTER and not self.settings.ignore_empty_service)
            or self._has_ready(service)
            for service in self.reader.services_in(namespace)
        )

    def _has_ready(self, service: Service) -> bool:
        return any(True for _ in self._endpoints(service))

    def _label(self, endpoint: Endpoint) -> bytes:
        return endpoint_name(endpoint, pod_names=self.settings.endpoint_pod_names).encode()

    def _has_names_below(self, service: Service, label: bytes) -> bool:
        """Whether `label` is an empty non-terminal above `_port._protocol` or `endpoint.cluster` (RFC 8020)."""
        if self.settings.imports and any(slice_.cluster == _text(label) for slice_, _ in self._endpoints(service)):
            return True
        protocol = _text(label.removeprefix(b"_"))
        if service.type is ServiceType.HEADLESS:
            ports: Iterable[Port] = (port for slice_, _ in self._endpoints(service) for port in slice_.ports)
        else:
            ports = service.ports
        return any(port.protocol == protocol and port.name for port in ports)

    def _zonal(self, service: Service, rest: Name) -> Finding:
        """`<zone>.pin._zone` and `<zone>.prefer._zone` (2.9)."""
        if len(rest) < 3 or rest[-1] != b"_zone" or rest[-2] not in (b"pin", b"prefer"):
            raise NotFound("a zonal name is <zone>.pin._zone or <zone>.prefer._zone before the service")
        if service.type is not ServiceType.HEADLESS:
            raise NotFound("zonal names are for headless services only")
        zone = _text(b".".join(rest[:-2]))
        endpoints = list(self._endpoints(service))
        if not endpoints:
            raise NotFound(self._why_no_endpoints(service, "", PortFilter(())))
        near = [(slice_, endpoint) for slice_, endpoint in endpoints if endpoint.zone == zone]
        if not near and rest[-2] == b"pin":
            raise NoRecords(f"service {service.namespace}/{service.name} has no ready endpoint in zone {zone}")
        own = (service.name.encode(), service.namespace.encode(), b"svc", *self.zone)
        items = [
            Item(endpoint.address, port.number, self._target(slice_, endpoint, own))
            for slice_, endpoint in near or endpoints
            for port in slice_.ports
        ]
        return self._items(items, f"service {service.namespace}/{service.name} in zone {zone}")

    def _external(self, service: Service, rest: Name) -> Finding:
        which = f"service {service.namespace}/{service.name}"
        if rest:
            raise NotFound(f"{which} is an ExternalName: no name below it exists")
        if pack_address(service.external_name) is not None:
            raise NotFound(f"externalName of {which} is an IP address, not a name")
        try:
            target = names.from_text(service.external_name)
        except names.BadName as error:
            raise NotFound(f"externalName of {which} is no name: {error}") from error
        if not target:
            raise NotFound(f"{which} has no externalName")
        if self.type not in (Type.A, Type.AAAA, Type.CNAME):
            raise NoRecords(f"{which} is an ExternalName and has a CNAME only")
        alias = records.cname(self.question.asked, self.settings.ttl, target)
        follow = None if self.type == Type.CNAME else target
        return Finding(Outcome.DATA, f"{which} is an ExternalName", [alias], target=follow)

    # -- items into records

    def _items(self, items: list[Item], what: str) -> Finding:
        if self.type in (Type.A, Type.AAAA):
            length = 4 if self.type == Type.A else 16
            addresses = dict.fromkeys(item.address for item in items if len(item.address) == length)
            found = [records.address(self.question.asked, self.settings.ttl, address) for address in addresses]
            return self._found(found, [], what)
        if self.type == Type.SRV:
            return self._found(*self._srv(items), what)
        raise NoRecords(f"{what} has no records of this type")

    def _found(self, answer: list[RR], additional: list[RR], what: str) -> Finding:
        if not answer:
            raise NoRecords(f"{what} has no records of this type")
        return Finding(Outcome.DATA, what, answer, additional)

    def _srv(self, items: list[Item]) -> tuple[list[RR], list[RR]]:
        """SRV records, and the addresses of their targets; the weight counts all items, distinct or not (2.5)."""
        ttl = self.settings.ttl
        weight = max(1, 100 // len(items)) if items else 1
        visible = [item for item in items if item.port >= 0]
        answer = [
            records.record(self.question.asked, Type.SRV, ttl, dnslib.SRV(0, weight, port, DNSLabel(target)))
            for target, port in dict.fromkeys((item.target, item.port) for item in visible)
        ]
        glue = dict.fromkeys((item.target, item.address) for item in visible)
        return answer, [records.address(target, ttl, address) for target, address in glue]

    # -- pods

    def _pod(self, labels: Name) -> Finding:
        if not labels and (self.settings.pods is not Pods.DISABLED or self.type != Type.TXT):
            raise NoRecords("pod has names below it")
        if self.settings.pods is Pods.DISABLED:
            raise NotFound("pod names are disabled (option pods)")
        namespace = _text(labels[-1])
        if not exposed(self.reader, self.settings, namespace):
            raise NotFound(f"namespace {namespace} does not exist or is not served")
        if len(labels) == 1:
            raise NoRecords(f"namespace {namespace} has names below it")
        if len(labels) > 2 + MAX_POD_EXTRA_LABELS:
            raise NotFound("too many labels before the pod's address")
        label = _text(labels[-2])
        four = label.count("-") == 3 and "--" not in label
        address = pack_address(label.replace("-", "." if four else ":"))
        if address is None:
            raise NotFound(f"{label} is no dashed IP address")
        if self.settings.pods is Pods.VERIFIED and not any(
            isinstance(owner, Pod) and owner.namespace == namespace for owner in self.reader.owners(address)
        ):
            raise NotFound(f"no running pod in namespace {namespace} has the address {address_text(address)}")
        return self._items([Item(address, 0, self.question.name)], f"pod address {address_text(address)}")

    # -- reverse names

    def _reverse(self) -> Finding:
        address = reverse_address(self.question.name)
        targets = self._pointers(address) if address is not None else []
        if address is None or not targets:
            raise NotFound("no service or ready endpoint has this address")
        if self.type != Type.PTR:
            return Finding(Outcome.NODATA, "a reverse name has PTR records only", fall_through=True)
        ttl, asked = self.settings.ttl, self.question.asked
        answer = [records.record(asked, Type.PTR, ttl, dnslib.PTR(DNSLabel(target))) for target in targets]
        return Finding(Outcome.DATA, f"names of address {address_text(address)}", answer)

    def _pointers(self, address: bytes) -> list[Name]:
        """The name of the Service with this cluster IP, else those of the endpoints with this address (2.5)."""
        owners = self.reader.owners(address)
        primary = self.settings.primary
        for owner in owners:
            if (
                isinstance(owner, Service)
                and address in owner.addresses
                and exposed(self.reader, self.settings, owner.namespace)
            ):
                return [(owner.name.encode(), owner.namespace.encode(), b"svc", *primary)]
        targets: dict[Name, None] = {}
        for owner in owners:
            if not isinstance(owner, Slice) or not owner.service or not self.settings.endpoints:
                continue
            if exposed(self.reader, self.settings, owner.namespace):
                for endpoint in owner.endpoints:
                    if endpoint.address == address:
                        own = (owner.service.encode(), owner.namespace.encode(), b"svc", *primary)
                        targets[(self._label(endpoint), *own)] = None
        return list(targets)

    # -- the zone itself

    def _apex(self) -> Finding:
        if self.type == Type.SOA:
            return Finding(Outcome.DATA, "the zone's SOA", [soa(self.settings, self.zone, self.reader.serial())])
        if self.type == Type.NS:
            servers = self._name_servers()
            ttl, asked = self.settings.ttl, self.question.asked
            answer = [
                records.record(asked, Type.NS, ttl, dnslib.NS(DNSLabel(target)))
                for target in dict.fromkeys(target for target, _ in servers)
            ]
            glue = [records.address(target, ttl, address) for target, address in servers]
            return self._found(answer, glue, "the zone's servers")
        raise NoRecords("the zone's apex has SOA and NS records only")

    def _version(self) -> Finding:
        if self.type != Type.TXT:
            raise NoRecords("dns-version has a TXT record only")
        text = records.record(self.question.asked, Type.TXT, VERSION_TTL, dnslib.TXT([SCHEMA_VERSION]))
        return Finding(Outcome.DATA, "the version of the schema", [text])

    def _name_server(self) -> Finding:
        """`ns.dns.Z`, which the SOA names: the addresses that the zone's name server has (2.6)."""
        servers = self._name_servers()
        if not servers and self.type == Type.TXT:
            raise NotFound("the zone's name server has no address")
        if self.type not in (Type.A, Type.AAAA):
            raise NoRecords("the zone's name server has addresses only")
        return self._items([Item(address, -1, ()) for _, address in servers], "the zone's name server")

    def _name_servers(self) -> list[tuple[Name, bytes]]:
        """Name and address of each Service that selects this server, cluster IPs before endpoints (2.6)."""
        servers: dict[tuple[Name, bytes], None] = {}
        zone = self.zone if not is_reverse(self.zone) else self.settings.primary
        for local in self.settings.local_addresses:
            for owner in self.reader.owners(local):
                if not isinstance(owner, Slice) or not owner.service:
                    continue
                service = self.reader.service(owner.namespace, owner.service)
                if service is None:
                    continue
                own = (service.name.encode(), service.namespace.encode(), b"svc", *zone)
                if service.type is ServiceType.CLUSTER:
                    servers.update(dict.fromkeys((own, address) for address in service.addresses))
                else:
                    for endpoint in owner.endpoints:
                        if endpoint.address == local:
                            servers[((self._label(endpoint), *own), local)] = None
        return list(servers)


class PortFilter:
    """`_port._protocol` before a service: one underscore of each is optional, nothing left matches anything (2.2)."""

    def __init__(self, rest: Name) -> None:
        port, protocol = rest if len(rest) == 2 else (b"", b"")
        self.port = _text(port.removeprefix(b"_"))
        self.protocol = _text(protocol.removeprefix(b"_"))

    def __bool__(self) -> bool:
        return bool(self.port or self.protocol)

    def matches(self, port: Port) -> bool:
        """Whether a port is one of those asked for; a port list that is empty answers no filter at all."""
        if port.number < 0 and not port.name:
            return not self
        return (not self.port or port.name == self.port) and (not self.protocol or port.protocol == self.protocol)
