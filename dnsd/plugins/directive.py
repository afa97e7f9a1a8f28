"""Words that directives of several plugins share: zones, types, rcodes, patterns. Knows no plugin."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dnslib import RCODE

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word
from dnsd.resolve.plugin import Context
from dnsd.resolve.query import Query
from dnsd.wire import name as names
from dnsd.wire.codes import Class, Rcode, type_number
from dnsd.wire.name import Name

MAX_RCODE = 23
"""BADCOOKIE, the last rcode that IANA has assigned."""
MAX_PORT = 65_535
"""Port 0 lets the kernel pick one."""
MAX_HEADER_RCODE = 15
"""What the header of a message has room for; above it the rest is in OPT (RFC 6891 section 6.1.3)."""
MAX_PATTERN = 10_000
"""Characters of a regular expression: far more than anybody writes, and compiled in a moment."""

_CLASSES = {"IN": Class.IN, "CH": Class.CH, "HS": 4, "NONE": Class.NONE, "ANY": Class.ANY}
_EXTENDED_RCODES = {
    "DSOTYPENI": 11, "BADVERS": 16, "BADSIG": 16, "BADKEY": 17, "BADTIME": 18, "BADMODE": 19, "BADNAME": 20,
    "BADALG": 21, "BADTRUNC": 22, "BADCOOKIE": 23, "NOTIMPL": 4,
}  # fmt: skip


def once(directives: Sequence[Directive]) -> Directive:
    """The only directive.

    Raises:
        CorefileError: there is another one, at its name.
    """
    if len(directives) > 1:
        name = directives[1].name
        raise CorefileError(name.position, f"'{name.text}' can be used once in a server block")
    return directives[0]


def bare(directives: Sequence[Directive]) -> None:
    """Refuse arguments and options of directives that have none.

    Raises:
        CorefileError: there are some.
    """
    for directive in directives:
        words.arguments(directive, 0, 0)
        words.no_options(directive)


def zones(arguments: Sequence[Word], context: Context) -> tuple[Name, ...]:
    """The zones that words name, or those of the server block where there are no words.

    Raises:
        CorefileError: one of them names no zone.
    """
    return tuple(names.from_text(zone) for zone in words.zones(arguments)) or context.zones


def fallthrough(option: Option) -> tuple[Name, ...]:
    """The zones in which a query goes on to the next plugin: those that the option lists, or all.

    Raises:
        CorefileError: one of them names no zone.
    """
    words.no_options(option)
    return tuple(names.from_text(zone) for zone in words.zones(option.arguments)) or (names.ROOT,)


def listen_address(word: Word) -> str:
    """The `HOST:PORT` that a word is; no host means every address of this machine, an IPv6 address has brackets.

    Raises:
        CorefileError: it is none.
    """
    host, colon, port = word.text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare_colon = ":" in host and not bracketed
    if not colon or bare_colon or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise CorefileError(word.position, f"'{word.text}' is not an address to listen on", "HOST:PORT, such as :8080")
    return word.text


def type_(word: Word) -> int:
    """The number of the record type that a word names, in either case, or as TYPEnnn.

    Raises:
        CorefileError: it names none.
    """
    number = type_number(word.text)
    if number is None:
        raise CorefileError(word.position, f"'{word.text}' is not a record type", "such as A, or TYPE65280")
    return number


def class_(word: Word) -> int:
    """The number of the class that a word names, in either case.

    Raises:
        CorefileError: it names none.
    """
    number = _CLASSES.get(word.text.upper())
    if number is None:
        raise CorefileError(word.position, f"'{word.text}' is not a class", f"one of {', '.join(_CLASSES)}")
    return int(number)


def rcode(word: Word) -> int:
    """The number of the rcode that a word names, in either case, or is.

    Raises:
        CorefileError: it names none.
    """
    text = word.text.upper()
    if text.isascii() and text.isdigit() and int(text) <= MAX_RCODE:
        return int(text)
    number = RCODE.reverse.get(text, _EXTENDED_RCODES.get(text))
    if number is None:
        raise CorefileError(word.position, f"'{word.text}' is not an rcode", "such as NXDOMAIN or SERVFAIL")
    return int(number)


def tellable(code: int, query: Query) -> int:
    """`code`, or SERVFAIL where it needs OPT and the client sent none."""
    return code if code <= MAX_HEADER_RCODE or query.message.edns is not None else Rcode.SERVFAIL


def pattern(word: Word) -> re.Pattern[str]:
    """A regular expression for names that clients send.

    Raises:
        CorefileError: it is none, or longer than MAX_PATTERN.
    """
    if len(word.text) > MAX_PATTERN:
        message = f"regular expression of {len(word.text)} characters"
        raise CorefileError(word.position, message, f"at most {MAX_PATTERN}")
    return words.regex(word)
