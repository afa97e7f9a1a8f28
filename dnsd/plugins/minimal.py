"""The plugin `minimal`: no more records than were asked for, in answers that have data."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import bare
from dnsd.resolve.answer import Answer
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Rcode, Type


class Minimal(Plugin):
    """Leaves out authority and additional where the answer section has records.

    Negative answers, referrals and errors need their authority section, and zone transfers are one answer in parts.
    """

    name = "minimal"

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin, with less in it."""
        answer = await next_(query)
        if answer.rcode != Rcode.NOERROR or not answer.answer or query.type in (Type.AXFR, Type.IXFR):
            return answer
        return replace(answer, authority=(), additional=())


def setup(directives: Sequence[Directive], context: Context) -> Minimal:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    bare(directives)
    return Minimal()
