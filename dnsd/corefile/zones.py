"""The zones that a word of a Corefile names: `[scheme://]zone-or-CIDR[:port]`; knows names and no directive."""

from __future__ import annotations

import ipaddress
import re

from dnsd.corefile.syntax import CorefileError, Word, ZoneKey

DEFAULT_PORTS = {"dns": 53, "tls": 853, "quic": 853, "https": 443, "https3": 443, "grpc": 443}
"""The schemes of a key and the port each listens on where neither the key nor, for dns, `-dns.port` says."""

MAX_PORT = 65_535
"""The field is 16 bits wide (RFC 768, RFC 9293). Port 0 lets the kernel pick one."""

MAX_LABEL_OCTETS = 63
"""RFC 1035 section 2.3.4."""

MAX_NAME_OCTETS = 255
"""RFC 1035 section 2.3.4: on the wire, with a length octet before each label and the root's at the end."""

_PLAIN_LABEL = re.compile(r"[!-~]+")
"""Visible ASCII. What else DNS allows in a label can only be written with escapes, which a Corefile does not have."""

_RESERVED = re.compile(r'[\\:,(){}"]')
"""Visible, but in a key always a slip: an escape, a second port, a forgotten blank, part of a snippet's name."""


def keys(word: Word) -> tuple[ZoneKey, ...]:
    """Read a server block's key, or a zone among a directive's arguments.

    A CIDR names the reverse zones on the next boundary at or below its prefix, an octet for IPv4 and a nibble for
    IPv6: `10.96.0.0/12` is 16 zones, at most 128 (spec.md section 5.1).

    Raises:
        CorefileError: the scheme, the port, the prefix or the name is wrong.
    """
    scheme, separator, address = word.text.partition("://")
    if not separator:
        scheme, address = "dns", word.text
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise CorefileError(word.position, f"unknown scheme '{scheme}'", f"one of {', '.join(DEFAULT_PORTS)}")
    host, port = _split_port(word, address)
    if not host and port is None:
        raise CorefileError(word.position, f"no zone in '{word.text}'", "the root zone is written '.'")
    return tuple(ZoneKey(scheme, zone, port, word.position) for zone in _zones(word, host))


def _split_port(word: Word, address: str) -> tuple[str, int | None]:
    """Split off the port, which follows the prefix of a CIDR and may not follow a bare IPv6 address."""
    prefix_at = address.rfind("/")
    colon = address.find(":", prefix_at + 1)
    if colon < 0:
        return address, None
    if prefix_at < 0 and address.count(":") > 1:
        raise CorefileError(
            word.position,
            f"'{address}' is neither a name nor a network",
            "a reverse zone needs a prefix length, 2001:db8::/32; an address to listen on belongs to 'bind'",
        )
    digits = address[colon + 1 :]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= MAX_PORT):
        raise CorefileError(word.position, f"'{digits}' is not a port", f"a number from 0 to {MAX_PORT}")
    return address[:colon], int(digits)


def _zones(word: Word, host: str) -> tuple[str, ...]:
    address, slash, prefix = host.partition("/")
    if slash and _is_address(address):
        longest = ipaddress.ip_address(address).max_prefixlen
        if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= 3 and int(prefix) <= longest):
            message = f"'{prefix}' is not a prefix length of {address}"
            raise CorefileError(word.position, message, f"a number from 0 to {longest}")
        return _reverse_zones(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
    return (_name(word, host),)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _reverse_zones(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[str, ...]:
    bits_per_label = 8 if network.version == 4 else 4
    boundary = -(-network.prefixlen // bits_per_label) * bits_per_label
    labels_below = (network.max_prefixlen - boundary) // bits_per_label
    return tuple(
        ".".join(subnet.network_address.reverse_pointer.split(".")[labels_below:]) + "."
        for subnet in network.subnets(new_prefix=boundary)
    )


def _name(word: Word, text: str) -> str:
    """Check a domain name and return it in lower case and fully qualified."""
    if text in {"", "."}:
        return "."
    labels = text.removesuffix(".").split(".")
    for label in labels:
        if not label:
            raise CorefileError(word.position, f"empty label in '{text}'", "two dots in a row, or one at the start")
        if not _PLAIN_LABEL.fullmatch(label):
            message = f"'{label}' has a character that is not visible ASCII"
            raise CorefileError(
                word.position, message, "a name has no blanks, and an international one is written in its xn-- form"
            )
        if reserved := _RESERVED.search(label):
            message = f"'{reserved[0]}' cannot be part of a zone: '{text}'"
            raise CorefileError(word.position, message, "zones are separated by blanks, and not escaped")
        if len(label) > MAX_LABEL_OCTETS:
            raise CorefileError(
                word.position, f"label of {len(label)} octets: '{label}'", f"at most {MAX_LABEL_OCTETS}"
            )
    octets = sum(len(label) + 1 for label in labels) + 1
    if octets > MAX_NAME_OCTETS:
        raise CorefileError(
            word.position, f"name of {octets} octets on the wire: '{text}'", f"at most {MAX_NAME_OCTETS}"
        )
    return text.lower().removesuffix(".") + "."
