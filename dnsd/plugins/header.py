"""The plugin `header`: sets and clears flags of the header, in queries on their way in and in replies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option
from dnsd.plugins.directive import once
from dnsd.resolve.answer import Answer
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes

log = logging.getLogger("dnsd.plugin.header")

FLAGS = {"aa": codes.AA, "ra": codes.RA, "rd": codes.RD}


@dataclass(slots=True)
class Change:
    """Bits to be set and bits to be cleared; none is in both."""

    set_: int = 0
    clear: int = 0

    def then(self, action: str, flags: int) -> None:
        """Add what a later line says, which overrides an earlier one."""
        if action == "set":
            self.set_, self.clear = self.set_ | flags, self.clear & ~flags
        else:
            self.set_, self.clear = self.set_ & ~flags, self.clear | flags

    def apply(self, flags: int) -> int:
        """The flags, changed."""
        return flags & ~self.clear | self.set_


class Header(Plugin):
    """Changes flags. A reply's RD is the query's, as RFC 1035 section 4.1.1 has it, and stays so."""

    name = "header"

    def __init__(self, query: Change, response: Change) -> None:
        self.query = query
        self.response = response

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin to the query with its flags changed, with its own flags changed."""
        message = query.message
        flags = self.query.apply(message.flags)
        if flags != message.flags:
            query = replace(query, message=replace(message, flags=flags))
        answer = await next_(query)
        return replace(answer, flags=self.response.apply(answer.flags))


def setup(directives: Sequence[Directive], context: Context) -> Header:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    directive = once(directives)
    words.arguments(directive, 0, 0)
    if not directive.options:
        raise CorefileError(
            directive.name.position, "'header' says what to change in braces", "such as response set ra"
        )
    changes = {"query": Change(), "response": Change()}
    for option in directive.options:
        _read(option, changes)
    return Header(changes["query"], changes["response"])


def _read(option: Option, changes: dict[str, Change]) -> None:
    """`[query|response] set|clear FLAG...`; without the first word it is about responses."""
    words.no_options(option)
    line = [option.name, *option.arguments]
    selector = "response"
    if line[0].text.lower() in changes:
        selector = line.pop(0).text.lower()
    if len(line) < 2:
        raise CorefileError(
            option.name.position, "'set' or 'clear' and at least one flag are missing", "such as set ra"
        )
    action = line[0].text.lower()
    if action not in ("set", "clear"):
        raise CorefileError(
            line[0].position, f"'{line[0].text}' is not known here", "one of query, response, set, clear"
        )
    for word in line[1:]:
        flag = FLAGS.get(word.text.lower())
        if flag is None:
            raise CorefileError(word.position, f"'{word.text}' is no flag that can be changed", "one of aa, ra, rd")
        if selector == "response" and flag == codes.RD:
            log.warning("%s: a reply has the query's rd (RFC 1035 section 4.1.1): no effect", word.position)
        else:
            changes[selector].then(action, flag)
