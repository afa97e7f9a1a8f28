"""The index: what the cluster holds, kept compact, read through keys.

Two rules make answers trustworthy:
1. Whoever reads goes through a `Reader`, which notes each key it looked at, found or not found.
2. Whatever changes calls the listeners with the keys it touched, before anybody can read again.

So an answer that remembers its reader's keys is right until one of them is touched. The index knows no DNS names, no
records and no I/O; the time of a change is an argument.
"""

from __future__ import annotations

import enum
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from dnsd.cluster import objects
from dnsd.cluster.objects import Kind

log = logging.getLogger("dnsd.cluster")

Key: TypeAlias = tuple[str | bytes, ...]
"""What a reader looked at: `("namespace", ns)`, `("service", ns, name)`, `("services", ns)` for all of
a namespace, `("address", packed)`, `("serial",)`."""

SERIAL: Key = ("serial",)

MAX_REPORTED_OBJECTS = 10_000
"""How many broken objects are remembered so that each is logged once; past that the memory starts anew."""

MAX_PORT_LISTS = 10_000
"""Port lists that are remembered to be shared; past that the memory starts anew."""


class ServiceType(enum.Enum):
    """How a Service is answered."""

    CLUSTER = "cluster"
    HEADLESS = "headless"
    EXTERNAL = "external"


class Port(msgspec.Struct, frozen=True, gc=False):
    """A port with name and protocol in lower case; number -1 where the object gives none."""

    name: str
    protocol: str
    number: int


class Service(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="object"):
    """A Service. Addresses are packed: 4 or 16 octets."""

    namespace: str
    name: str
    type: ServiceType
    addresses: tuple[bytes, ...] = ()
    ports: tuple[Port, ...] = ()
    external_name: str = ""
    external_addresses: tuple[bytes, ...] = ()
    """externalIPs and load-balancer addresses: never answered in the cluster zone, read by k8s_external."""
    external_hostnames: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """A ready endpoint address, packed; `text` is its stored spelling where that is not the canonical one."""

    address: bytes
    hostname: str = ""
    pod: str = ""
    zone: str = ""
    text: str = ""


class Slice(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="object"):
    """An EndpointSlice: its ready endpoints, and how many more are not ready."""

    namespace: str
    name: str
    service: str
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()
    not_ready: int = 0
    cluster: str = ""
    """Id of the cluster that an imported slice comes from."""


class Pod(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="object"):
    """A pod and its primary address, packed."""

    namespace: str
    name: str
    address: bytes


Owner: TypeAlias = Service | Slice | Pod


class Change(msgspec.Struct, gc=False):
    """One change of an index, for another index to follow: an object of `kind` set or, with no value, removed.

    A Namespace is set by a value of True; `synced` says that the first list of the kind is complete.
    """

    kind: str
    namespace: str
    name: str
    value: Service | Slice | Pod | bool | None
    now: float
    """Seconds since 1970."""
    synced: bool = False


Listener: TypeAlias = Callable[[frozenset[Key]], None]

_MAPPED = bytes(10) + b"\xff\xff"

NO_PORTS = (Port("", "", -1),)
"""A Service or slice without ports answers for its addresses and has no SRV records (spec.md 2.3)."""


def pack_address(text: str) -> bytes | None:
    """The 4 or 16 octets of an IP address written as Kubernetes does, or None where `text` is none."""
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
    mapped = packed.startswith(_MAPPED)  # Go, and so the reference, takes ::ffff:10.0.0.1 for the IPv4 address
    return packed[12:] if mapped else packed


def address_text(packed: bytes) -> str:
    """The canonical text of a packed address (RFC 5952 for IPv6)."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    return str(ipaddress.IPv6Address(packed))


class Index:
    """Services, slices, namespaces and pods of one cluster, as one source delivers them.

    Writers: `put`, `delete`, `replace`, `mark_synced`. Readers: `Reader`.
    `kinds` are the kinds that must have been listed once before the index counts as synced. Names of the pods behind
    endpoints are kept only with `pod_names`: few want them, and they are a fifth of the index.
    """

    def __init__(
        self,
        kinds: Iterable[Kind] = (objects.Namespace, objects.Service, objects.EndpointSlice),
        *,
        pod_names: bool = False,
    ) -> None:
        self.kinds: tuple[Kind, ...] = tuple(kinds)
        self._pod_names = pod_names
        self._imports = objects.ServiceImport in self.kinds
        """Whether Services here are those of a set of clusters, made from ServiceImports."""
        self._port_lists: dict[tuple[Port, ...], tuple[Port, ...]] = {}
        self.serial = 0
        """Seconds since 1970 of the last change, or more where changes came faster; 0 before the first."""
        self.generation = 0
        """Grows with every change; tells whether anything happened between two moments."""
        self.listeners: list[Listener] = []
        self.followers: list[Callable[[Change], None]] = []
        """Told of each change before the listeners are, so that other processes hear of it first."""
        self.trigger_listeners: list[Callable[[str, str], None]] = []
        """Called with (trigger time, service type) of each slice event, for dns_programming_duration."""
        self._unsynced: set[Kind] = set(self.kinds)
        self._namespaces: dict[str, Key] = {}
        self._services: dict[tuple[str, str], Service] = {}
        self._slices: dict[tuple[str, str], Slice] = {}
        self._slices_of: dict[tuple[str, str], tuple[Slice, ...]] = {}
        self._pods: dict[tuple[str, str], Pod] = {}
        self._owners: dict[bytes, Owner | tuple[Owner, ...]] = {}
        self._reported: set[tuple[str, str, str]] = set()

    # -- writing

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed once. Never goes back."""
        return not self._unsynced

    def mark_synced(self, kind: Kind) -> None:
        """The first list of `kind` is complete."""
        if kind in self._unsynced:
            self._unsynced.discard(kind)
            self._follow(Change(kind.__name__, "", "", None, 0.0, synced=True))
            self._notify(set())

    def apply(self, change: Change) -> None:
        """Make the change that another index made."""
        kind, key, value = objects.KINDS[change.kind], (change.namespace, change.name), change.value
        if change.synced:
            self.mark_synced(kind)
        elif kind is objects.Namespace:
            self._set_namespace(change.name, bool(value), change.now)
        elif kind is objects.Service:
            self._set_service(key, value if isinstance(value, Service) else None, change.now)
        elif kind is objects.EndpointSlice:
            self._set_slice(key, value if isinstance(value, Slice) else None, change.now)
        else:
            self._set_pod(key, value if isinstance(value, Pod) else None, change.now)

    def _follow(self, change: Change) -> None:
        for follower in self.followers:
            follower(change)

    def put(self, item: objects.Object, now: float) -> None:
        """Add or replace one object. What makes no sense in it is logged once and left out."""
        if type(item) not in self.kinds:
            return
        meta = item.metadata
        if not meta.name or (not meta.namespace and not isinstance(item, objects.Namespace)):
            self._report(type(item).__name__, meta, "has no metadata.name or no metadata.namespace; ignored")
            return
        match item:
            case objects.Namespace():
                self._set_namespace(meta.name, True, now)  # noqa: FBT003  there or not is what is set
            case objects.Service():
                self._set_service((meta.namespace, meta.name), self._service(item), now)
            case objects.ServiceImport():
                self._set_service((meta.namespace, meta.name), self._imported(item), now)
            case objects.EndpointSlice():
                generation = self.generation
                self._set_slice((meta.namespace, meta.name), self._slice(item), now)
                if self.generation != generation:  # what a new list only repeats is no news
                    self._observe_trigger(item)
            case objects.Pod():
                self._put_pod(item, now)

    def delete(self, kind: Kind, namespace: str, name: str, now: float) -> None:
        """Remove one object; nothing happens where there is none."""
        if kind is objects.Namespace:
            self._set_namespace(name, False, now)  # noqa: FBT003  there or not is what is set
        elif kind is objects.Service or kind is objects.ServiceImport:
            self._set_service((namespace, name), None, now)
        elif kind is objects.EndpointSlice:
            self._set_slice((namespace, name), None, now)
        else:
            self._set_pod((namespace, name), None, now)

    def replace(self, kind: Kind) -> Replacement:
        """Begin a complete list of `kind`: put each object into what this returns, then `finish` it."""
        return Replacement(self, kind)

    def names(self, kind: Kind) -> list[tuple[str, str]]:
        """(namespace, name) of every object of `kind`."""
        if kind is objects.Namespace:
            return [("", name) for name in self._namespaces]
        if kind is objects.Service or kind is objects.ServiceImport:
            return list(self._services)
        if kind is objects.EndpointSlice:
            return list(self._slices)
        return list(self._pods)

    # -- objects into compact values

    def _service(self, item: objects.Service) -> Service:
        spec = item.spec or objects.ServiceSpec()
        meta = item.metadata
        ports = self._ports(spec.ports)
        if spec.type == "ExternalName":
            return Service(meta.namespace, meta.name, ServiceType.EXTERNAL, (), ports, spec.external_name or "")
        given = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
        external, hostnames = list(spec.external_ips or ()), []
        balancer = item.status.load_balancer if item.status else None
        for ingress in balancer.ingress or () if balancer else ():
            if ingress.ip:
                external.append(ingress.ip)
            if ingress.hostname:
                hostnames.append(ingress.hostname)
        outside = self._addresses("Service", meta, external)
        if given and given[0] == "None":
            return Service(meta.namespace, meta.name, ServiceType.HEADLESS, (), ports, "", outside, tuple(hostnames))
        inside = self._addresses("Service", meta, [text for text in given if text])
        return Service(meta.namespace, meta.name, ServiceType.CLUSTER, inside, ports, "", outside, tuple(hostnames))

    def _imported(self, item: objects.ServiceImport) -> Service:
        spec, meta = item.spec or objects.ServiceImportSpec(), item.metadata
        ports = self._ports(spec.ports) if spec.ports else ()
        if spec.type == "Headless":
            return Service(meta.namespace, meta.name, ServiceType.HEADLESS, (), ports)
        addresses = self._addresses("ServiceImport", meta, spec.ips or ())
        return Service(meta.namespace, meta.name, ServiceType.CLUSTER, addresses, ports)

    def _slice(self, item: objects.EndpointSlice) -> Slice:
        meta = item.metadata
        endpoints: list[Endpoint] = []
        not_ready = 0
        for endpoint in item.endpoints or ():
            if endpoint.conditions is not None and endpoint.conditions.ready is False:
                not_ready += 1
                continue
            pod = (endpoint.target_ref.name or "") if self._pod_names and endpoint.target_ref else ""
            for text in endpoint.addresses or ():
                packed = pack_address(text)
                if packed is None:
                    self._report("EndpointSlice", meta, f"endpoint address {text!r} is not an IP address; left out")
                    continue
                endpoints.append(
                    Endpoint(
                        packed,
                        (endpoint.hostname or "").lower(),
                        pod if len(pod) < 64 else "",
                        sys.intern((endpoint.zone or "").lower()),
                        "" if address_text(packed) == text else text,
                    )
                )
        labels = meta.labels or objects.Labels()
        service, cluster = (labels.imported, labels.cluster.lower()) if self._imports else (labels.service, "")
        return Slice(meta.namespace, meta.name, service, tuple(endpoints), self._ports(item.ports), not_ready, cluster)

    def _ports(self, ports: list[objects.ServicePort] | None) -> tuple[Port, ...]:
        """The port list as a value shared by all objects that have the same one."""
        if not ports:
            return NO_PORTS
        made = tuple(
            Port((port.name or "").lower(), (port.protocol or "").lower(), -1 if port.port is None else port.port)
            for port in ports
        )
        if len(self._port_lists) >= MAX_PORT_LISTS:
            self._port_lists.clear()
        return self._port_lists.setdefault(made, made)

    def _addresses(self, kind: str, meta: objects.Metadata, texts: Iterable[str]) -> tuple[bytes, ...]:
        packed = []
        for text in texts:
            address = pack_address(text)
            if address is None:
                self._report(kind, meta, f"address {text!r} is not an IP address; left out")
            else:
                packed.append(address)
        return tuple(packed)

    def _report(self, kind: str, meta: objects.Metadata, what: str) -> None:
        if len(self._reported) >= MAX_REPORTED_OBJECTS:
            self._reported.clear()
        seen = (kind, f"{meta.namespace}/{meta.name}", what)
        if seen not in self._reported:
            self._reported.add(seen)
            log.warning("%s %s %s", *seen)

    def _observe_trigger(self, item: objects.EndpointSlice) -> None:
        time = item.metadata.annotations.trigger_time if item.metadata.annotations else ""
        service = item.metadata.labels.service if item.metadata.labels else ""
        owner = self._services.get((item.metadata.namespace, service))
        if time and owner is not None:
            for listener in self.trigger_listeners:
                listener(time, owner.type.value)

    # -- changes

    def _set_namespace(self, name: str, there: bool, now: float) -> None:
        if (name in self._namespaces) == there:
            return
        if there:
            self._namespaces[name] = ("namespace", name)
        else:
            del self._namespaces[name]
        self._follow(Change("Namespace", "", name, there, now))
        self._changed({("namespace", name)}, now)

    def _set_service(self, key: tuple[str, str], new: Service | None, now: float) -> None:
        old = self._services.get(key)
        if old == new:
            return
        if new is None:
            del self._services[key]
        else:
            self._services[key] = new
        self._follow(Change("Service", *key, new, now))
        touched: set[Key] = {("service", *key), ("services", key[0])}
        self._move(old, _every_address(old), new, _every_address(new), touched)
        self._changed(touched, now)

    def _set_slice(self, key: tuple[str, str], new: Slice | None, now: float) -> None:
        old = self._slices.get(key)
        if old == new:
            return
        if new is None:
            del self._slices[key]
        else:
            self._slices[key] = new
        self._follow(Change("EndpointSlice", *key, new, now))
        touched: set[Key] = {("services", key[0])}
        if old is not None and old.service:
            owner = (key[0], old.service)
            rest = tuple(item for item in self._slices_of[owner] if item is not old)
            if rest:
                self._slices_of[owner] = rest
            else:
                del self._slices_of[owner]
            touched.add(("service", *owner))
        if new is not None and new.service:
            owner = (key[0], new.service)
            self._slices_of[owner] = (*self._slices_of.get(owner, ()), new)
            touched.add(("service", *owner))
        self._move(
            old,
            [endpoint.address for endpoint in old.endpoints] if old else (),
            new,
            [endpoint.address for endpoint in new.endpoints] if new else (),
            touched,
        )
        self._changed(touched, now)

    def _put_pod(self, item: objects.Pod, now: float) -> None:
        meta, status = item.metadata, item.status or objects.PodStatus()
        key = (meta.namespace, meta.name)
        if status.phase in ("Succeeded", "Failed", "Unknown"):
            self._set_pod(key, None, now)
            return
        if meta.deletion_timestamp is not None:
            return  # a pod that terminates keeps its record until it is deleted; one first seen so has none
        address = None
        if status.pod_ip:
            address = pack_address(status.pod_ip)
            if address is None:
                self._report("Pod", meta, f"address {status.pod_ip!r} is not an IP address; ignored")
        self._set_pod(key, None if address is None else Pod(meta.namespace, meta.name, address), now)

    def _set_pod(self, key: tuple[str, str], new: Pod | None, now: float) -> None:
        old = self._pods.get(key)
        if old == new:
            return
        if new is None:
            del self._pods[key]
        else:
            self._pods[key] = new
        self._follow(Change("Pod", *key, new, now))
        touched: set[Key] = set()
        self._move(old, (old.address,) if old else (), new, (new.address,) if new else (), touched)
        self._changed(touched, now)

    def _move(
        self,
        old: Owner | None,
        old_addresses: Iterable[bytes],
        new: Owner | None,
        new_addresses: Iterable[bytes],
        touched: set[Key],
    ) -> None:
        """Let `new` own its addresses in place of `old`."""
        if old is not None:
            for address in dict.fromkeys(old_addresses):
                rest = tuple(owner for owner in self._owners_of(address) if owner is not old)
                if not rest:
                    del self._owners[address]
                else:
                    self._owners[address] = rest[0] if len(rest) == 1 else rest
                touched.add(("address", address))
        if new is not None:
            for address in dict.fromkeys(new_addresses):
                owners = self._owners_of(address)
                self._owners[address] = (*owners, new) if owners else new
                touched.add(("address", address))

    def _owners_of(self, address: bytes) -> tuple[Owner, ...]:
        owners = self._owners.get(address, ())
        return owners if isinstance(owners, tuple) else (owners,)

    def _changed(self, touched: set[Key], now: float) -> None:
        self.serial = max(self.serial + 1, int(now))
        touched.add(SERIAL)
        self._notify(touched)

    def _notify(self, touched: set[Key]) -> None:
        self.generation += 1
        keys = frozenset(touched)
        for listener in self.listeners:
            listener(keys)


def _every_address(service: Service | None) -> tuple[bytes, ...]:
    return (*service.addresses, *service.external_addresses) if service else ()


class Replacement:
    """A complete list of one kind, arriving in chunks.

    Objects count from when they are put; those that the list did not name go when it is finished. A list that breaks
    off is simply dropped: nothing was removed.
    """

    def __init__(self, index: Index, kind: Kind) -> None:
        self._index = index
        self._kind = kind
        self._seen: set[tuple[str, str]] = set()

    def put(self, item: objects.Object, now: float) -> None:
        """One object of the list."""
        self._seen.add((item.metadata.namespace, item.metadata.name))
        self._index.put(item, now)

    def keep(self, namespace: str, name: str) -> None:
        """An object that the list named and nobody could read: what was known of it stays."""
        self._seen.add((namespace, name))

    def finish(self, now: float) -> None:
        """The list is complete: remove what it did not name, and count the kind as synced."""
        for namespace, name in self._index.names(self._kind):
            if (namespace, name) not in self._seen:
                self._index.delete(self._kind, namespace, name, now)
        self._index.mark_synced(self._kind)


class Reader:
    """Reads the index for one answer, and notes the keys that the answer then depends on."""

    __slots__ = ("_index", "complete", "keys")

    def __init__(self, index: Index) -> None:
        self._index = index
        self.keys: set[Key] = set()
        self.complete = True
        """False once a kind was read whose first list has not arrived: what was found or not found may be wrong."""

    def _note(self, key: Key, *kinds: Kind) -> None:
        """The keys and kinds that were read; a ServiceImport stands where a Service does."""
        self.keys.add(key)
        unsynced = self._index._unsynced  # noqa: SLF001  the reader is the index's own way in
        if unsynced and not unsynced.isdisjoint(kinds):
            self.complete = False

    def namespace(self, name: str) -> bool:
        """Whether the Namespace object exists."""
        found = self._index._namespaces.get(name)  # noqa: SLF001
        self._note(found or ("namespace", name), objects.Namespace)
        return found is not None

    def service(self, namespace: str, name: str) -> Service | None:
        """The Service, or None. Its key stands for its slices too."""
        found = self._index._services.get((namespace, name))  # noqa: SLF001
        if found is not None:
            namespace, name = found.namespace, found.name  # the key lives as long as answers do: share its strings
        self._note(("service", namespace, name), objects.Service, objects.ServiceImport)
        return found

    def slices(self, namespace: str, name: str) -> tuple[Slice, ...]:
        """The EndpointSlices labelled with this Service's name, whether or not the Service exists."""
        self._note(("service", namespace, name), objects.EndpointSlice)
        return self._index._slices_of.get((namespace, name), ())  # noqa: SLF001

    def services_in(self, namespace: str) -> list[Service]:
        """Every Service of a namespace; its key stands for their slices too."""
        self._note(("services", namespace), objects.Service, objects.ServiceImport, objects.EndpointSlice)
        return [service for key, service in self._index._services.items() if key[0] == namespace]  # noqa: SLF001

    def owners(self, address: bytes) -> tuple[Owner, ...]:
        """The Services, slices and pods that hold a packed address; Services inside the cluster or outside."""
        self._note(("address", address), objects.Service, objects.EndpointSlice, objects.Pod)
        return self._index._owners_of(address)  # noqa: SLF001

    def serial(self) -> int:
        """The zone's serial. Only an answer to a SOA question depends on it."""
        self.keys.add(SERIAL)
        return self._index.serial

    def serial_of_the_day(self) -> int:
        """The zone's serial for the SOA of a negative answer, which need not be dropped when it grows."""
        return self._index.serial
