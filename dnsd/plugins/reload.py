"""The directive `reload`: how often the Corefile is looked at. The looking is dnsd.serve's. spec.md section 6."""

from __future__ import annotations

from collections.abc import Sequence

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Word
from dnsd.plugins.directive import once
from dnsd.resolve.plugin import Context

name = "reload"

INTERVAL, JITTER = 30.0, 15.0
"""Seconds, where the directive does not say."""
MIN_INTERVAL, MIN_JITTER = 2.0, 1.0
"""Seconds. A jitter of 0 is allowed too: it says that there is to be none."""


def setup(directives: Sequence[Directive], context: Context) -> None:
    """Note the times; there is nothing to do for a query."""
    directive = once(directives)
    words.no_options(directive)
    given = words.arguments(directive, 0, 2)
    interval = _seconds(given[0], MIN_INTERVAL) if given else INTERVAL
    jitter = _seconds(given[1], MIN_JITTER, or_zero=True) if len(given) == 2 else JITTER
    context.server.reload = (interval, min(jitter, interval / 2))


def _seconds(word: Word, minimum: float, *, or_zero: bool = False) -> float:
    seconds = words.duration(word)
    if seconds < minimum and not (or_zero and seconds == 0):
        raise CorefileError(word.position, f"'{word.text}' is too short", f"{minimum:g}s or more")
    return seconds
