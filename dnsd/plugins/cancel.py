"""The plugin `cancel`: gives up on queries that take longer than clients wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive
from dnsd.plugins.directive import once
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query

DEFAULT_SECONDS = 5.001
"""Just after stub resolvers stop waiting, which they do after 5 seconds."""


class TookTooLong(Failure):
    """Nobody answered in time."""


class Cancel(Plugin):
    """Ends whatever is done for a query after some seconds, and lets the server say SERVFAIL."""

    name = "cancel"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin, if it comes in time."""
        limit = asyncio.timeout(self.seconds)
        try:
            async with limit:
                return await next_(query)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TookTooLong(f"no answer within {self.seconds:g} s") from error


def setup(directives: Sequence[Directive], context: Context) -> Cancel:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive: a duration above zero, or none."""
    directive = once(directives)
    words.no_options(directive)
    seconds = DEFAULT_SECONDS
    for word in words.arguments(directive, 0, 1):
        seconds = words.duration(word)
        if not seconds:
            raise CorefileError(word.position, "no query can be answered in no time", "such as 1s")
    return Cancel(seconds)
