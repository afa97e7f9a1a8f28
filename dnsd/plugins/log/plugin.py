"""Which queries are logged, and how: reads the directive `log`, and stands in the chain where they pass."""

from __future__ import annotations

import enum
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from dnsd.corefile import read as words
from dnsd.corefile.syntax import Directive, Word
from dnsd.plugins.log.format import COMMON, Exchange, Template, fields
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import name as names
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.name import ROOT, Name

log = logging.getLogger("dnsd.query")
"""Its lines carry no plugin's name, as in the reference."""

JSON = "json"
"""The word that stands for a format: one JSON object a line."""


class Class(enum.Enum):
    """What kind of answer a query got (spec.md section 7.2)."""

    SUCCESS = "success"
    """NOERROR with data, or a referral."""
    DENIAL = "denial"
    """The name does not exist, or has no data of the type."""
    ERROR = "error"
    """Everything else, silence included."""


EVERY_CLASS = frozenset(Class)


def classify(query: Query, answer: Answer) -> Class:
    """The class of an answer."""
    if answer.silent or query.type in (Type.AXFR, Type.IXFR):
        return Class.ERROR
    if answer.rcode == Rcode.NXDOMAIN:
        return Class.DENIAL
    if answer.rcode != Rcode.NOERROR:
        return Class.ERROR
    if answer.answer:
        return Class.SUCCESS
    types = {record.rtype for record in answer.authority}
    return Class.SUCCESS if Type.NS in types and Type.SOA not in types else Class.DENIAL


Line = Callable[[Exchange], None]
"""Writes one line."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Queries for names under `zone` are logged if their answer is of one of `classes`, or was slow."""

    zone: Name
    write: Line
    classes: frozenset[Class] = EVERY_CLASS
    slow: float | None = None
    """Seconds from which on an answer of any class is logged."""

    def wants(self, exchange: Exchange) -> bool:
        """Whether this query is to be logged."""
        if self.slow is not None and exchange.seconds >= self.slow:
            return True
        return self.classes == EVERY_CLASS or classify(exchange.query, exchange.answer) in self.classes


class QueryLog(Plugin):
    """Logs queries by the first rule that is for their name.

    An answer that was logged is not kept by the server, because the next query for it has to be logged too; one that
    was not logged may be kept: it is of a class that nobody wants to see.
    """

    name = "log"

    def __init__(self, rules: Sequence[Rule], clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Log the query once its answer is known."""
        rule = next((rule for rule in self._rules if names.is_under(query.name, rule.zone)), None)
        if rule is None:
            return await next_(query)
        began = self._clock()
        try:
            answer = await next_(query)
        except Exception as error:
            given = error.answer() if isinstance(error, Failure) else Answer(Rcode.SERVFAIL)
            self._look(rule, Exchange(query, given, self._clock() - began))
            raise
        if self._look(rule, Exchange(query, answer, self._clock() - began)):
            return replace(answer, validity=replace(answer.validity, keep=False))
        return answer

    @staticmethod
    def _look(rule: Rule, exchange: Exchange) -> bool:
        """Log the query if it is wanted, and say whether it was."""
        wanted = rule.wants(exchange)
        if wanted:
            rule.write(exchange)
        return wanted


def _text(template: Template) -> Line:
    def write(exchange: Exchange) -> None:
        log.info("%s", template(exchange))

    return write


def _json(exchange: Exchange) -> None:
    """The fields as the line's text, and as an attribute for whoever writes all lines as JSON."""
    found = fields(exchange)
    log.info("%s", json.dumps(found, separators=(",", ":")), extra={"fields": found})


def setup(directives: Sequence[Directive], context: Context) -> QueryLog:
    """The plugin, from its directives."""
    return QueryLog([rule for directive in directives for rule in _rules(directive)], context.clock)


def _rules(directive: Directive) -> list[Rule]:
    classes: set[Class] = set()
    slow = None
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "class":
                for word in words.arguments(option, 1):
                    chosen = words.choice(word, *(item.value for item in Class), "all")
                    classes |= EVERY_CLASS if chosen == "all" else {Class(chosen)}
            case "minDuration":
                (seconds,) = words.arguments(option, 1, 1)
                slow = words.duration(seconds)
            case _:
                raise words.unknown_option(option, ["class", "minDuration"])
    zones, write = _names_and_format(words.arguments(directive))
    return [Rule(zone, write, frozenset(classes) or EVERY_CLASS, slow) for zone in zones]


def _names_and_format(arguments: Sequence[Word]) -> tuple[list[Name], Line]:
    """The last word is a format where it has a placeholder or says `json`; the others are names."""
    write = _text(Template(COMMON))
    if arguments and (arguments[-1].text == JSON or "{" in arguments[-1].text):
        write = _json if arguments[-1].text == JSON else _text(Template(arguments[-1].text))
        arguments = arguments[:-1]
    return [names.from_text(zone) for zone in words.zones(arguments)] or [ROOT], write
