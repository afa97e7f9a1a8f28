"""Reads the upstreams of a stanza: addresses, URLs, host names, and files such as /etc/resolv.conf."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Word
from dnsd.corefile.zones import MAX_PORT
from dnsd.plugins.forward.settings import MAX_UPSTREAMS, PORTS, Scheme, Target

MAX_RESOLV_CONF = 65_536
"""Octets of a file that names upstreams; more is not such a file."""


def read(word: Word, directory: Path) -> tuple[Target, ...]:
    """The upstreams that one word names.

    Raises:
        CorefileError: it names none.
    """
    scheme, separator, rest = word.text.partition("://")
    if separator:
        try:
            return (_target(word, rest, Scheme(scheme.lower())),)
        except ValueError:
            raise CorefileError(
                word.position, f"'{scheme}' is not how to ask an upstream", "dns, tls or https"
            ) from None
    path = directory / word.text
    if path.is_file():
        return _resolv_conf(word, path)
    return (_target(word, word.text, Scheme.DNS),)


def address(word: Word) -> Target:
    """An address, with a port or without.

    Raises:
        CorefileError: it is none.
    """
    target = _target(word, word.text, Scheme.DNS)
    if target.by_name:
        raise CorefileError(word.position, f"'{word.text}' is not an IP address")
    return target


def _target(word: Word, text: str, scheme: Scheme) -> Target:
    """Read `HOST[:PORT]`, `[IPv6]:PORT`, `HOST%SERVERNAME[:PORT]` for TLS, and `HOST[:PORT]/PATH` for HTTPS."""
    path = "/dns-query"
    if scheme is Scheme.HTTPS and "/" in text:
        text, slash, rest = text.partition("/")
        path = slash + rest
    server_name = port = ""
    if scheme is Scheme.TLS and "%" in text:
        text, _, rest = text.partition("%")
        server_name, _, port = rest.partition(":")
    host, own_port = _split(word, text)
    by_name = not _is_address(host)
    if by_name:
        if "/" in host:
            raise CorefileError(word.position, f"there is no file '{word.text}'")
        host = words.zone(Word(host, word.position)).removesuffix(".")
        if not host:
            raise CorefileError(word.position, f"no upstream in '{word.text}'")
    number = _port(word, port or own_port, PORTS[scheme])
    return Target(host, number, scheme, server_name, path, by_name)


def _split(word: Word, text: str) -> tuple[str, str]:
    """Host and port; a bare IPv6 address has none."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_address(host):
            raise CorefileError(word.position, f"'{word.text}' is not an address", "such as [2001:db8::1]:53")
        return host, rest.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _port(word: Word, text: str, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= MAX_PORT):
        raise CorefileError(word.position, f"'{text}' is not a port", f"a number from 1 to {MAX_PORT}")
    return int(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _resolv_conf(word: Word, path: Path) -> tuple[Target, ...]:
    """The name servers of a file like /etc/resolv.conf; every other line says something about stub resolvers."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(MAX_RESOLV_CONF).splitlines()
    except OSError as error:
        raise CorefileError(word.position, f"cannot read {path}: {error.strerror}") from error
    found = []
    for line in lines:
        keyword, *rest = line.split() or [""]
        if keyword == "nameserver" and rest and _is_address(rest[0]):
            found.append(Target(rest[0], PORTS[Scheme.DNS]))
    if not found:
        raise CorefileError(word.position, f"no name server in {path}", "lines such as 'nameserver 192.0.2.53'")
    if len(found) > MAX_UPSTREAMS:
        raise CorefileError(word.position, f"{len(found)} name servers in {path}, {MAX_UPSTREAMS} are allowed")
    return tuple(found)
