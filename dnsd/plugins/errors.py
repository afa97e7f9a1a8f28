"""The plugin `errors`: logs why queries failed. spec.md section 6."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option
from dnsd.plugins.directive import once
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import type_text
from dnsd.wire.name import to_text

log = logging.getLogger("dnsd.plugin.errors")

LEVELS = {"warning": logging.WARNING, "error": logging.ERROR, "info": logging.INFO, "debug": logging.DEBUG}
MAX_PATTERN = 10_000
"""Characters of a `consolidate` expression; the reference's limit."""


class Timer(Protocol):
    """What runs later, unless it is cancelled."""

    def cancel(self) -> None:
        """Let it not run."""


Later = Callable[[float, Callable[[], None]], Timer]
"""Runs something after so many seconds."""


def on_loop(seconds: float, then: Callable[[], None]) -> Timer:
    """Run `then` on the running event loop after `seconds`."""
    return asyncio.get_running_loop().call_later(seconds, then)


@dataclass(slots=True)
class Consolidation:
    """Errors like `pattern` are counted for `seconds` from the first one on, and told in one line then."""

    text: str
    """The expression as the Corefile has it."""
    pattern: re.Pattern[str]
    seconds: float
    level: int = logging.ERROR
    show_first: bool = False
    """Whether the first error is logged as it happens; the line of the count is then for two and more."""
    count: int = 0
    timer: Timer | None = None

    def take(self, line: str, later: Later) -> None:
        """Count an error, whose own line would be `line`."""
        self.count += 1
        if self.count > 1:
            return
        self.timer = later(self.seconds, self.flush)
        if self.show_first:
            log.log(self.level, "%s", line)

    def flush(self) -> None:
        """Tell what was counted, and start anew."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        count, self.count = self.count, 0
        if count > (1 if self.show_first else 0):
            last = duration_text(self.seconds)
            log.log(self.level, "%d errors like '%s' occurred in last %s", count, self.text, last)


class Errors(Plugin):
    """Logs each failure as `<rcode> <name> <TYPE>: <why>`, and lets it go on to the server."""

    name = "errors"

    def __init__(self, consolidations: Sequence[Consolidation] = (), later: Later = on_loop) -> None:
        self._consolidations = consolidations
        self._later = later

    def passes(self, name: bytes) -> bool:  # noqa: ARG002  a failure is logged in the chain
        """Only failures matter here."""
        return True

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
        line = f"{int(failure.rcode)} {to_text(query.name)} {type_text(query.type)}: {failure.text}"
        for consolidation in self._consolidations:
            if consolidation.pattern.search(failure.text):
                consolidation.take(line, self._later)
                return
        log.error("%s", line)


def duration_text(seconds: float) -> str:
    """A duration as Go writes it, and so the reference: `1h30m0s`, `2.5s`, `300ms`."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if nanoseconds >= size:
                return f"{nanoseconds / size:.9g}{unit}"
        return "0s"
    minutes, rest = divmod(nanoseconds, 60 * 1_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 1_000_000_000}.{rest % 1_000_000_000:09d}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def setup(directives: Sequence[Directive], context: Context) -> Errors:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    directive = once(directives)
    for word in words.arguments(directive, 0, 1):
        words.choice(word, "stdout")
    consolidations = []
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "consolidate":
                consolidations.append(_consolidation(option))
            case "stacktrace":  # the trace of what nobody foresaw is always logged
                words.arguments(option, 0, 0)
            case _:
                raise words.unknown_option(option, ["consolidate", "stacktrace"])
    return Errors(consolidations)


def _consolidation(option: Option) -> Consolidation:
    seconds, pattern, *rest = words.arguments(option, 2, 4)
    if len(pattern.text) > MAX_PATTERN:
        raise CorefileError(pattern.position, f"an expression of more than {MAX_PATTERN} characters")
    level, show_first = logging.ERROR, False
    for word in rest:
        if words.choice(word, *LEVELS, "show_first") == "show_first":
            show_first = True
        else:
            level = LEVELS[word.text]
    return Consolidation(pattern.text, words.regex(pattern), words.duration(seconds), level, show_first)
