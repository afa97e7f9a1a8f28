"""The plugin `nsid`: tells clients that ask for it which server answered. RFC 5001."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from msgspec.structs import replace

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive
from dnsd.plugins.directive import once
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Option
from dnsd.wire.query import option

MAX_OCTETS = 128
"""Of the identifier: it goes into every reply that asks for it, and must not be what makes one too long."""


class Nsid(Plugin):
    """Adds the identifier to replies to queries that carry the option NSID, errors among them."""

    name = "nsid"

    def __init__(self, identifier: bytes) -> None:
        self.identifier = identifier

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin, with the identifier where it was asked for."""
        if option(query.message.edns, Option.NSID) is None:
            return await next_(query)
        try:
            answer = await next_(query)
        except Failure as failure:
            answer = failure.answer()
        return replace(answer, options=(*answer.options, (Option.NSID, self.identifier)))


def setup(directives: Sequence[Directive], context: Context) -> Nsid:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive: words separated by one blank, or the host's name."""
    directive = once(directives)
    words.no_options(directive)
    text = " ".join(word.text for word in directive.arguments) or socket.gethostname()
    identifier = text.encode()
    if len(identifier) > MAX_OCTETS:
        raise CorefileError(
            directive.arguments[0].position, f"identifier of {len(identifier)} octets", f"at most {MAX_OCTETS}"
        )
    return Nsid(identifier)
