"""Queries as octets, made by hand: every bit of them is a test's to choose."""

from __future__ import annotations

import struct

RD = 0x0100


def name_wire(name: str) -> bytes:
    """An absolute name in its wire form; no escapes."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(name: str, type_: int, class_: int = 1) -> bytes:
    """A question section."""
    return name_wire(name) + struct.pack("!2H", type_, class_)


def opt(
    size: int = 1232, *, version: int = 0, flags: int = 0, options: tuple[tuple[int, bytes], ...] = (), rcode: int = 0
) -> bytes:
    """An OPT record; `flags` are its 16 bits, DO is 0x8000."""
    data = b"".join(struct.pack("!2H", code, len(value)) + value for code, value in options)
    return b"\0" + struct.pack("!2H2BHH", 41, size, rcode, version, flags, len(data)) + data


def query(
    name: str, type_: int = 1, *, id_: int = 0x1234, flags: int = RD, class_: int = 1, edns: bytes | None = None
) -> bytes:
    """A query with one question, and an OPT record where `edns` is one."""
    additional = edns or b""
    return struct.pack("!6H", id_, flags, 1, 0, 0, 1 if additional else 0) + question(name, type_, class_) + additional
