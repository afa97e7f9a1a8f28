"""Fields of rdata with a grammar of their own: APL, IPSECKEY, LOC and the parameters of SVCB and HTTPS. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
import struct
from decimal import Decimal

from dnsd.plugins.file.fields import BadField, Cursor, base64_rest, ipv4, ipv6, name, to_octets

_PARAMETERS = {
    "mandatory": 0, "alpn": 1, "no-default-alpn": 2, "port": 3, "ipv4hint": 4, "ech": 5, "ipv6hint": 6,
    "dohpath": 7, "ohttp": 8,
}  # fmt: skip
"""IANA, DNS service parameter keys."""
_EQUATOR = 1 << 31
"""Thousandths of a second of arc: where RFC 1876 has the equator and the prime meridian."""
_MAX_ALTITUDE = 4_284_967_295
"""Centimetres: the highest that 32 bits hold from 100 km below the ellipsoid on."""


def prefixes(cursor: Cursor) -> bytes:
    """Address prefixes, `!1:192.0.2.0/24` (RFC 3123)."""
    wire = []
    for token in cursor.rest():
        match = re.fullmatch(r"(!?)([12]):([^/]+)/([0-9]{1,3})", token.text)
        try:
            network = ipaddress.ip_interface(f"{match[3]}/{match[4]}") if match else None
        except ValueError:
            network = None
        if match is None or network is None or network.version != (4 if match[2] == "1" else 6):
            raise BadField(f"'{token.text}' is not a prefix such as 1:192.0.2.0/24")
        packed = network.ip.packed.rstrip(b"\0")
        wire.append(struct.pack("!HBB", int(match[2]), int(match[4]), len(packed) | (0x80 if match[1] else 0)) + packed)
    return b"".join(wire)


def ipsec_key(cursor: Cursor) -> bytes:
    """Precedence, gateway type, algorithm, gateway and key (RFC 4025)."""
    precedence, kind, number = cursor.number(255), cursor.number(3), cursor.number(255)
    if kind == 0:
        if cursor.take("a gateway") != ".":
            raise BadField("a gateway of type 0 is written '.'")
        gateway = b""
    else:
        gateway = (ipv4, ipv6, name)[kind - 1](cursor)
    return bytes((precedence, kind, number)) + gateway + (base64_rest(cursor) if number else b"")


def location(cursor: Cursor) -> bytes:
    """Latitude, longitude, altitude, size and precisions (RFC 1876 section 3)."""
    latitude = _angle(cursor, 90, "NS")
    longitude = _angle(cursor, 180, "EW")
    altitude = _centimetres(cursor.take("an altitude"), -10_000_000, _MAX_ALTITUDE) + 10_000_000
    sizes = [_centimetres(token.text, 0, 9_000_000_000) for token in cursor.rest()]
    if len(sizes) > 3:
        raise BadField("more than a size and two precisions")
    size, horizontal, vertical = (*sizes, *(100, 1_000_000, 1_000)[len(sizes) :])
    return struct.pack("!4B3I", 0, *map(_power, (size, horizontal, vertical)), latitude, longitude, altitude)


def _angle(cursor: Cursor, most: int, sides: str) -> int:
    """Degrees, minutes and seconds up to the letter of a hemisphere, in thousandths of a second from 2^31."""
    parts: list[Decimal] = []
    while (text := cursor.take("a hemisphere").upper()) not in tuple(sides):
        if len(parts) == 3 or not re.fullmatch(
            r"[0-9]{1,3}(\.[0-9]{1,3})?" if len(parts) == 2 else r"[0-9]{1,3}", text
        ):
            raise BadField(f"'{text}' is not a part of an angle, which ends in {' or '.join(sides)}")
        parts.append(Decimal(text))
    degrees, minutes, seconds = (*parts, *[Decimal(0)] * (3 - len(parts)))
    thousandths = int(((degrees * 60 + minutes) * 60 + seconds) * 1000)
    if not parts or minutes >= 60 or seconds >= 60 or thousandths > most * 3_600_000:
        raise BadField(f"not an angle of up to {most} degrees")
    return _EQUATOR + (thousandths if text == sides[0] else -thousandths)


def _centimetres(text: str, lowest: int, highest: int) -> int:
    match = re.fullmatch(r"(-?[0-9]{1,9}(?:\.[0-9]{1,2})?)m?", text)
    value = int(Decimal(match[1]) * 100) if match else highest + 1
    if not lowest <= value <= highest:
        raise BadField(f"'{text}' is not a length in metres")
    return value


def _power(centimetres: int) -> int:
    """A length as a digit and a power of ten (RFC 1876 section 2)."""
    exponent = 0
    while centimetres > 9:
        centimetres //= 10
        exponent += 1
    return centimetres << 4 | exponent


def service_parameters(cursor: Cursor) -> bytes:
    """`key=value` pairs, in the order of their numbers (RFC 9460 section 2.1)."""
    found: dict[int, bytes] = {}
    tokens = cursor.rest()
    at = 0
    while at < len(tokens):
        key, equals, value = tokens[at].text.partition("=")
        at += 1
        if equals and not value and at < len(tokens) and tokens[at].quoted:
            value = tokens[at].text
            at += 1
        number = _parameter(key)
        if number in found:
            raise BadField(f"'{key}' is there twice")
        found[number] = _value(number, key, value, given=bool(equals))
    missing = [key for (key,) in struct.iter_unpack("!H", found.get(0, b"")) if key not in found]
    if missing:
        raise BadField(f"mandatory key {missing[0]} is missing")
    if 2 in found and 1 not in found:
        raise BadField("'no-default-alpn' goes with 'alpn'")
    return b"".join([struct.pack("!HH", number, len(value)) + value for number, value in sorted(found.items())])


def _parameter(key: str) -> int:
    match = re.fullmatch(r"key(0|[1-9][0-9]{0,4})", key)
    number = int(match[1]) if match else _PARAMETERS.get(key, -1)
    if not 0 <= number < 65_535:
        raise BadField(f"'{key}' is not a service parameter")
    return number


def _value(number: int, key: str, value: str, *, given: bool) -> bytes:
    """The octets of a parameter's value."""
    try:
        match number:
            case 0:
                keys = sorted({_parameter(item) for item in value.split(",")})
                if 0 in keys:
                    raise BadField("'mandatory' names itself")
                return struct.pack(f"!{len(keys)}H", *keys)
            case 1:
                return b"".join([bytes((len(item),)) + item for item in _list(to_octets(value))])
            case 2 | 8 if given:
                raise BadField(f"'{key}' has no value")
            case 3:
                return struct.pack("!H", int(value))
            case 4 | 6:
                family = socket.AF_INET if number == 4 else socket.AF_INET6
                return b"".join([socket.inet_pton(family, item) for item in value.split(",")])
            case 5:
                return base64.b64decode(value, validate=True)
    except (OSError, ValueError, struct.error, binascii.Error) as error:
        raise BadField(f"'{value}' is not a value of '{key}'") from error
    return to_octets(value)


def _list(data: bytes) -> list[bytes]:
    """The items of a comma-separated list, which has escapes of its own (RFC 9460 appendix A.1)."""
    items = [bytearray()]
    octets = iter(data)
    for octet in octets:
        if octet == ord(","):
            items.append(bytearray())
        else:
            items[-1].append(next(octets, octet) if octet == ord("\\") else octet)
    if not all(items):
        raise ValueError("an item is empty")
    return [bytes(item) for item in items]
