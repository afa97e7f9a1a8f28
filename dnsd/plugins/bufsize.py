"""The plugin `bufsize`: replies over UDP, and queries to upstreams, that need no IP fragments. RFC 9715."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from msgspec.structs import replace

from dnsd.corefile import read as words
from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import once
from dnsd.resolve.answer import Answer
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes, reply

DEFAULT_OCTETS = 1232
"""What fits the smallest IPv6 packet that every link carries, less IPv6 and UDP headers (DNS flag day 2020)."""
MIN_OCTETS = 512
MAX_OCTETS = 4096


class Bufsize(Plugin):
    """Lowers the payload size that a client announces. Who announces none, or less, is not affected."""

    name = "bufsize"

    def __init__(self, octets: int) -> None:
        self.octets = octets

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin, without the records that do not fit."""
        edns = query.edns
        if edns is None or edns.size <= self.octets:
            return await next_(query)
        lowered = replace(query, edns=replace(edns, size=self.octets))
        answer = await next_(lowered)
        return answer if query.tcp else self._cut(query, answer)

    def _cut(self, query: Query, answer: Answer) -> Answer:
        """What the server would send to a client that takes this many octets."""
        edns = query.message.edns
        if edns is None or answer.silent:
            return answer
        message = replace(query.message, edns=replace(edns, size=self.octets))
        head = reply.write(message, answer.sections(), tcp=False).head
        flags, _, answers, authorities, additionals = struct.unpack("!5H", head)
        if not flags & codes.TC:
            return answer
        return replace(
            answer,
            flags=answer.flags | codes.TC,
            answer=answer.answer[:answers],
            authority=answer.authority[:authorities],
            additional=answer.additional[: additionals - 1],  # OPT is counted, and the server adds it
        )


def setup(directives: Sequence[Directive], context: Context) -> Bufsize:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive: 512 to 4096 octets, or 1232."""
    directive = once(directives)
    words.no_options(directive)
    octets = DEFAULT_OCTETS
    for word in words.arguments(directive, 0, 1):
        octets = words.integer(word, MIN_OCTETS, MAX_OCTETS)
    return Bufsize(octets)
