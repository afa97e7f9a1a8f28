"""Reads the directive `kubernetes`: every option of spec.md section 4, and `manifests`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from dnsd.cluster import selector
from dnsd.cluster.index import pack_address
from dnsd.cluster.schema import Pods, Settings, is_reverse
from dnsd.cluster.store import SourceSettings
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word
from dnsd.resolve.plugin import Context
from dnsd.wire import name as names
from dnsd.wire.name import Name

MAX_TTL = 3600
"""Seconds."""

IGNORED = ("apiserver_qps", "apiserver_burst", "apiserver_max_inflight")
"""Options that are read and checked, and have nothing to limit: dnsd asks the API server a handful of requests."""


@dataclass(frozen=True, slots=True)
class Stanza:
    """A `kubernetes` stanza as read."""

    schema: Settings
    source: SourceSettings
    multicluster: tuple[Name, ...] = ()
    """The zones that are those of a set of clusters, and not of this one."""
    fallthrough: tuple[Name, ...] = ()
    startup_timeout: float = 5.0
    """Seconds that the server waits for the first sync before it opens its sockets."""


def read(directives: Sequence[Directive], context: Context) -> Stanza:
    """The stanza of a server block.

    Raises:
        CorefileError: an unknown option, a wrong value, or a second stanza.
    """
    if len(directives) > 1:
        raise CorefileError(directives[1].name.position, "'kubernetes' can be used once in a server block")
    return _Reader(directives[0], context).read()


class _Reader:
    def __init__(self, directive: Directive, context: Context) -> None:
        self.directive = directive
        self.context = context
        zones = words.zones(directive.arguments) if directive.arguments else ()
        self.zones = tuple(names.from_text(zone) for zone in zones) or context.zones
        if all(is_reverse(zone) for zone in self.zones):
            raise CorefileError(
                directive.name.position, "'kubernetes' needs a zone that is no reverse zone", "such as cluster.local"
            )
        self.schema = Settings(self.zones, local_addresses=_local_addresses(context))
        self.source = SourceSettings(manifests=context.clusters.manifests)
        self.multicluster: tuple[Name, ...] = ()
        self.fallthrough: tuple[Name, ...] = ()
        self.startup_timeout = 5.0
        self.places: dict[str, Word] = {}

    def read(self) -> Stanza:
        known = [name.removeprefix("_option_") for name in dir(self) if name.startswith("_option_")]
        for option in self.directive.options:
            name = option.name.text
            if name in IGNORED:
                self._rate(option)
                continue
            handler = getattr(self, f"_option_{name}", None)
            if handler is None:
                raise words.unknown_option(option, [*known, *IGNORED])
            words.no_options(option)
            self.places[name] = option.name
            handler(option)
        self._check()
        source = replace(
            self.source,
            endpoints=self.schema.endpoints,
            pods=self.schema.pods is Pods.VERIFIED,
            pod_names=self.schema.endpoint_pod_names,
        )
        return Stanza(self.schema, source, self.multicluster, self.fallthrough, self.startup_timeout)

    def _check(self) -> None:
        for first, second, why in (
            ("namespaces", "namespace_labels", "use one of them"),
            ("zonal", "noendpoints", "zonal names are made of endpoints"),
            ("manifests", "endpoint", "a cluster has one source"),
            ("manifests", "kubeconfig", "a cluster has one source"),
        ):
            if first in self.places and second in self.places:
                position = max(self.places[first].position, self.places[second].position, key=lambda at: at.line)
                raise CorefileError(position, f"'{first}' and '{second}' exclude each other", why)
        if "tls" in self.places and "endpoint" not in self.places:
            raise CorefileError(self.places["tls"].position, "'tls' goes with 'endpoint'")

    def _rate(self, option: Option) -> None:
        words.number(words.arguments(option, 1, 1)[0], 0)

    def _option_manifests(self, option: Option) -> None:
        paths = words.arguments(option, 1)
        folder = Path(self.context.directory)
        self.source = replace(self.source, manifests=tuple(str(folder / path.text) for path in paths))

    def _option_endpoint(self, option: Option) -> None:
        self.source = replace(self.source, endpoint=words.arguments(option, 1)[0].text, manifests=())

    def _option_tls(self, option: Option) -> None:
        certificate, key, authority = (word.text for word in words.arguments(option, 3, 3))
        self.source = replace(self.source, tls=(certificate, key, authority))

    def _option_kubeconfig(self, option: Option) -> None:
        file, *context = (word.text for word in words.arguments(option, 1, 2))
        path = str(Path(self.context.directory) / file)
        self.source = replace(self.source, kubeconfig=path, context="".join(context), manifests=())

    def _option_namespaces(self, option: Option) -> None:
        listed = frozenset(word.text.lower() for word in words.arguments(option, 1))
        self.schema = replace(self.schema, namespaces=self.schema.namespaces | listed)

    def _option_namespace_labels(self, option: Option) -> None:
        self.source = replace(self.source, namespace_labels=_selector(option))

    def _option_labels(self, option: Option) -> None:
        self.source = replace(self.source, labels=_selector(option))

    def _option_pods(self, option: Option) -> None:
        mode = words.choice(words.arguments(option, 1, 1)[0], *(pods.value for pods in Pods))
        self.schema = replace(self.schema, pods=Pods(mode))

    def _option_endpoint_pod_names(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self.schema = replace(self.schema, endpoint_pod_names=True)

    def _option_ttl(self, option: Option) -> None:
        ttl = words.integer(words.arguments(option, 1, 1)[0], 0, MAX_TTL)
        self.schema = replace(self.schema, ttl=ttl)

    def _option_noendpoints(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self.schema = replace(self.schema, endpoints=False)

    def _option_fallthrough(self, option: Option) -> None:
        zones = words.zones(option.arguments)
        self.fallthrough = tuple(names.from_text(zone) for zone in zones) or (names.ROOT,)

    def _option_ignore(self, option: Option) -> None:
        words.choice(words.arguments(option, 1, 1)[0], "empty_service")
        self.schema = replace(self.schema, ignore_empty_service=True)

    def _option_zonal(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self.schema = replace(self.schema, zonal=True)

    def _option_multicluster(self, option: Option) -> None:
        for word in words.arguments(option, 1):
            zone = names.from_text(words.zone(word))
            if zone not in self.zones:
                raise CorefileError(word.position, f"'{word.text}' is not among the zones of 'kubernetes'")
            self.multicluster += (zone,)

    def _option_startup_timeout(self, option: Option) -> None:
        self.startup_timeout = words.duration(words.arguments(option, 1, 1)[0])


def _selector(option: Option) -> str:
    arguments = words.arguments(option, 1)
    text = " ".join(word.text for word in arguments)
    try:
        selector.parse(text)
    except selector.BadSelector as error:
        raise CorefileError(arguments[0].position, str(error), "such as app=web,tier in (a, b)") from error
    return text


def _local_addresses(context: Context) -> tuple[bytes, ...]:
    """Packed addresses at which this server can be reached from other hosts."""
    listen = context.listen or [text for texts in context.interfaces().values() for text in texts]
    packed = (pack_address(text.partition("%")[0]) for text in listen)
    return tuple(address for address in packed if address is not None and not _loopback(address))


def _loopback(packed: bytes) -> bool:
    return packed[0] == 127 if len(packed) == 4 else packed == bytes(15) + b"\1"
