"""The directive `timeouts`: how long the server waits for clients over TCP."""

from __future__ import annotations

from collections.abc import Sequence

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option
from dnsd.plugins.directive import once
from dnsd.resolve.plugin import Context

MIN_SECONDS = 1.0
MAX_SECONDS = 86_400.0
"""A day: a connection that was forgotten must end some time."""
UNLIMITED = "-1"
"""Of `maxtcpqueries`: any number, as without it."""

name = "timeouts"


def setup(directives: Sequence[Directive], context: Context) -> None:
    """Note the times; there is nothing to do for a query."""
    directive = once(directives)
    words.arguments(directive, 0, 0)
    if not directive.options:
        raise CorefileError(directive.name.position, "'timeouts' says what to change in braces", "such as idle 30s")
    server = context.server
    for option in directive.options:
        match option.name.text:
            case "read":
                server.read_timeout = _seconds(option)
            case "write":
                server.write_timeout = _seconds(option)
            case "idle":
                server.idle_timeout = _seconds(option)
            case "maxtcpqueries":
                server.max_tcp_queries = _queries(option)
            case _:
                raise words.unknown_option(option, ["read", "write", "idle", "maxtcpqueries"])


def _seconds(option: Option) -> float:
    words.no_options(option)
    (word,) = words.arguments(option, 1, 1)
    seconds = words.duration_or_seconds(word)
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise CorefileError(word.position, f"'{word.text}' is out of range", "from 1s to 24h")
    return seconds


def _queries(option: Option) -> int | None:
    words.no_options(option)
    (word,) = words.arguments(option, 1, 1)
    return None if word.text == UNLIMITED else words.integer(word, 1)
