"""One resource record from its text, as a zone file has it (RFC 1035 section 5.1). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dnslib import RR, DNSLabel

from dnsd.plugins.file import rdata
from dnsd.plugins.file.fields import BadField, Cursor, is_period, to_name, to_seconds, to_type
from dnsd.plugins.file.tokens import Token, ZoneError, entries
from dnsd.wire import name as names
from dnsd.wire.codes import Class

DEFAULT_TTL = 3600
"""Seconds, where the text has no TTL."""

_CLASSES = {"IN": Class.IN, "CH": Class.CH, "HS": 4, "NONE": Class.NONE, "ANY": Class.ANY}


class BadText(Exception):
    """A text that is no record, with the reason."""


def read(text: str) -> RR | None:
    """The record that a text writes, `OWNER [TTL] [CLASS] TYPE RDATA`, or None where it is blank.

    Names without a dot at their end are absolute all the same.

    Raises:
        BadText: it is no record, or more than one.
    """
    try:
        found = list(entries(text, "template"))
        if not found:
            return None
        if len(found) > 1:
            raise BadText("more than one record")
        return _record(found[0].tokens)
    except ZoneError as error:
        raise BadText(error.message) from error
    except BadField as error:
        raise BadText(str(error)) from error


def _record(tokens: Sequence[Token]) -> RR:
    owner, *rest = tokens
    ttl: int | None = None
    class_: int | None = None
    while rest:
        text = rest[0].text
        if class_ is None and text.upper() in _CLASSES:
            class_ = _CLASSES[text.upper()]
        elif ttl is None and is_period(text):
            ttl = to_seconds(text)
        else:
            break
        rest = rest[1:]
    type_ = to_type(rest[0].text) if rest else None
    if type_ is None:
        raise BadText(f"'{rest[0].text}' is no record type" if rest else "a type is missing")
    name = to_name(owner.text, names.ROOT)
    wire = rdata.to_wire(type_, Cursor(rest[1:], names.ROOT))
    return RR(DNSLabel(name), type_, class_ or Class.IN, DEFAULT_TTL if ttl is None else ttl, rdata.read(type_, wire))
