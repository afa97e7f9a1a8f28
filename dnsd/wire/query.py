"""The accept gate: what arrives becomes a Query, a ready error reply, or nothing.

Runs before anything is allocated by what a message claims about itself. Pure. RFC 1035 section 4, RFC 6891, and
spec.md section 1.1; a question's name may not be compressed, for there is nothing before it to point to.
"""

from __future__ import annotations

import struct

import msgspec

from dnsd.wire import codes
from dnsd.wire.codes import Opcode, Option, Rcode, Type
from dnsd.wire.name import MAX_LABEL, MAX_NAME, Name

HEADER = 12
"""Octets of a message header."""
MAX_UDP_QUERY = 4096
"""Octets of a query that are read from a datagram: the reference reads 512, but EDNS options may need more."""
MAX_OPTIONS = 64
"""EDNS options of one query; more is an attack on whoever loops over them."""
MIN_UDP_SIZE = 512
"""Octets that every client takes over UDP (RFC 1035 section 4.2.1)."""
MAX_UDP_SIZE = 65_507
"""Octets of the largest datagram that IPv4 carries."""
MAX_TCP_SIZE = 65_535
"""Octets of the largest message that the length prefix of TCP can announce."""
OPT_OCTETS = 11
"""Octets of an OPT record without options (RFC 6891 section 6.1.2)."""
_POINTER = 0xC0
_PLAIN = frozenset(
    struct.pack("!5H", flags, 1, 0, 0, opts) for flags in (codes.RD, codes.RD | codes.AD) for opts in (0, 1)
)
"""Headers of plain queries, without the id."""
_OPT_BEGIN = struct.pack("!BH", 0, Type.OPT)
_OPT_END = frozenset(struct.pack("!IH", flags, 0) for flags in (0, codes.DO))
"""What follows the size: extended rcode, version, flags, and no options."""


class Malformed(Exception):
    """The bytes are no DNS message."""


class Question(msgspec.Struct, frozen=True, gc=False):
    """One question. `name` is in lower case, `asked` as it came."""

    name: Name
    type: int
    class_: int
    asked: Name
    wire: bytes
    """The question section, to be given back octet for octet."""


class Edns(msgspec.Struct, frozen=True, gc=False):
    """The OPT record of a query (RFC 6891)."""

    size: int
    """UDP payload size in octets, as the client says it."""
    version: int = 0
    do: bool = False
    options: tuple[tuple[int, bytes], ...] = ()


class Message(msgspec.Struct, frozen=True, gc=False):
    """A query that passed the gate."""

    id: int
    flags: int
    """The 16 bits after the id, as they came."""
    question: Question
    edns: Edns | None
    size: int
    """Octets of the message as it was received."""
    serial: int | None = None
    """Of a SOA record that came along: what the client of an IXFR has (RFC 1995 section 3)."""


def accept(data: bytes) -> Message | bytes | None:
    """A Message to be answered, the bytes of an error reply, or None for silence.

    Never raises, whatever the bytes.
    """
    if len(data) < HEADER:
        return None
    id_, flags, questions, answers, authorities, additionals = struct.unpack_from("!6H", data)
    if flags & codes.QR:
        return None
    opcode = flags >> 11 & 0xF
    if opcode != Opcode.QUERY:
        return _error(id_, flags, Rcode.NOTIMP)
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return _error(id_, flags, Rcode.FORMERR)
    if len(data) == HEADER:
        return _error(id_, flags, Rcode.SERVFAIL)
    try:
        question, at = _question(data)
    except Malformed:
        return _error(id_, flags, Rcode.FORMERR)
    try:
        edns, serial = _records(data, at, answers + authorities + additionals)
    except Malformed:
        return _error(id_, flags, Rcode.FORMERR, question.wire)
    return Message(id_, flags, question, edns, len(data), serial)


def plain(data: bytes) -> int:
    """The offset of the question's type in a query as stub resolvers send it, 0 in any other.

    That is: RD set, AD perhaps, one question, and nothing else but an OPT of version 0 without options.
    """
    if data[2:HEADER] not in _PLAIN:
        return 0
    at, size = HEADER, len(data)
    while at < size and (length := data[at]):
        if length > MAX_LABEL:
            return 0
        at += 1 + length
    if at - HEADER >= MAX_NAME:
        return 0
    at += 1
    rest = at + 4
    if not data[HEADER - 1]:
        return at if rest == size else 0
    if rest + OPT_OCTETS != size or data[rest : rest + 3] != _OPT_BEGIN or data[rest + 5 :] not in _OPT_END:
        return 0
    return at


def _error(id_: int, flags: int, rcode: Rcode, question: bytes = b"") -> bytes:
    opcode = flags & 0x7800 if rcode == Rcode.NOTIMP else 0
    kept = flags & (codes.TC | codes.RD | codes.RA | codes.AD | codes.CD)
    return struct.pack("!6H", id_, codes.QR | opcode | kept | rcode, 1 if question else 0, 0, 0, 0) + question


def _question(data: bytes) -> tuple[Question, int]:
    labels: list[bytes] = []
    at = HEADER
    while True:
        if at >= len(data):
            raise Malformed("question name cut off")
        length = data[at]
        at += 1
        if length == 0:
            break
        if length > MAX_LABEL:
            raise Malformed("bad label type in question")
        if at + length > len(data):
            raise Malformed("label cut off")
        labels.append(data[at : at + length])
        at += length
        if at - HEADER >= MAX_NAME:
            raise Malformed("name of more than 255 octets")
    wire = data[HEADER : at + 4]
    if at == len(data):
        wire += b"\0\0\0\0"
    elif at + 4 > len(data):
        raise Malformed("type or class cut off")
    type_, class_ = struct.unpack_from("!2H", wire, len(wire) - 4)
    asked = tuple(labels)
    name = tuple([label.lower() for label in labels])
    return Question(name, type_, class_, asked, wire), at + 4


def _records(data: bytes, at: int, records: int) -> tuple[Edns | None, int | None]:
    """The first OPT and a SOA's serial among the records after the question; the others are only walked over."""
    edns = serial = None
    for _ in range(records):
        if at >= len(data):
            break  # fewer records than were announced, cut at a border: read on as if they were not announced
        at = _skip_name(data, at)
        if at + 10 > len(data):
            raise Malformed("record cut off")
        type_, class_, ttl, length = struct.unpack_from("!HHIH", data, at)
        at += 10
        if at + length > len(data):
            raise Malformed("rdata cut off")
        if type_ == Type.OPT and edns is None:
            options = _options(data[at : at + length])
            edns = Edns(class_, ttl >> 16 & 0xFF, bool(ttl & codes.DO), options)
        elif type_ == Type.SOA:
            serial = _serial(data, at, at + length)
        at += length
    return edns, serial


def _serial(data: bytes, at: int, end: int) -> int:
    """The serial in the rdata of a SOA, behind two names."""
    at = _skip_name(data, _skip_name(data, at))
    if at + 20 != end:
        raise Malformed("SOA of another length than its names say")
    (serial,) = struct.unpack_from("!I", data, at)
    return int(serial)


def _skip_name(data: bytes, at: int) -> int:
    """The offset after the name at `at`; pointers may only go backwards (RFC 1035 section 4.1.4)."""
    end = -1
    octets = 0
    while True:
        if at >= len(data):
            raise Malformed("name cut off")
        length = data[at]
        if length == 0:
            return at + 1 if end < 0 else end
        if length >= _POINTER:
            if at + 2 > len(data):
                raise Malformed("pointer cut off")
            target = (length & 0x3F) << 8 | data[at + 1]
            if target >= at or target < HEADER:
                raise Malformed("pointer that does not go back to a name")
            if end < 0:
                end = at + 2
            at = target
            octets += 1  # a chain of pointers is bounded as a name is
        elif length > MAX_LABEL:
            raise Malformed("bad label type")
        else:
            at += 1 + length
            octets += 1 + length
        if octets >= MAX_NAME:
            raise Malformed("name of more than 255 octets")


def _options(rdata: bytes) -> tuple[tuple[int, bytes], ...]:
    options: list[tuple[int, bytes]] = []
    at = 0
    while at < len(rdata):
        if at + 4 > len(rdata) or len(options) == MAX_OPTIONS:
            raise Malformed("EDNS option cut off, or too many of them")
        code, length = struct.unpack_from("!2H", rdata, at)
        at += 4
        if at + length > len(rdata):
            raise Malformed("EDNS option cut off")
        options.append((code, rdata[at : at + length]))
        at += length
    return tuple(options)


def option(edns: Edns | None, code: Option) -> bytes | None:
    """The data of the first option with this code, or None."""
    for found, data in edns.options if edns else ():
        if found == code:
            return data
    return None
