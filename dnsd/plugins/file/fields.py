"""The fields that rdata is made of, each read from tokens into octets. Pure; sources are the RFCs of the types."""

from __future__ import annotations

import base64
import binascii
import re
import socket
import struct
import time
from calendar import timegm
from collections.abc import Callable, Sequence

from dnsd.plugins.file.tokens import Token, octets
from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.name import Name
from dnsd.wire.records import MAX_TTL

MAX_STRING = 255
"""Octets of a character string (RFC 1035 section 3.3)."""

_PERIOD = re.compile(r"(?:[0-9]+[wdhms])+|[0-9]+", re.IGNORECASE)
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TYPES = {"RT": 21, "SMIMEA": 53}
"""Types that the tables of dnslib lack."""
_ALGORITHMS = {
    "RSAMD5": 1, "DH": 2, "DSA": 3, "RSASHA1": 5, "DSA-NSEC3-SHA1": 6, "RSASHA1-NSEC3-SHA1": 7, "RSASHA256": 8,
    "RSASHA512": 10, "ECC-GOST": 12, "ECDSAP256SHA256": 13, "ECDSAP384SHA384": 14, "ED25519": 15, "ED448": 16,
    "INDIRECT": 252, "PRIVATEDNS": 253, "PRIVATEOID": 254,
}  # fmt: skip
"""IANA, DNS security algorithm numbers."""
_CERTIFICATES = {"PKIX": 1, "SPKI": 2, "PGP": 3, "IPKIX": 4, "ISPKI": 5, "IPGP": 6, "ACPKIX": 7, "IACPKIX": 8,
                 "URI": 253, "OID": 254}  # fmt: skip
"""RFC 4398 section 2.1."""


class BadField(Exception):
    """Text that does not fit the field it is for. The text says why; whoever knows the place adds it."""


class Cursor:
    """The tokens of one record's rdata, taken from left to right."""

    def __init__(self, tokens: Sequence[Token], origin: Name) -> None:
        self._tokens = tokens
        self._at = 0
        self.origin = origin

    def at_generic(self) -> bool:
        r"""Whether the next token is `\#` (RFC 3597 section 5)."""
        return self._at < len(self._tokens) and self._tokens[self._at][:2] == ("\\#", False)

    def take(self, what: str) -> str:
        """The text of the next token, with escapes as they were written.

        Raises:
            BadField: there is none.
        """
        if self._at == len(self._tokens):
            raise BadField(f"{what} is missing")
        self._at += 1
        return self._tokens[self._at - 1].text

    def rest(self) -> list[Token]:
        """All tokens that are left."""
        left = list(self._tokens[self._at :])
        self._at = len(self._tokens)
        return left

    def end(self) -> None:
        """Nothing may be left.

        Raises:
            BadField: something is.
        """
        if self._at < len(self._tokens):
            raise BadField(f"'{self._tokens[self._at].text}' is too much")

    def number(self, highest: int) -> int:
        """A decimal number."""
        text = self.take("a number")
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= highest):
            raise BadField(f"'{text}' is not a number from 0 to {highest}")
        return int(text)


def to_name(text: str, origin: Name) -> Name:
    """A name as a zone file writes it: `@` is the origin, and without a dot at the end it is relative to it.

    Raises:
        BadField: it is no name.
    """
    if text == "@":
        return origin
    try:
        found = names.from_text(text)
        dots = len(text) - len(text.rstrip("."))
        absolute = dots and not _escaped(text, len(text) - dots)
        return found if absolute else names.checked(found + origin)
    except names.BadName as error:
        raise BadField(str(error)) from error


def _escaped(text: str, at: int) -> bool:
    """Whether the character at `at` has a backslash of its own before it."""
    return (at - len(text[:at].rstrip("\\"))) % 2 == 1


def to_seconds(text: str) -> int:
    """A time to live: seconds, or with the units of BIND, `1h30m`.

    Raises:
        BadField: it is none, or above what RFC 2181 section 8 allows.
    """
    if not is_period(text):
        raise BadField(f"'{text}' is not a time in seconds or as in 1h30m")
    parts = re.findall(r"([0-9]+)([a-z]?)", text.lower())
    seconds = sum(int(number) * _UNITS[unit or "s"] for number, unit in parts)
    if seconds > MAX_TTL:
        raise BadField(f"'{text}' is more than {MAX_TTL} seconds")
    return seconds


def is_period(text: str) -> bool:
    """Whether a word can be a time to live."""
    return len(text) <= MAX_STRING and _PERIOD.fullmatch(text) is not None


def to_type(text: str) -> int | None:
    """The number of a type by its mnemonic, or None."""
    return _TYPES.get(text.upper()) or codes.type_number(text)


# -- numbers


def u8(cursor: Cursor) -> bytes:
    """A number of 8 bits."""
    return struct.pack("!B", cursor.number(0xFF))


def u16(cursor: Cursor) -> bytes:
    """A number of 16 bits."""
    return struct.pack("!H", cursor.number(0xFFFF))


def u32(cursor: Cursor) -> bytes:
    """A number of 32 bits."""
    return struct.pack("!I", cursor.number(0xFFFFFFFF))


def period(cursor: Cursor) -> bytes:
    """Seconds, in 32 bits."""
    return struct.pack("!I", to_seconds(cursor.take("a time")))


def moment(cursor: Cursor) -> bytes:
    """A date and time as YYYYMMDDHHmmSS or in seconds since 1970 (RFC 4034 section 3.2)."""
    text = cursor.take("a date")
    try:
        if len(text) == 14:
            return struct.pack("!I", timegm(time.strptime(text, "%Y%m%d%H%M%S")) & 0xFFFFFFFF)
        return struct.pack("!I", int(text))
    except (ValueError, struct.error) as error:
        raise BadField(f"'{text}' is not a date as YYYYMMDDHHmmSS") from error


def type_number(cursor: Cursor) -> bytes:
    """A record type."""
    text = cursor.take("a type")
    number = to_type(text)
    if number is None:
        raise BadField(f"'{text}' is not a type")
    return struct.pack("!H", number)


def algorithm(cursor: Cursor) -> bytes:
    """A DNSSEC algorithm, by number or mnemonic."""
    return struct.pack("!B", _mnemonic(cursor, _ALGORITHMS, 0xFF, "an algorithm"))


def certificate_type(cursor: Cursor) -> bytes:
    """What a CERT record holds, by number or mnemonic."""
    return struct.pack("!H", _mnemonic(cursor, _CERTIFICATES, 0xFFFF, "a certificate type"))


def _mnemonic(cursor: Cursor, table: dict[str, int], highest: int, what: str) -> int:
    text = cursor.take(what)
    number = table.get(text.upper())
    if number is None:
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if not 0 <= number <= highest:
        raise BadField(f"'{text}' is not {what}")
    return number


# -- names and addresses


def name(cursor: Cursor) -> bytes:
    """A domain name, not compressed."""
    return names.to_wire(to_name(cursor.take("a name"), cursor.origin))


def ipv4(cursor: Cursor) -> bytes:
    """An IPv4 address."""
    return _address(cursor, socket.AF_INET, "an IPv4 address")


def ipv6(cursor: Cursor) -> bytes:
    """An IPv6 address."""
    return _address(cursor, socket.AF_INET6, "an IPv6 address")


def _address(cursor: Cursor, family: int, what: str) -> bytes:
    text = cursor.take(what)
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError) as error:
        raise BadField(f"'{text}' is not {what}") from error


def hardware_address(length: int) -> Callable[[Cursor], bytes]:
    """An EUI of `length` octets, `00-00-5e-00-53-2a` (RFC 7043)."""

    def read(cursor: Cursor) -> bytes:
        text = cursor.take("a hardware address")
        if not re.fullmatch(rf"(?:[0-9a-fA-F]{{2}}-){{{length - 1}}}[0-9a-fA-F]{{2}}", text):
            raise BadField(f"'{text}' is not {length} octets as in 00-00-5e-00-53-2a")
        return bytes.fromhex(text.replace("-", ""))

    return read


# -- strings


def to_octets(text: str) -> bytes:
    """What a token stands for, its escapes resolved.

    Raises:
        BadField: an escape is wrong.
    """
    try:
        return octets(text)
    except ValueError as error:
        raise BadField(str(error)) from error


def _string(text: str) -> bytes:
    data = to_octets(text)
    if len(data) > MAX_STRING:
        raise BadField(f"a string of {len(data)} octets, {MAX_STRING} allowed")
    return bytes((len(data),)) + data


def string(cursor: Cursor) -> bytes:
    """A character string."""
    return _string(cursor.take("a string"))


def strings(cursor: Cursor) -> bytes:
    """One character string or more."""
    found = cursor.rest()
    if not found:
        raise BadField("a string is missing")
    return b"".join(_string(token.text) for token in found)


def octets_rest(cursor: Cursor) -> bytes:
    """The last token, without a length before it (URI, CAA)."""
    data = to_octets(cursor.take("a value"))
    cursor.end()
    return data


# -- binary


def _joined(cursor: Cursor) -> str:
    return "".join([token.text for token in cursor.rest()])


def hex_rest(cursor: Cursor) -> bytes:
    """All that is left, in hex digits."""
    text = _joined(cursor)
    try:
        return binascii.unhexlify(text)
    except (binascii.Error, ValueError) as error:
        raise BadField(f"'{text[:40]}' is not an even number of hex digits") from error


def base64_rest(cursor: Cursor) -> bytes:
    """All that is left, in base64."""
    text = _joined(cursor)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadField(f"'{text[:40]}' is not base64") from error
    if not data:
        raise BadField("base64 data is missing")
    return data


def salt(cursor: Cursor) -> bytes:
    """NSEC3's salt in hex with its length before it; `-` for none (RFC 5155 section 3.3)."""
    text = cursor.take("a salt")
    try:
        return _counted(b"" if text == "-" else binascii.unhexlify(text))
    except (binascii.Error, ValueError) as error:
        raise BadField(f"'{text}' is not a salt in hex") from error


def next_hash(cursor: Cursor) -> bytes:
    """NSEC3's next hashed owner name, in base32hex without padding (RFC 5155 section 3.3)."""
    text = cursor.take("a hash")
    try:
        return _counted(base64.b32hexdecode(text.upper() + "=" * (-len(text) % 8)))
    except (binascii.Error, ValueError) as error:
        raise BadField(f"'{text}' is not base32hex") from error


def _counted(data: bytes) -> bytes:
    if len(data) > MAX_STRING:
        raise BadField(f"{len(data)} octets, {MAX_STRING} allowed")
    return bytes((len(data),)) + data


def type_bitmap(cursor: Cursor) -> bytes:
    """The types that are left, as windows of bits (RFC 4034 section 4.1.2)."""
    windows: dict[int, bytearray] = {}
    for token in cursor.rest():
        number = to_type(token.text)
        if number is None:
            raise BadField(f"'{token.text}' is not a type")
        windows.setdefault(number >> 8, bytearray(32))[(number & 0xFF) >> 3] |= 0x80 >> (number & 7)
    parts = []
    for window, bits in sorted(windows.items()):
        used = bytes(bits).rstrip(b"\0")
        parts.append(bytes((window, len(used))) + used)
    return b"".join(parts)
