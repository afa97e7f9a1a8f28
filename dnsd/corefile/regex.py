"""Regular expressions as a Corefile has them, in Go's dialect, run by Python's engine; knows no DNS."""

from __future__ import annotations

import re
import warnings

_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}

_GO_ONLY = re.compile(r"\\z|\\.|\(\?<(?=\w)|\[:(?P<posix>\^?\w+):\]", re.DOTALL)


class RegexError(ValueError):
    """Text that is no regular expression, with the reason."""


def compile_regex(text: str) -> re.Pattern[str]:
    r"""Compile an expression; `\d`, `\s`, `\w` and `\b` are of ASCII only, as in Go.

    What Go writes otherwise is translated: `(?<name>...)`, `\z` and POSIX classes such as `[[:alpha:]]`. Go's engine
    needs time in proportion to the text; Python's can need far more where repetitions nest, as in `(a+)+b`. Names
    are at most 255 octets, and the expression comes from the operator, not from a client.

    Raises:
        RegexError: Python's engine does not take it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of set operators that Python might read otherwise one day
            return re.compile(_GO_ONLY.sub(_in_python, text), re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise RegexError(str(error)) from error


def _in_python(construct: re.Match[str]) -> str:
    posix = construct["posix"]
    if posix is not None:
        if posix not in _POSIX_CLASSES:
            raise RegexError(f"unknown character class [:{posix}:]")
        return _POSIX_CLASSES[posix]
    return {r"\z": r"\Z", "(?<": "(?P<"}.get(construct[0], construct[0])
