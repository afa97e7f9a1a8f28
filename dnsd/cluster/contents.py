"""A cluster zone as a whole, for zone transfers: the records that `schema` answers one by one. spec.md section 2.8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dnslib import RR

from dnsd.cluster import objects, schema
from dnsd.cluster.index import Index, Port, Reader, Service, ServiceType
from dnsd.cluster.schema import Outcome, Settings
from dnsd.wire import records
from dnsd.wire.codes import Class, Type
from dnsd.wire.name import Name
from dnsd.wire.query import Question


def zone_records(index: Index, settings: Settings, zone: Name) -> Iterator[RR]:
    """Every record of a zone but its SOA: name servers, then Services by name, with ports and headless endpoints.

    Names of pods and of zones are left out, as in the reference: nobody can list them. Made as they are taken; what
    changes meanwhile is there in its new or its old form.
    """
    servers = _lookup(Reader(index), settings, zone, zone, Type.NS)
    yield from servers.answer
    yield from servers.additional
    for namespace, name in sorted(index.names(objects.Service)):
        reader = Reader(index)
        service = reader.service(namespace, name)
        if service is not None and schema.exposed(reader, settings, namespace):
            yield from _service(reader, settings, zone, service)


def _service(reader: Reader, settings: Settings, zone: Name, service: Service) -> Iterator[RR]:
    own = (service.name.encode(), service.namespace.encode(), b"svc", *zone)
    if service.type is ServiceType.EXTERNAL:
        yield from _lookup(reader, settings, zone, own, Type.CNAME).answer
        return
    for type_ in (Type.A, Type.AAAA, Type.SRV):
        yield from _lookup(reader, settings, zone, own, type_).answer
    slices = reader.slices(service.namespace, service.name) if service.type is ServiceType.HEADLESS else ()
    ports: Iterable[Port] = (port for slice_ in slices for port in slice_.ports) if slices else service.ports
    for name, protocol in dict.fromkeys((port.name, port.protocol) for port in ports):
        if name:
            owner = (f"_{name}".encode(), f"_{protocol}".encode(), *own)
            yield from _lookup(reader, settings, zone, owner, Type.SRV).answer
    if settings.endpoints:
        endpoints = dict.fromkeys(
            (schema.endpoint_name(endpoint, pod_names=settings.endpoint_pod_names).encode(), endpoint.address)
            for slice_ in slices
            for endpoint in slice_.endpoints
        )
        for label, address in endpoints:
            yield records.address((label, *own), settings.ttl, address)


def _lookup(reader: Reader, settings: Settings, zone: Name, owner: Name, type_: Type) -> schema.Finding:
    finding = schema.lookup(reader, settings, zone, Question(owner, type_, Class.IN, owner, b""))
    return finding if finding.outcome is Outcome.DATA else schema.Finding(finding.outcome, finding.reason)
