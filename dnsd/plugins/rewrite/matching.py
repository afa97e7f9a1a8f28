"""What the rules of `rewrite` do with the text of a name: whether it matches, and what it becomes. Pure.

Texts are absolute names in lower case, with what is not printable escaped (`dnsd.wire.name.to_text`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from dnsd.corefile.syntax import CorefileError, Word
from dnsd.plugins.directive import pattern
from dnsd.resolve.answer import Failure
from dnsd.wire import name as names
from dnsd.wire.name import BadName, Name

Match: TypeAlias = Callable[[str], str | None]
"""The text of a name after a rewrite, or None where the rule is not about it."""

KINDS = ("exact", "prefix", "suffix", "substring", "regex")

_GROUP = re.compile(r"\{([0-9]{1,3})\}")
_ABSOLUTE = re.compile(r"(?<!\\)(?:\\\\)*\.$")


class IllegalName(Failure):
    """A rule made a text that is no domain name."""


def name_of(text: str) -> Name:
    """The name with this text.

    Raises:
        IllegalName: there is none.
    """
    try:
        return names.from_text(text)
    except BadName as error:
        raise IllegalName(f"invalid name after rewrite: {error}") from error


def text_of(name: Name) -> str:
    """The text of a name, as matches take it."""
    return names.to_text(names.lower(name))


def absolute(text: str) -> str:
    """The text in lower case, with a dot at its end."""
    return text.lower() + ("" if _ABSOLUTE.search(text) else ".")


def matcher(kind: str, from_: Word, to: Word | None = None) -> Match:
    """The match of a rule that is about names like FROM, and makes TO of them; without TO it only says whether.

    FROM and TO are made absolute: a dot is added where there is none at the end, as CoreDNS does. So a prefix or a
    substring ends where a label ends.

    Raises:
        CorefileError: FROM is no name or no regular expression, or TO cannot be part of a name.
    """
    if kind == "regex":
        return regex(from_, to)
    source, target = absolute(from_.text), "" if to is None else absolute(to.text)
    if kind == "exact":
        source = text_of(_read(from_, source))
    if to is not None:
        example = {"exact": target, "prefix": f"{target}x.", "suffix": f"x{target}"}.get(kind)
        if example is not None:
            _read(to, example)
    return literal(kind, source, target)


def literal(kind: str, source: str, target: str) -> Match:
    """A match for texts that mean what they say."""

    def exact(text: str) -> str | None:
        return target if text == source else None

    def prefix(text: str) -> str | None:
        return target + text[len(source) :] if text.startswith(source) else None

    def suffix(text: str) -> str | None:
        return text[: len(text) - len(source)] + target if text.endswith(source) else None

    def substring(text: str) -> str | None:
        return text.replace(source, target) if source in text else None

    return {"exact": exact, "prefix": prefix, "suffix": suffix, "substring": substring}[kind]


def regex(from_: Word, to: Word | None = None) -> Match:
    """A match that replaces the whole text where an expression is found in it; `{1}` in TO is its first group.

    Raises:
        CorefileError: it is no regular expression, or TO names a group that it does not have.
    """
    compiled = pattern(from_)
    target = "" if to is None else to.text.lower()
    for number in _GROUP.findall(target):
        if to is not None and int(number) > compiled.groups:
            message = f"'{{{number}}}' is a group that the regular expression does not have"
            raise CorefileError(to.position, message, f"it has {compiled.groups}")

    def match(text: str) -> str | None:
        found = compiled.search(text)
        return None if found is None else absolute(_GROUP.sub(lambda group: found[int(group[1])] or "", target))

    return match


def reverse(before: str, after: str) -> Match:
    """A match that undoes the rewrite of one name, for that name and for names below it."""

    def match(text: str) -> str | None:
        if text == after:
            return before
        return text.removesuffix(after) + before if text.endswith(f".{after}") else None

    return match


def _read(word: Word, text: str) -> Name:
    try:
        return names.from_text(text)
    except BadName as error:
        raise CorefileError(word.position, str(error)) from error
