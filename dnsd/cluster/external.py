"""What a name in an external zone has: addresses at which Services are reached from outside (spec.md section 2.9).

Pure: an index in, findings out, like `schema`, whose outcomes it shares. What a load balancer's host name leads to is
only named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dnslib
from dnslib import RR, DNSLabel

from dnsd.cluster import objects, schema
from dnsd.cluster.index import Index, Port, Reader, Service, ServiceType, Slice
from dnsd.cluster.schema import Finding, Item, NoRecords, NotFound, Outcome, PortFilter
from dnsd.wire import name as names
from dnsd.wire import records
from dnsd.wire.codes import Class, Type
from dnsd.wire.name import Name
from dnsd.wire.query import Question


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a `k8s_external` stanza, and those of the cluster that it shows."""

    zones: tuple[Name, ...]
    """In lower case; PTR records point into the first."""
    cluster: schema.Settings
    apex: Name = (b"dns",)
    """What comes before the zone in the names of its SOA and NS records."""
    ttl: int = 5
    """Seconds, of all but SRV and CNAME records: those have the cluster's, as in the reference."""
    headless: bool = False
    """Whether headless Services have their endpoints' addresses."""


def soa(settings: Settings, zone: Name, serial: int) -> RR:
    """The SOA record of an external zone."""
    times = (serial & 0xFFFFFFFF, 7200, 1800, 86400, settings.ttl)
    below = (*settings.apex, *zone)
    return records.soa(zone, settings.ttl, (b"ns1", *below), (b"hostmaster", *below), times)


def lookup(reader: Reader, settings: Settings, zone: Name, question: Question) -> Finding:
    """What `question` finds in `zone`, which its name is under."""
    try:
        return _Lookup(reader, settings, zone, question).run()
    except NotFound as why:
        return Finding(Outcome.NAME_ERROR, str(why))
    except NoRecords as why:
        return Finding(Outcome.NODATA, str(why))


def zone_records(index: Index, settings: Settings, zone: Name) -> Iterator[RR]:
    """Every record of a zone but its SOA, for zone transfers; made as they are taken."""

    def answers(owner: Name, *types: Type) -> Iterator[RR]:
        for type_ in types:
            finding = lookup(Reader(index), settings, zone, Question(owner, type_, Class.IN, owner, b""))
            yield from finding.answer

    yield from answers(zone, Type.NS)
    yield from answers((b"ns1", *settings.apex, *zone), Type.A, Type.AAAA)
    for namespace, name in sorted(index.names(objects.Service)):
        reader = Reader(index)
        service = reader.service(namespace, name)
        if service is None or not schema.exposed(reader, settings.cluster, namespace):
            continue
        own = (name.encode(), namespace.encode(), *zone)
        addresses = list(answers(own, Type.A))
        yield from addresses
        if not any(record.rtype == Type.CNAME for record in addresses):
            yield from answers(own, Type.AAAA, Type.SRV)
        endpoints = _endpoints(reader, settings, service)
        for port in dict.fromkeys((port.name, port.protocol) for port in _ports(service, endpoints)):
            if port[0]:
                yield from answers((f"_{port[0]}".encode(), f"_{port[1]}".encode(), *own), Type.SRV)
        for label in dict.fromkeys(label for label, _, _ in endpoints):
            yield from answers((label, *own), Type.A, Type.AAAA, Type.SRV)


def _endpoints(reader: Reader, settings: Settings, service: Service) -> list[tuple[bytes, bytes, Slice]]:
    """Label, address and slice of each ready endpoint that the zone shows for a headless Service."""
    outside = service.external_addresses or service.external_hostnames
    if not settings.headless or outside or service.type is not ServiceType.HEADLESS:
        return []
    return _ready(reader, settings, service)


def _ready(reader: Reader, settings: Settings, service: Service) -> list[tuple[bytes, bytes, Slice]]:
    pod_names = settings.cluster.endpoint_pod_names
    return [
        (schema.endpoint_name(endpoint, pod_names=pod_names).encode(), endpoint.address, slice_)
        for slice_ in reader.slices(service.namespace, service.name)
        for endpoint in slice_.endpoints
    ]


def _ports(service: Service, endpoints: list[tuple[bytes, bytes, Slice]]) -> Iterator[Port]:
    if endpoints:
        for _, _, slice_ in endpoints:
            yield from slice_.ports
    elif service.external_addresses or service.external_hostnames:
        yield from service.ports


class _Lookup:
    """One question on its way through the rules."""

    def __init__(self, reader: Reader, settings: Settings, zone: Name, question: Question) -> None:
        self.reader = reader
        self.settings = settings
        self.zone = zone
        self.question = question
        self.type = question.type

    def run(self) -> Finding:
        labels = names.relative(self.question.name, self.zone)
        if not labels:
            return self._apex()
        if names.is_under(labels, self.settings.apex):
            return self._below_apex(names.relative(labels, self.settings.apex))
        if self.type == Type.PTR and (address := schema.reverse_address(self.question.name)) is not None:
            return self._pointers(address)
        return self._service(labels)

    def _service(self, labels: Name) -> Finding:
        """`service.namespace`, with an endpoint or a port and protocol before it."""
        namespace = labels[-1].decode("ascii", "replace")
        if not schema.exposed(self.reader, self.settings.cluster, namespace):
            raise NotFound(f"namespace {namespace} does not exist or is not served")
        if len(labels) == 1:
            raise NoRecords(f"namespace {namespace} exists")
        name = labels[-2].decode("ascii", "replace")
        service = self.reader.service(namespace, name)
        if service is None:
            raise NotFound(f"service {namespace}/{name} does not exist")
        if len(labels) > 4:
            raise NotFound("too many labels before the service")
        items = self._items(service, labels[:-2])
        if not items:
            raise NotFound(f"service {namespace}/{name} has no such external address")
        what = f"external addresses of service {namespace}/{name}"
        if self.type in (Type.A, Type.AAAA):
            return self._addresses(items, what)
        if self.type == Type.SRV:
            return self._srv(items, what)
        if self.type == Type.CNAME and not any(item.address for item in items):
            return self._alias(items[0].target, what, follow=False)
        raise NoRecords(f"{what}: no records of this type")

    def _items(self, service: Service, rest: Name) -> list[Item]:
        """One for each address or host name and port; without an address where only a name is known.

        An endpoint's label before a Service with external addresses changes nothing, as in the reference.
        """
        own = (service.name.encode(), service.namespace.encode(), *self.zone)
        wanted = PortFilter(rest)
        outside = service.external_addresses or service.external_hostnames
        if not outside and self.settings.headless and (service.type is ServiceType.HEADLESS or len(rest) == 1):
            ready = _ready(self.reader, self.settings, service)
            found = [
                Item(address, port.number, (label, *own))
                for label, address, slice_ in ready
                if len(rest) != 1 or label == rest[0]
                for port in slice_.ports
                if wanted.matches(port)
            ]
            if not found and len(rest) == 1 and any(_has_protocol(slice_.ports, rest[0]) for _, _, slice_ in ready):
                raise NoRecords("ports are below this name")
            return found
        ports = [port for port in service.ports if wanted.matches(port)]
        hosts = [names.from_text(text) for text in service.external_hostnames if _is_name(text)]
        return [
            *(Item(address, port.number, own) for address in service.external_addresses for port in ports),
            *(Item(b"", port.number, host) for host in hosts for port in ports),
        ]

    def _addresses(self, items: list[Item], what: str) -> Finding:
        """A or AAAA records; a host name's CNAME only where there is no address, for it must stand alone."""
        asked, ttl = self.question.asked, self.settings.ttl
        if not any(item.address for item in items):
            return self._alias(items[0].target, what, follow=True)
        length = 4 if self.type == Type.A else 16
        found = dict.fromkeys(item.address for item in items if len(item.address) == length)
        if not found:
            raise NoRecords(f"{what}: none of this family")
        return Finding(Outcome.DATA, what, [records.address(asked, ttl, address) for address in found])

    def _alias(self, target: Name, what: str, *, follow: bool) -> Finding:
        alias = records.cname(self.question.asked, self.settings.cluster.ttl, target)
        return Finding(Outcome.DATA, what, [alias], target=target if follow else None)

    def _srv(self, items: list[Item], what: str) -> Finding:
        """SRV records; the weight counts all items, distinct or not (spec.md section 2.5)."""
        weight = max(1, 100 // len(items))
        visible = [item for item in items if item.port >= 0]
        if not visible:
            raise NoRecords(f"{what}: no ports")
        asked, ttl = self.question.asked, self.settings.cluster.ttl
        answer = [
            records.record(asked, Type.SRV, ttl, dnslib.SRV(0, weight, port, DNSLabel(target)))
            for target, port in dict.fromkeys((item.target, item.port) for item in visible)
        ]
        glue = dict.fromkeys((item.target, item.address) for item in visible if item.address)
        return Finding(
            Outcome.DATA,
            what,
            answer,
            [records.address(target, self.settings.ttl, address) for target, address in glue],
        )

    def _pointers(self, address: bytes) -> Finding:
        """The Services that are reached at an address from outside."""
        targets = [
            (owner.name.encode(), owner.namespace.encode(), *self.settings.zones[0])
            for owner in self.reader.owners(address)
            if isinstance(owner, Service)
            and address in owner.external_addresses
            and schema.exposed(self.reader, self.settings.cluster, owner.namespace)
        ]
        if not targets:
            raise NotFound("no service is reached at this address from outside")
        asked, ttl = self.question.asked, self.settings.ttl
        answer = [records.record(asked, Type.PTR, ttl, dnslib.PTR(DNSLabel(target))) for target in targets]
        return Finding(Outcome.DATA, "services with this external address", answer)

    def _apex(self) -> Finding:
        if self.type == Type.SOA:
            return Finding(Outcome.DATA, "the zone's SOA", [soa(self.settings, self.zone, self.reader.serial())])
        if self.type == Type.NS:
            server, ttl = (b"ns1", *self.settings.apex, *self.zone), self.settings.ttl
            answer = [records.record(self.question.asked, Type.NS, ttl, dnslib.NS(DNSLabel(server)))]
            glue = [records.address(server, ttl, address) for address in self._server_addresses()]
            return Finding(Outcome.DATA, "the zone's server", answer, glue)
        raise NoRecords("the zone's apex has SOA and NS records only")

    def _below_apex(self, labels: Name) -> Finding:
        """`dns.Z`, which only has names below it, and `ns1.dns.Z`, the zone's server."""
        if not labels:
            raise NoRecords("a name that has others below it")
        if labels != (b"ns1",):
            raise NotFound("only the zone's server is here")
        if self.type not in (Type.A, Type.AAAA):
            raise NoRecords("the zone's server has addresses only")
        length = 4 if self.type == Type.A else 16
        asked, ttl = self.question.asked, self.settings.ttl
        found = [records.address(asked, ttl, packed) for packed in self._server_addresses() if len(packed) == length]
        if not found:
            raise NoRecords("the zone's server has no address of this family")
        return Finding(Outcome.DATA, "the zone's server", found)

    def _server_addresses(self) -> list[bytes]:
        """External addresses of the Services that select this server, else its own addresses."""
        found: dict[bytes, None] = {}
        for local in self.settings.cluster.local_addresses:
            for owner in self.reader.owners(local):
                service = self.reader.service(owner.namespace, owner.service) if isinstance(owner, Slice) else None
                if service is None or not isinstance(owner, Slice):
                    continue
                if self.settings.headless and service.type is ServiceType.HEADLESS:
                    found.update(dict.fromkeys(endpoint.address for endpoint in owner.endpoints))
                else:
                    found.update(dict.fromkeys(service.external_addresses))
        return list(found) or list(self.settings.cluster.local_addresses)


def _has_protocol(ports: tuple[Port, ...], label: bytes) -> bool:
    """Whether a label is above `_port._protocol` names (RFC 8020)."""
    protocol = label.removeprefix(b"_").decode("ascii", "replace")
    return any(port.name and port.protocol == protocol for port in ports)


def _is_name(text: str) -> bool:
    try:
        return bool(names.from_text(text))
    except names.BadName:
        return False
