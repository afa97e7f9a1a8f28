"""Numbers of the wire that dnsd names: types, classes, opcodes, rcodes, header bits, EDNS options and errors.

Source: IANA's DNS parameters; RFC 1035, 6891 and 8914.
"""

from __future__ import annotations

import enum

from dnslib import QTYPE, RCODE


class Type(enum.IntEnum):
    """Record types that dnsd's own code tells apart; others pass as numbers."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    NAPTR = 35
    DNAME = 39
    OPT = 41
    DS = 43
    SVCB = 64
    HTTPS = 65
    IXFR = 251
    AXFR = 252
    ANY = 255
    CAA = 257


class Class(enum.IntEnum):
    """Classes."""

    IN = 1
    CH = 3
    NONE = 254
    ANY = 255


class Opcode(enum.IntEnum):
    """Opcodes."""

    QUERY = 0
    NOTIFY = 4


class Rcode(enum.IntEnum):
    """Response codes; BADVERS needs EDNS to be told."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


QR = 0x8000
AA = 0x0400
TC = 0x0200
RD = 0x0100
RA = 0x0080
Z = 0x0040
AD = 0x0020
CD = 0x0010
DO = 0x8000
"""In the flags of an OPT record (RFC 3225), not of the header."""


class Option(enum.IntEnum):
    """EDNS options."""

    NSID = 3
    ECS = 8
    COOKIE = 10
    KEEPALIVE = 11
    PADDING = 12
    EDE = 15


class Ede(enum.IntEnum):
    """Extended DNS Errors (RFC 8914 section 4)."""

    OTHER = 0
    STALE_ANSWER = 3
    NOT_READY = 14
    BLOCKED = 15
    FILTERED = 17
    PROHIBITED = 18
    STALE_NXDOMAIN = 19
    NOT_AUTHORITATIVE = 20
    NOT_SUPPORTED = 21
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23


def type_text(number: int) -> str:
    """The mnemonic of a type, or TYPEnnn (RFC 3597)."""
    return str(QTYPE.forward.get(number, f"TYPE{number}"))


def type_number(text: str) -> int | None:
    """The number of a type written as a mnemonic or TYPEnnn, or None."""
    text = text.upper()
    if text.startswith("TYPE") and text[4:].isdigit() and int(text[4:]) <= 0xFFFF:
        return int(text[4:])
    found = QTYPE.reverse.get(text)
    return None if found is None else int(found)


def rcode_text(number: int) -> str:
    """The mnemonic of an rcode, or its number."""
    text = "BADVERS" if number == Rcode.BADVERS else RCODE.forward.get(number, f"RCODE{number}")
    return str(text)


def class_text(number: int) -> str:
    """The mnemonic of a class, or CLASSnnn (RFC 3597)."""
    return {1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}.get(number, f"CLASS{number}")
