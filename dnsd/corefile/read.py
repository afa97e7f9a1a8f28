"""How a plugin reads its directive: checked values, or an error at the word; knows no directive by name."""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Iterable

from dnsd.corefile import zones as zone_syntax
from dnsd.corefile.regex import RegexError, compile_regex
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
"""Go's units of time in seconds; micro is written with U+00B5, U+03BC or `u`."""

_DURATION_PART = r"(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?P<unit>[a-zµμ]+)"

_PREFIXED = re.compile(r"[^/]+(/[0-9]+)?")
"""Python's networks may also have a netmask after the slash; a Corefile's have a prefix length."""

MAX_DURATION = 2**63 / 1e9
"""Seconds, about 292 years: what Go's duration holds. A longer one is a slip, and an infinite one breaks timers."""


def arguments(line: Directive | Option, minimum: int = 0, maximum: int | None = None) -> tuple[Word, ...]:
    """Return the arguments of a directive or an option after counting them; no `maximum` means any number.

    Raises:
        CorefileError: at the name if there are too few, at the first that is too many otherwise.
    """
    count = len(line.arguments)
    exact = minimum == maximum
    if count < minimum:
        expected = _arguments(minimum, "" if exact else "at least ")
        raise CorefileError(line.name.position, f"'{line.name.text}' needs {expected}, not {count}")
    if maximum is not None and count > maximum:
        surplus = line.arguments[maximum]
        expected = _arguments(maximum, "" if exact else "at most ")
        raise CorefileError(surplus.position, f"'{surplus.text}' is too much: '{line.name.text}' takes {expected}")
    return line.arguments


def _arguments(count: int, bound: str) -> str:
    return f"{bound}{count or 'no'} argument{'' if count == 1 else 's'}"


def no_options(line: Directive | Option) -> None:
    """Refuse braces where there is nothing to say in them.

    Raises:
        CorefileError: there is an option, at its name.
    """
    if line.options:
        raise CorefileError(line.options[0].name.position, f"'{line.name.text}' has no options")


def integer(word: Word, low: int, high: int | None = None) -> int:
    """Read a whole number in decimal, from `low` to `high`, both included.

    Raises:
        CorefileError: it is something else, or out of range.
    """
    expected = f"a whole number from {low} to {high}" if high is not None else f"a whole number, {low} or more"
    value = int(word.text) if re.fullmatch(r"[+-]?[0-9]{1,18}", word.text) else None
    if value is None or value < low or (high is not None and value > high):
        raise CorefileError(word.position, f"'{word.text}' is not {expected}")
    return value


def number(word: Word, low: float, high: float = math.inf) -> float:
    """Read a decimal number from `low` to `high`, both included.

    Raises:
        CorefileError: it is something else, or out of range.
    """
    value = float(word.text) if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", word.text) else None
    if value is None or not low <= value <= high or math.isinf(value):
        expected = f"a number, {low:g} or more" if math.isinf(high) else f"a number from {low:g} to {high:g}"
        raise CorefileError(word.position, f"'{word.text}' is not {expected}")
    return value


def duration(word: Word) -> float:
    """Read a duration as Go writes it (`300ms`, `1.5h`, `1m30s`, `0`) and return seconds, 0 or more.

    Raises:
        CorefileError: it is something else; a number without a unit is, except 0.
    """
    text = word.text.removeprefix("+")
    if text == "0":
        return 0.0
    parts = list(re.finditer(_DURATION_PART, text))
    if not parts or "".join(part[0] for part in parts) != text or any(part["unit"] not in _UNITS for part in parts):
        hint = "a number and its unit, such as 500ms, 30s, 1m30s or 1.5h"
        raise CorefileError(word.position, f"'{word.text}' is not a duration", hint)
    seconds = sum(float(part["number"]) * _UNITS[part["unit"]] for part in parts)
    if seconds > MAX_DURATION:
        raise CorefileError(word.position, f"'{word.text}' is too long a time", "at most 292 years")
    return seconds


def duration_or_seconds(word: Word) -> float:
    """Read a duration; a number without a unit counts seconds.

    Raises:
        CorefileError: it is neither.
    """
    if re.fullmatch(r"[0-9]+", word.text):
        return duration(Word(f"{word.text}s", word.position))
    return duration(word)


def choice(word: Word, *allowed: str) -> str:
    """Return the word's text, which is one of those allowed.

    Raises:
        CorefileError: it is none of them.
    """
    if word.text not in allowed:
        hint = f"one of {', '.join(allowed)}" if len(allowed) > 1 else f"only '{allowed[0]}' is"
        raise CorefileError(word.position, f"'{word.text}' is not known here", hint)
    return word.text


def zones(words: Iterable[Word]) -> tuple[str, ...]:
    """Return the zones that words name, in lower case and fully qualified; a CIDR may name several.

    A scheme and a port are read over, as in CoreDNS, so that one variable can serve as a key and as an argument.

    Raises:
        CorefileError: one of them names no zone.
    """
    return tuple(key.zone for word in words for key in zone_syntax.keys(word))


def zone(word: Word) -> str:
    """Return the zone that a word names; the first one of a CIDR that names several (spec.md section 5.1).

    Raises:
        CorefileError: it names no zone.
    """
    return zones([word])[0]


def ip_address(word: Word) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an IP address; an IPv6 address may have a scope, `fe80::1%eth0`.

    Raises:
        CorefileError: it is none.
    """
    try:
        return ipaddress.ip_address(word.text)
    except ValueError:
        raise CorefileError(word.position, f"'{word.text}' is not an IP address") from None


def network(word: Word) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read a network, `10.0.0.0/8`; bits below the prefix do not count, and an address alone is a network of one.

    Raises:
        CorefileError: it is none.
    """
    found: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    try:
        found = ipaddress.ip_network(word.text, strict=False)
    except ValueError:
        found = None
    if found is None or not _PREFIXED.fullmatch(word.text):
        hint = "an address and a prefix length, such as 10.0.0.0/8 or 2001:db8::/32"
        raise CorefileError(word.position, f"'{word.text}' is not a network", hint)
    return found


def regex(word: Word) -> re.Pattern[str]:
    """Compile a regular expression of Go's dialect.

    Raises:
        CorefileError: it is none.
    """
    try:
        return compile_regex(word.text)
    except RegexError as error:
        raise CorefileError(word.position, f"'{word.text}' is not a regular expression: {error}") from error


def unknown_option(option: Option, known: Iterable[str]) -> CorefileError:
    """Return the error for an option that its directive does not have, with the name that was probably meant."""
    return _unknown("option", option.name, known)


def unknown_directive(directive: Directive, known: Iterable[str]) -> CorefileError:
    """Return the error for a directive that nobody reads, with the name that was probably meant."""
    return _unknown("directive", directive.name, known)


def _unknown(kind: str, name: Word, known: Iterable[str]) -> CorefileError:
    return CorefileError(name.position, f"unknown {kind} '{name.text}'", _suggestion(name.text, known))


def _suggestion(text: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(text.lower(), list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else ""
