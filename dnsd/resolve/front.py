"""The front door of a listener: which server block answers a query. spec.md section 1.2."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from dnsd.resolve.answer import Answer, BadVersion, Failure, NoPlugin, NotServed, Refused
from dnsd.resolve.plugin import Next, Plugin, ServerOptions, chain
from dnsd.resolve.query import Query
from dnsd.wire.codes import Class, Rcode, Type, class_text
from dnsd.wire.name import Name, to_text

log = logging.getLogger("dnsd")

ANY_CLASS_PLUGINS = frozenset({"chaos", "forward"})
"""Plugins that look at classes other than IN; a listener without them refuses those."""
BEFORE_METRICS = frozenset({"cancel", "nsid", "bufsize", "debug", "health", "ready", "prometheus"})
"""Plugins that come before metrics are taken, and metrics themselves."""


async def end_of_chain(query: Query) -> Answer:
    """Nobody answered."""
    raise NoPlugin(f"no plugin answers for {to_text(query.name)}")


@dataclass(slots=True)
class Block:
    """A server block at work, for one of its zones."""

    zone: Name
    plugins: tuple[Plugin, ...]
    handler: Next = field(init=False)
    zone_text: str = field(init=False)
    writer: str = field(init=False)
    """The plugin that metrics say wrote a reply: the one right behind `prometheus` (spec.md section 7.1)."""
    counted: bool = field(init=False)
    """Whether metrics are taken of its queries: where the block has `prometheus`."""

    def __post_init__(self) -> None:
        self.handler = chain(self.plugins, end_of_chain)
        self.zone_text = to_text(self.zone)
        self.counted = any(plugin.name == "prometheus" for plugin in self.plugins)
        names = [plugin.name for plugin in self.plugins if plugin.name not in BEFORE_METRICS]
        self.writer = names[0] if names else ""


class Front:
    """Routes queries of one listener to the server block with the longest zone, by labels."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self.blocks: dict[Name, Block] = {}
        self.any_class = False
        self.options = ServerOptions()
        """What the server blocks say of connections to this listener."""
        self.panics = 0
        """Queries that a plugin failed on in a way that nobody foresaw."""
        for block in blocks:
            self.add(block)

    def add(self, block: Block) -> None:
        """Serve one more zone."""
        self.blocks[block.zone] = block
        self.any_class |= any(plugin.name in ANY_CLASS_PLUGINS for plugin in block.plugins)

    def block_for(self, name: Name, type_: int) -> Block | None:
        """The block with the longest zone that `name` is under; for DS rather the parent's (RFC 4035, 3.1.4.1)."""
        found = None
        for i in range(len(name) + 1):
            block = self.blocks.get(name[i:])
            if block is None:
                continue
            if type_ != Type.DS or i > 0:
                return block
            found = block
        return found

    async def resolve(self, query: Query) -> Answer:
        """The answer to `query`; never raises but when cancelled."""
        try:
            return await self._block(query).handler(query)
        except Failure as failure:
            return failure.answer()
        except Exception:  # a plugin that fails must cost one query and no more
            self.panics += 1
            log.exception("panic while answering %s", to_text(query.name))
            return Answer(rcode=Rcode.SERVFAIL, written=False)

    def _block(self, query: Query) -> Block:
        """The block that has to answer.

        Raises:
            Failure: none does, or the query asks for what no block gives.
        """
        if query.question.class_ != Class.IN and not self.any_class:
            raise NotServed(f"class {class_text(query.question.class_)} is not served")
        if query.edns is not None and query.edns.version:
            raise BadVersion("EDNS version 0 only")
        block = self.block_for(query.name, query.type)
        if block is None or not block.plugins:
            raise NotServed(f"{to_text(query.name)} is in no zone of this server")
        if query.type in (Type.AXFR, Type.IXFR) and not any(plugin.name == "transfer" for plugin in block.plugins):
            raise Refused("zone transfers are not allowed")
        return block
