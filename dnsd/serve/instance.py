"""A configuration at work: plugins built from a Corefile, and the front of each listener that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dnsd.corefile.syntax import CorefileError, ServerBlock
from dnsd.plugins.build import Built, Host, build, check_overlap, port_of
from dnsd.resolve.answer import Answer
from dnsd.resolve.front import Block, Front
from dnsd.resolve.plugin import Plugin
from dnsd.resolve.query import Query
from dnsd.wire import name as names


class Address(NamedTuple):
    """Where a listener listens."""

    scheme: str
    host: str
    """Text of an IP address; empty for all addresses of this host."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(slots=True)
class Instance:
    """Fronts by address, and the plugins behind them. Built and checked before anything of it runs."""

    blocks: tuple[Built, ...]
    fronts: dict[Address, Front] = field(default_factory=dict)

    @property
    def plugins(self) -> list[Plugin]:
        """Every plugin of every block."""
        return [plugin for built in self.blocks for plugin in built.plugins]

    @property
    def banner(self) -> list[str]:
        """`zone:port` of each zone, as the reference prints them at its start."""
        return [
            f"{block.zone_text}:{address.port}"
            for address, front in self.fronts.items()
            for block in front.blocks.values()
        ]

    async def start(self) -> None:
        """Let the plugins begin what runs beside the queries."""
        for plugin in self.plugins:
            await plugin.start()

    async def stop(self) -> None:
        """Let the plugins end it, last first."""
        for plugin in reversed(self.plugins):
            await plugin.stop()

    @property
    def unready(self) -> list[str]:
        """The plugins that cannot do their job yet."""
        return [plugin.name for plugin in self.plugins if not plugin.ready]


SERVED_SCHEMES = frozenset({"dns", "tls"})
"""Transports that have a listener."""


def make_instance(blocks: Sequence[ServerBlock], host: Host) -> Instance:
    """Build every server block.

    Raises:
        CorefileError: the configuration cannot be used.
    """
    built: list[Built] = []
    instance = Instance(())
    for block in blocks:
        for key in block.keys:
            if key.scheme not in SERVED_SCHEMES:
                raise CorefileError(key.position, f"scheme '{key.scheme}' is not served", "use dns:// or tls://")
        door = _Door()
        item = build(block, host, door.resolve)
        built.append(item)
        addresses = item.listen or ("",)
        for key in block.keys:
            port = port_of(key.scheme, key.port, host)
            for address in addresses:
                front = instance.fronts.setdefault(Address(key.scheme, address, port), Front())
                front.add(Block(names.from_text(key.zone), item.plugins))
                front.options.adopt(item.context.server)
                if key.scheme == "tls" and front.options.tls is None:
                    raise CorefileError(key.position, "scheme 'tls' needs a certificate", "add 'tls CERT KEY'")
                door.front = door.front or front
    check_overlap(built, host)
    instance.blocks = tuple(built)
    return instance


@dataclass(slots=True)
class _Door:
    """The front door of a block: its first listener, which exists only once the block's plugins do."""

    front: Front | None = None

    async def resolve(self, query: Query) -> Answer:
        assert self.front is not None  # noqa: S101  a query comes from a listener
        return await self.front.resolve(query)
