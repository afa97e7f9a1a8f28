"""Reads the directives of `rewrite`: one rule each, `[continue|stop] FIELD ...`, on its line or in braces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word
from dnsd.plugins.directive import class_, rcode, type_
from dnsd.plugins.rewrite import options
from dnsd.plugins.rewrite.matching import KINDS, Match, absolute, literal, matcher, regex
from dnsd.plugins.rewrite.responses import OtherRcode, OtherTarget, OwnerNames, TtlRange, Values
from dnsd.plugins.rewrite.rule import Response, Rule
from dnsd.plugins.rewrite.rules import AnswerRule, ClassRule, NameRule, TypeRule
from dnsd.resolve.plugin import Context
from dnsd.wire.records import MAX_TTL

MODES = {"stop": True, "continue": False}


class Line:
    """The words of a rule, taken from left to right; an error is at the word that is wrong, or at the field."""

    def __init__(self, field: Word, rest: list[Word]) -> None:
        self.field = field
        self.rest = rest

    def count(self, *allowed: int) -> None:
        """Refuse another number of words.

        Raises:
            CorefileError: there are more or fewer.
        """
        if len(self.rest) not in allowed:
            expected = " or ".join(map(str, allowed))
            message = f"'{self.field.text}' takes {expected} words, not {len(self.rest)}"
            raise CorefileError(self.field.position, message)

    def kind(self, count: int) -> str:
        """How names match: the first word if there is one more than `count`, else exact.

        Raises:
            CorefileError: it is no such word.
        """
        if len(self.rest) <= count:
            return "exact"
        word = self.rest.pop(0)
        if word.text.lower() not in KINDS:
            raise CorefileError(word.position, f"'{word.text}' is no way to match names", f"one of {', '.join(KINDS)}")
        return word.text.lower()


def rule(directive: Directive, context: Context) -> Rule | None:
    """The rule of a directive, or None where it is never about a query.

    Raises:
        CorefileError: it says something that is not understood.
    """
    line = list(directive.arguments)
    if len(line) < 2:  # the rest is in braces, one rule on as many lines as one likes
        for option in directive.options:
            line += _flat(option)
    else:
        words.no_options(directive)
    stop = True
    if line and line[0].text.lower() in MODES:
        stop = MODES[line.pop(0).text.lower()]
    if not line:
        raise CorefileError(directive.name.position, "'rewrite' needs a field", f"one of {', '.join(_FIELDS)}")
    field, *rest = line
    reader = _FIELDS.get(field.text.lower())
    if reader is None:
        hint = "it follows a name rule" if field.text.lower() == "answer" else f"one of {', '.join(_FIELDS)}"
        raise CorefileError(field.position, f"'{field.text}' is no field that a rule begins with", hint)
    return reader(stop, Line(field, rest), context)


def _flat(option: Option) -> list[Word]:
    return [option.name, *option.arguments, *(word for inner in option.options for word in _flat(inner))]


def _name(stop: bool, line: Line, context: Context) -> Rule:  # noqa: ARG001  every field has the same reader
    if len(line.rest) < 2:
        raise CorefileError(line.field.position, "'name' needs a name and what becomes of it")
    kind = line.kind(2)
    if len(line.rest) < 2:
        raise CorefileError(line.field.position, f"'name {kind}' needs a name and what becomes of it")
    from_, to, *answers = line.rest
    match = matcher(kind, from_, to)
    auto, explicit = _answers(answers)
    if kind == "suffix" and auto:  # names in the answer need not end in the one name that was asked for
        back = literal("suffix", absolute(to.text), absolute(from_.text))
        return NameRule(stop, match, auto=False, responses=(OwnerNames(back), Values(back), *explicit))
    return NameRule(stop, match, auto=auto or kind == "exact", responses=explicit)


def _answers(line: list[Word]) -> tuple[bool, tuple[Response, ...]]:
    """`answer auto|name FROM TO|value FROM TO`, any number of them; only the first needs the word `answer`."""
    if line and line[0].text != "answer":
        raise CorefileError(line[0].position, f"'{line[0].text}' is too much: only 'answer' may follow a name rule")
    auto: Word | None = None
    names: list[Response] = []
    responses: list[Response] = []
    while line:
        word = line.pop(0)
        if word.text == "answer":
            if not line:
                raise CorefileError(word.position, "'answer' is followed by nothing", "one of auto, name, value")
            word = line.pop(0)
        what = words.choice(word, "auto", "name", "value")
        if what == "auto":
            auto = word
            continue
        if len(line) < 2:
            raise CorefileError(word.position, f"'answer {what}' needs a regular expression and what becomes of it")
        match = regex(line.pop(0), line.pop(0))
        responses.append(OwnerNames(match) if what == "name" else Values(match))
        names += responses[-1:] if what == "name" else []
    if auto is not None and names:
        raise CorefileError(auto.position, "'answer auto' and 'answer name' exclude each other", "use one of them")
    return auto is not None, tuple(responses)


def _type(stop: bool, line: Line, context: Context) -> Rule:  # noqa: ARG001
    line.count(2)
    return TypeRule(stop, type_(line.rest[0]), type_(line.rest[1]))


def _class(stop: bool, line: Line, context: Context) -> Rule:  # noqa: ARG001
    line.count(2)
    return ClassRule(stop, class_(line.rest[0]), class_(line.rest[1]))


def _ttl(stop: bool, line: Line, context: Context) -> Rule:  # noqa: ARG001
    line.count(2, 3)
    match = matcher(line.kind(2), line.rest[0])
    return AnswerRule(stop, match, TtlRange(*_seconds(line.rest[1])))


def _seconds(word: Word) -> tuple[int, int]:
    """`30`, `30-300`, `30-` or `-300`."""
    low, dash, high = word.text.partition("-")
    bounds = (low or "0", high or str(MAX_TTL)) if dash else (low, low)
    if word.text != "-" and all(bound.isascii() and bound.isdigit() and len(bound) <= 10 for bound in bounds):
        first, last = map(int, bounds)
        if first <= last <= MAX_TTL:
            return first, last
    hint = f"such as 30, 30-300, 30- or -300, and at most {MAX_TTL} (RFC 2181 section 8)"
    raise CorefileError(word.position, f"'{word.text}' is no TTL and no range of TTLs", hint)


def _rcode(stop: bool, line: Line, context: Context) -> Rule:  # noqa: ARG001
    line.count(3, 4)
    match = matcher(line.kind(3), line.rest[0])
    return AnswerRule(stop, match, OtherRcode(rcode(line.rest[1]), rcode(line.rest[2])))


def _cname(stop: bool, line: Line, context: Context) -> Rule:
    line.count(2, 3)
    kind = line.kind(2)
    from_, to = line.rest
    match: Match
    if kind in ("prefix", "substring"):  # CoreDNS adds no dot to these, as it does in rules about the question
        match = literal(kind, from_.text.lower(), to.text.lower())
    else:
        match = matcher(kind, from_, to)
    return AnswerRule(stop, None, OtherTarget(match, context.resolve))


def _edns0(stop: bool, line: Line, context: Context) -> Rule | None:  # noqa: ARG001
    return options.read(stop, line.rest, line.field)


_Reader: TypeAlias = Callable[[bool, Line, Context], Rule | None]
_FIELDS: Mapping[str, _Reader] = {
    "name": _name,
    "type": _type,
    "class": _class,
    "ttl": _ttl,
    "rcode": _rcode,
    "cname": _cname,
    "edns0": _edns0,
}
