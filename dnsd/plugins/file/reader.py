"""Records from the text of a zone file: owner names, TTLs, classes, types and directives (RFC 1035 section 5).

Reads further files only through the function that it is given, and knows no rule of what a zone may hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import dnslib
from dnslib import RR, DNSLabel

from dnsd.plugins.file import rdata
from dnsd.plugins.file.fields import BadField, Cursor, is_period, to_name, to_seconds, to_type
from dnsd.plugins.file.tokens import Entry, Token, ZoneError, entries
from dnsd.wire.codes import Class, Type
from dnsd.wire.name import Name

MAX_INCLUDES = 7
"""Files within files: deeper is a file that includes itself."""
MAX_GENERATED = 65_536
"""Records of one $GENERATE: an IPv4 network of 16 bits."""

_CLASSES = {"IN": 1, "CS": 2, "CH": 3, "HS": 4}
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})(?:/([0-9]{1,9}))?")
_ITERATOR = re.compile(r"\\\$|\$\$|\$(?:\{([+-]?[0-9]{1,9})(?:,([0-9]{1,2})(?:,([doxX]))?)?\})?")

Read = Callable[[str], str]
"""The text of a file; OSError or ValueError where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record, and where it was written."""

    owner: Name
    """As it was written."""
    rr: RR
    wire: bytes
    """The rdata, not compressed."""
    file: str
    line: int


@dataclass(slots=True)
class _State:
    """What a record takes over from those before it."""

    origin: Name
    owner: Name | None = None
    default: int | None = None
    """Of $TTL, in seconds."""
    last: int | None = None
    """TTL of the record before (RFC 1035 section 5.1)."""


def records(text: str, file: str, origin: Name, read: Read) -> Iterator[Record]:
    """The records of a zone file, in its order; `read` is for $INCLUDE.

    Raises:
        ZoneError: at the first thing that is wrong.
    """
    return _Reader(file, _State(origin), read, 0).records(text)


class _Reader:
    def __init__(self, file: str, state: _State, read: Read, depth: int) -> None:
        self.file = file
        self.state = state
        self._read = read
        self._depth = depth

    def records(self, text: str) -> Iterator[Record]:
        for entry in entries(text.removeprefix("\ufeff"), self.file):
            first = entry.tokens[0]
            try:
                if not first.quoted and first.text.startswith("$"):
                    yield from self._directive(first.text.upper(), entry)
                else:
                    yield self._record(entry.tokens, indented=entry.indented)
            except BadField as error:
                raise ZoneError(self.file, entry.line, str(error)) from error

    def _directive(self, name: str, entry: Entry) -> Iterator[Record]:
        arguments = [token.text for token in entry.tokens[1:]]
        match name, arguments:
            case "$ORIGIN", [origin]:
                self.state.origin = to_name(origin, self.state.origin)
            case "$TTL", [seconds]:
                self.state.default = to_seconds(seconds)
            case "$INCLUDE", [file]:
                yield from self._include(file, self.state.origin, entry.line)
            case "$INCLUDE", [file, origin]:
                yield from self._include(file, to_name(origin, self.state.origin), entry.line)
            case "$GENERATE", [range_, _, _, *_]:
                yield from self._generate(range_, entry.tokens[2:])
            case (("$ORIGIN" | "$TTL" | "$INCLUDE" | "$GENERATE"), _):
                raise BadField(f"{name} has the wrong number of arguments")
            case _:
                raise BadField(f"unknown directive {name}")

    def _include(self, file: str, origin: Name, line: int) -> Iterator[Record]:
        """The records of another file; origin and owner are as before behind it (RFC 1035 section 5.1)."""
        if self._depth == MAX_INCLUDES:
            raise BadField(f"more than {MAX_INCLUDES} files within files")
        try:
            text = self._read(file)
        except (OSError, ValueError) as error:
            raise ZoneError(self.file, line, f"cannot read {file}: {error}") from error
        inner = replace(self.state, origin=origin)
        yield from _Reader(file, inner, self._read, self._depth + 1).records(text)

    def _generate(self, range_: str, template: Sequence[Token]) -> Iterator[Record]:
        """The records of a template, once for each number of a range (BIND's $GENERATE)."""
        match = _RANGE.fullmatch(range_)
        start, stop, step = (int(part or 1) for part in match.groups()) if match else (1, 0, 1)
        if start > stop or step < 1:
            raise BadField(f"'{range_}' is not a range such as 1-254 or 0-100/2")
        if (stop - start) // step >= MAX_GENERATED:
            raise BadField(f"a range of more than {MAX_GENERATED} records")
        for number in range(start, stop + 1, step):
            tokens = [token._replace(text=_fill(token.text, number)) for token in template]
            yield self._record(tokens, indented=False)

    def _record(self, tokens: Sequence[Token], *, indented: bool) -> Record:
        state = self.state
        at = 0
        if not indented:
            state.owner = to_name(tokens[0].text, state.origin)
            at = 1
        if state.owner is None:
            raise BadField("the first record has no owner name")
        ttl: int | None = None
        class_: int | None = None
        while at < len(tokens):
            text = tokens[at].text
            if class_ is None and (found := _class(text)) is not None:
                class_ = found
            elif ttl is None and is_period(text):
                ttl = to_seconds(text)
            else:
                break
            at += 1
        if at == len(tokens):
            raise BadField("a type is missing")
        if class_ not in (None, Class.IN):
            raise BadField("only class IN is served")
        type_ = to_type(tokens[at].text)
        if type_ is None or type_ in (0, Type.OPT) or 128 <= type_ <= 255:
            raise BadField(f"'{tokens[at].text}' is not a type that a zone has")
        wire = rdata.to_wire(type_, Cursor(tokens[at + 1 :], state.origin))
        data = rdata.read(type_, wire)
        if ttl is None:
            ttl = state.default if state.default is not None else state.last
        if ttl is None and isinstance(data, dnslib.SOA):
            ttl = data.times[4]
        if ttl is None:
            raise BadField("no TTL: neither here, nor by $TTL, nor at a record before")
        state.last = ttl
        rr = RR(DNSLabel(state.owner), type_, Class.IN, ttl, data)
        return Record(state.owner, rr, wire, self.file, tokens[0].line)


def _class(text: str) -> int | None:
    upper = text.upper()
    if upper.startswith("CLASS") and upper[5:].isdigit():
        return int(upper[5:])
    return _CLASSES.get(upper)


def _fill(text: str, number: int) -> str:
    r"""A token of a template with the number in place of `$` and `${offset,width,base}`; `\$` and `$$` are a dollar."""

    def value(found: re.Match[str]) -> str:
        if found[0] in ("\\$", "$$"):
            return "\\$"
        offset, width, base = found.groups()
        shifted = number + int(offset or 0)
        if shifted < 0:
            raise BadField(f"{number}{offset} is below 0")
        return format(shifted, f"0{width or 0}{base or 'd'}")

    return _ITERATOR.sub(value, text)
