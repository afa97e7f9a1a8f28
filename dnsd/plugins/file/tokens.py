"""The text of a zone file as entries of tokens, with their lines (RFC 1035 section 5.1). Pure; knows no record type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MAX_ENTRY = 300_000
"""Characters of one entry: the longest rdata, 65,535 octets, with an escape of four characters for each."""

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\f\v]+)
  | (?P<comment>;[^\n]*)
  | (?P<newline>\n)
  | (?P<open>\() | (?P<close>\))
  | "(?P<quoted>(?:[^"\\\n]|\\[^\n])*)"
  | (?P<word>(?:[^\s;()"\\]|\\[^\n])+)
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)


class ZoneError(Exception):
    """A zone file that cannot be used: `FILE:LINE: what is wrong`."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(file, line, message)
        self.file = file
        self.line = line
        self.message = message

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class Token(NamedTuple):
    """A word, or a quoted string without its quotes; escapes are as they were written."""

    text: str
    quoted: bool
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A record or a directive: a line, or several within parentheses."""

    tokens: tuple[Token, ...]
    indented: bool
    """Whether it begins with a blank, and so has the owner name of the record before."""

    @property
    def line(self) -> int:
        """Where it begins, counted from 1."""
        return self.tokens[0].line


def entries(text: str, file: str) -> Iterator[Entry]:
    """The entries of a zone file, one after the other.

    Raises:
        ZoneError: a quote or a parenthesis is not closed, or an entry is too long.
    """
    found: list[Token] = []
    opened: list[int] = []
    indented, line, start, at = False, 1, 0, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            what = "a quoted string does not end on its line" if text[at] == '"' else "a backslash ends the line"
            raise ZoneError(file, line, what)
        kind = match.lastgroup
        if kind in ("word", "quoted"):
            if at - start > MAX_ENTRY:
                raise ZoneError(file, line, f"a record of more than {MAX_ENTRY} characters")
            found.append(Token(match[kind], kind == "quoted", line))
        elif kind == "newline":
            if not opened:
                if found:
                    yield Entry(tuple(found), indented)
                    found = []
                indented, start = False, match.end()
            line += 1
        elif kind == "blank":
            indented = indented or at == start
        elif kind == "open":
            opened.append(line)
        elif kind == "close":
            if not opened:
                raise ZoneError(file, line, "')' without '('")
            opened.pop()
        at = match.end()
    if opened:
        raise ZoneError(file, opened[-1], "'(' is not closed")
    if found:
        yield Entry(tuple(found), indented)


def octets(text: str) -> bytes:
    """What a token stands for, its escapes resolved.

    Raises:
        ValueError: a decimal escape above 255.
    """
    raw = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_unescape, raw) if b"\\" in raw else raw


def _unescape(escape: re.Match[bytes]) -> bytes:
    if len(escape[1]) < 3:
        return escape[1]
    value = int(escape[1])
    if value > 255:
        raise ValueError(f"\\{value} is no octet")
    return bytes((value,))
