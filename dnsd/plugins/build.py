"""From the server blocks of a Corefile to plugins: which there are, and in which order they see a query."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from dnsd.cluster.store import Clusters
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, ServerBlock
from dnsd.corefile.zones import DEFAULT_PORTS
from dnsd.resolve.plugin import Context, Next, Plugin, Setup
from dnsd.wire import name as names
from dnsd.wire.name import Name

ORDER = (
    "cancel",
    "timeouts",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "debug",
    "ready",
    "health",
    "prometheus",
    "errors",
    "log",
    "local",
    "dns64",
    "any",
    "chaos",
    "loadbalance",
    "rewrite",
    "autopath",
    "acl",
    "cache",
    "header",
    "tls",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "k8s_external",
    "kubernetes",
    "file",
    "loop",
    "forward",
    "whoami",
)
"""The plugins that ship, in the order in which a query meets them, whatever the Corefile's (spec.md section 5.2)."""

ENTRY_POINTS = "dnsd.plugins"
"""The group of entry points under which installed packages name further plugins: `directive = "package.module"`."""
THIRD_PARTY_BEFORE = "hosts"
"""Where plugins of others stand: behind what every answer goes through, before what answers."""


class _Module(Protocol):
    setup: Setup


@dataclass(frozen=True, slots=True)
class Host:
    """What the process gives to every configuration."""

    directory: str
    """Folder of the Corefile."""
    clusters: Clusters
    clock: Callable[[], float]
    interfaces: Callable[[], Mapping[str, Sequence[str]]]
    dns_port: int = 53
    """For keys without a port."""


@dataclass(slots=True)
class Built:
    """One server block, ready to be put behind its listeners."""

    block: ServerBlock
    zones: tuple[Name, ...]
    listen: tuple[str, ...]
    """Addresses; empty for all."""
    plugins: tuple[Plugin, ...]
    context: Context


def plugin_names() -> tuple[str, ...]:
    """Every directive that is understood here, in order."""
    own = [entry.name for entry in entry_points(group=ENTRY_POINTS) if entry.name not in ORDER]
    at = ORDER.index(THIRD_PARTY_BEFORE)
    return (*ORDER[:at], *sorted(own), *ORDER[at:])


def _module(name: str) -> _Module:
    if name in ORDER:
        module: _Module = importlib.import_module(f"dnsd.plugins.{name}")
        return module
    (entry,) = entry_points(group=ENTRY_POINTS, name=name)
    loaded: _Module = entry.load()
    return loaded


def build(block: ServerBlock, host: Host, resolve: Next) -> Built:
    """The plugins of one server block.

    Raises:
        CorefileError: a directive is unknown, or one of them says something that it does not understand.
    """
    zones = tuple(sorted((names.from_text(key.zone) for key in block.keys), key=len, reverse=True))
    context = Context(
        zones=zones,
        directory=host.directory,
        clusters=host.clusters,
        clock=host.clock,
        resolve=resolve,
        interfaces=host.interfaces,
        changed=host.clusters.changed,
        ports={names.from_text(key.zone): port_of("dns", key.port, host) for key in block.keys if key.scheme == "dns"},
    )
    known = plugin_names()
    by_name: dict[str, list[Directive]] = {}
    for directive in block.directives:
        if directive.name.text not in known:
            raise words.unknown_directive(directive, known)
        by_name.setdefault(directive.name.text, []).append(directive)
    for name in known:
        if name in by_name:
            plugin = _module(name).setup(by_name[name], context)
            if plugin is not None:
                context.plugins[name] = plugin
    for hook in context.on_ready:
        hook()
    return Built(block, zones, tuple(dict.fromkeys(context.listen)), tuple(context.plugins.values()), context)


def check_overlap(built: Iterable[Built], host: Host) -> None:
    """Refuse two blocks for the same zone on the same address and port, or bound and unbound ones on one port.

    Raises:
        CorefileError: at the second of two keys that clash.
    """
    taken: dict[tuple[str, str, int], set[str]] = {}
    for item in built:
        for key in item.block.keys:
            port = port_of(key.scheme, key.port, host)
            for address in item.listen or ("",):
                others = taken.setdefault((key.scheme, key.zone, port), set())
                if address in others or (others and ("" in others or not address)):
                    raise CorefileError(
                        key.position, f"'{key.zone}' is already served on port {port}", "use another port or 'bind'"
                    )
                others.add(address)


def port_of(scheme: str, port: int | None, host: Host) -> int:
    """The port that a key means."""
    if port is not None:
        return port
    return host.dns_port if scheme == "dns" else DEFAULT_PORTS[scheme]
