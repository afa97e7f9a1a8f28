"""Domain names as tuples of labels, and their text and wire forms (RFC 1035 sections 3.1 and 5.1, RFC 4343).

Names are compared in lower case; whoever must give a name back as it was asked keeps both spellings.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Name: TypeAlias = tuple[bytes, ...]
"""Labels from left to right, without the root's empty one: `(b"web", b"shop", b"svc", b"cluster", b"local")`."""

ROOT: Name = ()
MAX_NAME = 255
"""Octets of a name on the wire, length bytes and the root included (RFC 1035 section 2.3.4)."""
MAX_LABEL = 63
"""Octets of a label (RFC 1035 section 2.3.4)."""

_ESCAPE = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)
_SPECIAL = re.compile(rb"[^!-~]|[.\\\"();@$]")


class BadName(ValueError):
    """Text or bytes that are no domain name."""


class NameTooLong(BadName):
    """More than 255 octets."""


class LabelTooLong(BadName):
    """A label of more than 63 octets."""


class EmptyLabel(BadName):
    """Two dots in a row, or a dot at the start."""


def lower(name: Name) -> Name:
    """The name in lower case: ASCII letters only (RFC 4343)."""
    return tuple(label.lower() for label in name)


def from_text(text: str) -> Name:
    """A name from its text, absolute with or without the last dot; letters keep their case.

    Raises:
        BadName: the text is no name; the subclass says why.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if raw in (b"", b"."):
        return ROOT
    labels: list[bytes] = []
    current = bytearray()
    at = 0
    while at < len(raw):
        byte = raw[at : at + 1]
        if byte == b"\\":
            escape = _ESCAPE.match(raw, at)
            if escape is None or (len(escape[1]) == 3 and int(escape[1]) > 255):
                raise BadName(f"bad escape in name {text!r}")
            current += bytes([int(escape[1])]) if len(escape[1]) == 3 else escape[1]
            at = escape.end()
            continue
        if byte == b".":
            labels.append(bytes(current))
            current.clear()
        else:
            current += byte
        at += 1
    if current or not raw.endswith(b"."):
        labels.append(bytes(current))
    return checked(tuple(labels))


def checked(name: Name) -> Name:
    """The name itself.

    Raises:
        BadName: a label is empty or too long, or the name is.
    """
    for label in name:
        if not label:
            raise EmptyLabel(f"empty label in name {to_text(name)!r}")
        if len(label) > MAX_LABEL:
            raise LabelTooLong(f"label of {len(label)} octets in name, 63 allowed")
    if wire_length(name) > MAX_NAME:
        raise NameTooLong(f"name of {wire_length(name)} octets, 255 allowed")
    return name


def wire_length(name: Name) -> int:
    """Octets of the name on the wire, not compressed."""
    return sum(map(len, name)) + len(name) + 1


def to_text(name: Name) -> str:
    """The absolute text of a name, with what is not printable escaped."""
    if not name:
        return "."
    return "".join(_SPECIAL.sub(_escape, label).decode("ascii") + "." for label in name)


def _escape(found: re.Match[bytes]) -> bytes:
    byte = found[0]
    return b"\\" + byte if b"!" <= byte <= b"~" else b"\\%03d" % byte[0]


def to_wire(name: Name) -> bytes:
    """The wire form of a name, not compressed."""
    return b"".join(bytes((len(label),)) + label for label in name) + b"\0"


def is_under(name: Name, zone: Name) -> bool:
    """Whether `name` is `zone` or below it, label by label; both in lower case."""
    return not zone or name[-len(zone) :] == zone


def relative(name: Name, zone: Name) -> Name:
    """The labels of `name` left of `zone`."""
    return name[: len(name) - len(zone)]
