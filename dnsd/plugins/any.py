"""The plugin `any`: one small record for queries of type ANY. RFC 8482 section 4.2."""

from __future__ import annotations

from collections.abc import Sequence

from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import bare
from dnsd.resolve.answer import ALWAYS, Answer, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Type
from dnsd.wire.records import record, strings

TTL = 8482
"""Seconds: long, because the answer is the same for ever."""


class Any(Plugin):
    """Answers ANY with HINFO, whatever the name, and passes the rest on."""

    name = "any"

    async def answer(self, query: Query, next_: Next) -> Answer:
        """HINFO where the type is ANY."""
        if query.type != Type.ANY:
            return await next_(query)
        hinfo = record(query.name, Type.HINFO, TTL, strings(b"ANY obsoleted", b"See RFC 8482"))
        return Answer(answer=(hinfo,), validity=ALWAYS, reason=Reason("ANY is answered with HINFO (RFC 8482)"))


def setup(directives: Sequence[Directive], context: Context) -> Any:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    bare(directives)
    return Any()
