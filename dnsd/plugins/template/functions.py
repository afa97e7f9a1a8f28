"""The functions of templates, as Go's text/template and CoreDNS have them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from dnsd.plugins.template.nodes import TemplateError, Value

MAX_WIDTH = 255
"""Characters of one value that `printf` pads: no label, no name and no character string is longer."""

_VERB = re.compile(r"%([-+ #0]*)([0-9]+)?(?:\.([0-9]+))?(.)", re.DOTALL)


class Missing:
    """What a map has for a key that is not in it."""

    def __str__(self) -> str:
        return "<no value>"


MISSING = Missing()

Call: TypeAlias = Callable[..., Value]


def text(value: Value) -> str:
    """A value as Go prints it."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "<nil>"
        case dict():
            return f"map[{' '.join(f'{text(key)}:{text(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(text, value))}]"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def truth(value: Value) -> bool:
    """Whether a value is not the zero value of its type."""
    return value is not MISSING and bool(value)


def _parse_int(digits: Value, base: Value, bits: Value) -> Value:
    """CoreDNS's `parseInt`, which is Go's strconv.ParseUint."""
    if not isinstance(digits, str) or type(base) is not int or type(bits) is not int:
        raise TemplateError("parseInt takes a text, a base and a number of bits")
    if base not in (0, *range(2, 37)) or not 0 <= bits <= 64:
        raise TemplateError(f"parseInt: base {base} or {bits} bits cannot be")
    try:
        number = int(digits, base) if digits.isascii() and digits[:1].isalnum() else -1
    except ValueError:
        number = -1
    if number < 0 or (base and "_" in digits) or number >> (bits or 64):
        raise TemplateError(f"parseInt: '{digits}' is no number of base {base} and {bits} bits")
    return number


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif not isinstance(value, list | str):
            raise TemplateError(f"index: {text(value)} has no elements")
        elif type(key) is not int or not 0 <= key < len(value):
            raise TemplateError(f"index: {text(key)} is out of range")
        else:
            value = value[key] if isinstance(value, list) else ord(value[key])
    return value


def _slice(value: Value, *bounds: Value) -> Value:
    if not isinstance(value, list | str):
        raise TemplateError(f"slice: {text(value)} cannot be sliced")
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(value)
    if len(bounds) > 2 or type(low) is not int or type(high) is not int or not 0 <= low <= high <= len(value):
        raise TemplateError("slice: the bounds are out of range")
    return value[low:high]


def _len(value: Value) -> Value:
    match value:
        case str():
            return len(value.encode())
        case list() | dict():
            return len(value)
    raise TemplateError(f"len of {text(value)}")


def _basic(value: Value) -> str:
    """The kind of a value, as comparisons see it."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind.__name__
    return "nil" if value is None or value is MISSING else "other"


def _eq(first: Value, *others: Value) -> Value:
    if not others:
        raise TemplateError("eq: nothing to compare with")
    for other in others:
        if "nil" not in (_basic(first), _basic(other)) and _basic(first) != _basic(other):
            raise TemplateError(f"eq: {text(first)} and {text(other)} cannot be compared")
    return any(_basic(first) == _basic(other) and first == other for other in others)


def _less(first: Value, second: Value) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return first < second
    numbers = (int, float)
    if isinstance(first, numbers) and isinstance(second, numbers) and _basic(first) == _basic(second) != "bool":
        return first < second
    raise TemplateError(f"{text(first)} and {text(second)} cannot be compared")


def _print(*values: Value) -> Value:
    """With blanks between values neither of which is a text."""
    parts: list[str] = []
    for i, value in enumerate(values):
        if i and not isinstance(value, str) and not isinstance(values[i - 1], str):
            parts.append(" ")
        parts.append(text(value))
    return "".join(parts)


def _printf(format_: Value, *values: Value) -> Value:
    if not isinstance(format_, str):
        raise TemplateError("printf takes a text first")
    rest = list(values)

    def fill(verb: re.Match[str]) -> str:
        if verb[4] == "%":
            return "%"
        if not rest:
            raise TemplateError(f"printf: no value for {verb[0]}")
        return _verb(verb, rest.pop(0))

    filled = _VERB.sub(fill, format_)
    if rest:
        raise TemplateError(f"printf: {len(rest)} values too many")
    return filled


def _verb(verb: re.Match[str], value: Value) -> str:
    flags, width, precision, letter = verb[1], int(verb[2] or 0), verb[3], verb[4]
    if width > MAX_WIDTH or int(precision or 0) > MAX_WIDTH:
        raise TemplateError(f"printf: {verb[0]} is wider than {MAX_WIDTH}")
    number = isinstance(value, int) and not isinstance(value, bool)
    sign = "+" if "+" in flags else " " if " " in flags else ""
    match letter:
        case "v" | "s" if letter == "v" or isinstance(value, str):
            shown = text(value)
            shown = shown[: int(precision)] if precision and letter == "s" else shown
        case "q" if isinstance(value, str):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            shown = f'"{escaped}"'
        case "t" if isinstance(value, bool):
            shown = text(value)
        case "d" | "x" | "X" | "o" | "b" if number:
            shown = format(value, f"{sign}{'#' if '#' in flags and letter != 'd' else ''}{letter}")
        case "c" if number:
            shown = chr(value)  # type: ignore[arg-type]  # it is a number
        case "x" | "X" if isinstance(value, str):
            shown = value.encode().hex()
            shown = shown.upper() if letter == "X" else shown
        case "e" | "f" | "g" if isinstance(value, float):
            shown = format(value, f"{sign}.{precision or 6}{letter}") if letter != "g" or precision else text(value)
        case _:
            raise TemplateError(f"printf: {verb[0]} does not fit {text(value)}")
    if "-" in flags:
        return shown.ljust(width)
    return shown.zfill(width) if "0" in flags and letter != "q" else shown.rjust(width)


FUNCTIONS: Mapping[str, Call] = {
    "eq": _eq,
    "ge": lambda first, second: not _less(first, second),
    "gt": lambda first, second: _less(second, first),
    "index": _index,
    "le": lambda first, second: not _less(second, first),
    "len": _len,
    "lt": _less,
    "ne": lambda first, second: not _eq(first, second),
    "not": lambda value: not truth(value),
    "parseInt": _parse_int,
    "print": _print,
    "printf": _printf,
    "println": lambda *values: " ".join(map(text, values)) + "\n",
    "slice": _slice,
}
"""Those that want all their arguments."""
LAZY = ("and", "or")
"""Those that stop at the argument that decides."""
