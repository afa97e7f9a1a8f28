"""The plugin `errors`: logs why queries failed. spec.md section 6."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dnsd.corefile import read as words
from dnsd.corefile.syntax import Directive, Option
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import type_text
from dnsd.wire.name import to_text

log = logging.getLogger("dnsd.plugin.errors")

LEVELS = {"warning": logging.WARNING, "error": logging.ERROR, "info": logging.INFO, "debug": logging.DEBUG}


@dataclass(slots=True)
class Consolidation:
    """Errors like `pattern` are counted for `seconds`, and told in one line then."""

    pattern: re.Pattern[str]
    seconds: float
    level: int = logging.ERROR
    show_first: bool = False
    count: int = 0
    since: float = 0.0

    def flush(self) -> None:
        """Log what was counted."""
        if self.count:
            log.log(
                self.level,
                "%d errors like '%s' occurred in last %gs",
                self.count,
                self.pattern.pattern,
                self.seconds,
            )
        self.count = 0

    def take(self, text: str, now: float) -> bool:
        """Whether the error is one of these, and so counted and not to be logged by itself."""
        if self.count and now >= self.since + self.seconds:
            self.flush()
        if not self.pattern.search(text):
            return False
        if not self.count:
            self.since = now
            self.count = 1
            return not self.show_first
        self.count += 1
        return True


class Errors(Plugin):
    """Logs each failure as `<rcode> <name> <TYPE>: <why>`, and lets it go on to the server."""

    name = "errors"

    def __init__(self, consolidations: Sequence[Consolidation], context: Context) -> None:
        self._consolidations = consolidations
        self._clock = context.clock

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Log what fails behind this plugin."""
        try:
            return await next_(query)
        except Failure as failure:
            self._log(query, failure)
            raise

    async def stop(self) -> None:
        """Tell what is still being counted."""
        for consolidation in self._consolidations:
            consolidation.flush()

    def _log(self, query: Query, failure: Failure) -> None:
        now = self._clock()
        for consolidation in self._consolidations:
            if consolidation.take(failure.text, now):
                return
        log.error("%d %s %s: %s", failure.rcode, to_text(query.name), type_text(query.type), failure.text)


def setup(directives: Sequence[Directive], context: Context) -> Errors:
    """The plugin, from its directives."""
    consolidations = []
    for directive in directives:
        words.arguments(directive, 0, 0)
        for option in directive.options:
            match option.name.text:
                case "consolidate":
                    consolidations.append(_consolidation(option))
                case "stacktrace":  # a panic's trace is always logged
                    words.arguments(option, 0, 0)
                case _:
                    raise words.unknown_option(option, ["consolidate", "stacktrace"])
    return Errors(consolidations, context)


def _consolidation(option: Option) -> Consolidation:
    seconds, pattern, *rest = words.arguments(option, 2, 4)
    level, show_first = logging.ERROR, False
    for word in rest:
        if words.choice(word, *LEVELS, "show_first") == "show_first":
            show_first = True
        else:
            level = LEVELS[word.text]
    return Consolidation(words.regex(pattern), words.duration(seconds), level, show_first)
