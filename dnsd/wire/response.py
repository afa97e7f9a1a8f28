"""Reads what an upstream sent, without unpacking what nobody looks at. Pure; trusts nothing that a message says.

`read` walks a message once and checks all that unpacking it would rely on: each name, each length, each count. What it
leaves is the octets and where things are in them. Records become objects when somebody asks for one; where nobody does,
the octets go on to the client as they came.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import overload

import dnslib
import msgspec
from dnslib import RR

from dnsd.wire import codes
from dnsd.wire.codes import Class, Type
from dnsd.wire.name import MAX_LABEL, MAX_NAME
from dnsd.wire.query import HEADER
from dnsd.wire.records import MAX_POINTER, MAX_POINTERS, MAX_TTL, BadRecord, Buffer

_HEADER = struct.Struct("!6H").unpack_from
_RECORD = struct.Struct("!HHIH").unpack_from
_POINTED = struct.Struct("!HHHIH").unpack_from
"""A record whose owner name is a pointer."""
_TTL = struct.Struct("!I")
RETURNED = codes.AA | codes.TC | codes.RA | codes.AD
"""Flags of a response that go on to the client."""
_OPCODE = 0x7800
_POINTER = 0xC0
_A, _SOA, _OPT, _IN = int(Type.A), int(Type.SOA), int(Type.OPT), int(Class.IN)
POINTER = 1 << 16
"""What a pointer adds to what a name takes, above all octets that it may have."""
_OCTETS = POINTER - 1
_MANY = MAX_POINTERS * POINTER

_WITH_NAMES: dict[int, type[dnslib.RD]] = {
    Type.NS: dnslib.NS,
    Type.CNAME: dnslib.CNAME,
    Type.PTR: dnslib.PTR,
    Type.SOA: dnslib.SOA,
    Type.MX: dnslib.MX,
    Type.DNAME: dnslib.RDMAP["DNAME"],
}
"""Types whose rdata is read, in every class: those whose names a sender may have compressed."""
_OF_INTERNET: dict[int, type[dnslib.RD]] = {
    Type.A: dnslib.A,
    Type.AAAA: dnslib.AAAA,
    Type.SRV: dnslib.SRV,
    Type.NAPTR: dnslib.RDMAP["NAPTR"],
}
"""Types whose rdata means something else in other classes. All types in neither table pass octet for octet."""
_ADDRESS: dict[int, int] = {Type.A: 4, Type.AAAA: 16}
"""Octets of an address."""
_BEFORE_NAME: dict[int, int] = {Type.NS: 0, Type.CNAME: 0, Type.PTR: 0, Type.DNAME: 0, Type.MX: 2, Type.SRV: 6}
"""Octets of rdata before the name that ends it."""
_CHECKED = frozenset(map(int, (*_WITH_NAMES, *_OF_INTERNET)))


class LazyRecords(Sequence[RR]):
    """A section of a response, unpacked when somebody looks at a record."""

    __slots__ = ("_records", "response", "section")

    def __init__(self, response: Response, section: int) -> None:
        self.response = response
        self.section = section
        """0 for answer, 1 for authority, 2 for additional."""
        self._records: tuple[RR, ...] | None = None

    def __len__(self) -> int:
        return self.response.layout.counts[self.section]

    @property
    def types(self) -> tuple[int, ...]:
        """The types of the records, which stay packed."""
        layout = self.response.layout
        first = sum(layout.counts[: self.section])
        return layout.types[first : first + layout.counts[self.section]]

    @overload
    def __getitem__(self, index: int) -> RR: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RR]: ...
    def __getitem__(self, index: int | slice) -> RR | Sequence[RR]:
        return self._unpacked()[index]

    def __iter__(self) -> Iterator[RR]:
        return iter(self._unpacked())

    def _unpacked(self) -> tuple[RR, ...]:
        if self._records is None:
            buffer = Buffer(self.response.data)
            buffer.offset = self.response.layout.firsts[self.section]
            records: list[RR] = []
            while len(records) < len(self):
                record = _record(buffer)
                if record is not None:
                    records.append(record)
            self._records = tuple(records)
        return self._records


class Layout(msgspec.Struct, frozen=True, gc=False):
    """Where things are in a response. OPT is not among its records."""

    question: bytes
    """The question section as it came; empty where there is none."""
    start: int
    """Offset of the first octet after the question."""
    end: int
    """Offset of the first octet after the last record."""
    whole: bool
    """Whether the octets from `start` to `end` are the records and nothing else: no OPT in their midst."""
    counts: tuple[int, int, int]
    """Records of answer, authority and additional."""
    firsts: tuple[int, int, int]
    """Offsets of the three sections."""
    types: tuple[int, ...]
    """Types of the records, in order."""
    ttls: tuple[int, ...]
    """Offsets of the records' TTLs, counted from `start`."""
    minimum_ttl: int
    """The least TTL of all records, in seconds; MAX_TTL where there is none."""
    soa_minimum: int | None
    """MINIMUM of the first SOA record in the authority section, in seconds (RFC 2308 section 4)."""
    options: bytes
    """Rdata of OPT."""


class Response(msgspec.Struct, frozen=True, gc=False):
    """A response that was read: its octets, where things are in them, and its sections, unpacked on demand."""

    data: bytes
    id: int
    flags: int
    rcode: int
    """12 bits where OPT extends it."""
    layout: Layout

    @property
    def answer(self) -> Sequence[RR]:
        """The answer section."""
        return LazyRecords(self, 0) if self.layout.counts[0] else ()

    @property
    def authority(self) -> Sequence[RR]:
        """The authority section."""
        return LazyRecords(self, 1) if self.layout.counts[1] else ()

    @property
    def additional(self) -> Sequence[RR]:
        """The additional section, without OPT."""
        return LazyRecords(self, 2) if self.layout.counts[2] else ()

    @property
    def question(self) -> bytes:
        """The question section as it came; empty where there is none."""
        return self.layout.question

    def with_ttl(self, ttl: int) -> Response:
        """This response with `ttl` seconds in every record."""
        layout, packed = self.layout, _TTL.pack(ttl)
        data, start = bytearray(self.data), layout.start
        for offset in layout.ttls:
            at = start + offset
            data[at : at + 4] = packed
        return Response(bytes(data), self.id, self.flags, self.rcode, layout)


def read(data: bytes, asked: bytes = b"") -> Response:
    """A response.

    `asked` is the question section that was sent, already known to be one: a response that repeats it octet for octet
    is read faster.

    Raises:
        BadRecord: the bytes are no response to a query, or to more than one question, or no message at all.
    """
    try:
        return _read(data, asked)
    except (IndexError, struct.error) as error:
        raise BadRecord("message cut off") from error


def _read(data: bytes, asked: bytes) -> Response:
    id_, flags, questions, *counts = _HEADER(data)
    if not flags & codes.QR or flags & _OPCODE or questions > 1:
        raise BadRecord("not a response to one question")
    names = _Names(data)
    at = HEADER
    if questions:
        if asked and data.startswith(asked, HEADER):
            at += len(asked)
            names.know(HEADER, at - 4)
        else:
            at = names.walk(HEADER) + 4
    if at > len(data):
        raise BadRecord("question cut off")
    rcode, zeroed, layout = _records(data, at, counts, names)
    if zeroed:
        copy = bytearray(data)
        for offset in zeroed:
            copy[offset : offset + 4] = bytes(4)
        data = bytes(copy)
    return Response(data, id_, flags, rcode << 4 | flags & 0xF, layout)


def _records(data: bytes, at: int, counts: Sequence[int], names: _Names) -> tuple[int, list[int], Layout]:
    """Walk over the records from `at` on: the extended rcode, where TTLs are too great to be true, and the layout."""
    start = end = at
    size = len(data)
    known = names.known
    types: list[int] = []
    ttls: list[int] = []
    zeroed: list[int] = []
    opt: tuple[int, bytes] | None = None
    minimum, soa_minimum, whole = MAX_TTL, None, True
    firsts, kept = [], []
    for section, count in enumerate(counts):
        firsts.append(at)
        before = len(types)
        for _ in range(count):
            if data[at] >= _POINTER:
                pointer, type_, class_, ttl, length = _POINTED(data, at)
                if known.get(pointer & MAX_POINTER, _MANY) >= _MANY:
                    names.walk(at)
                at += 2
            else:
                at = names.walk(at)
                type_, class_, ttl, length = _RECORD(data, at)
            ttl_at = at + 4
            at += 10 + length
            if at > size:
                raise BadRecord("rdata cut off")
            if type_ == _OPT:
                if section < 2 or opt is not None:
                    raise BadRecord("OPT where it may not be")
                opt = ttl >> 24, data[at - length : at]
                continue
            if type_ in _CHECKED and (type_ != _A or length != 4):
                _check(data, names, type_, class_, at - length, at)
            if ttl > MAX_TTL:  # counts as 0 (RFC 2181 section 8)
                zeroed.append(ttl_at)
                ttl = 0
            minimum = min(minimum, ttl)
            if type_ == _SOA and section == 1 and soa_minimum is None:
                (soa_minimum,) = _TTL.unpack_from(data, at - 4)
            types.append(type_)
            ttls.append(ttl_at - start)
            whole = opt is None
            end = at
        kept.append(len(types) - before)
    rcode, options = opt or (0, b"")
    layout = Layout(
        data[HEADER:start], start, end, whole, (kept[0], kept[1], kept[2]), (firsts[0], firsts[1], firsts[2]),
        tuple(types), tuple(ttls), minimum, soa_minimum, options,
    )  # fmt: skip
    return rcode, zeroed, layout


def unchanged(answer: Sequence[RR], authority: Sequence[RR], additional: Sequence[RR]) -> Response | None:
    """The response whose sections these are, all of them as they came; None where they are not of one response."""
    sections = (answer, authority, additional)
    for part in sections:
        if type(part) is LazyRecords:
            response = part.response
            break
    else:
        return None
    for i, part in enumerate(sections):
        if type(part) is LazyRecords:
            if part.response is not response or part.section != i:
                return None
        elif part or response.layout.counts[i]:
            return None
    return response


def _check(data: bytes, names: _Names, type_: int, class_: int, start: int, end: int) -> None:
    """That rdata is what its type says, for the types that are read.

    Raises:
        BadRecord: it is not.
    """
    if type_ in _OF_INTERNET and class_ != _IN:
        return
    before = _BEFORE_NAME.get(type_)
    if before is not None:
        fits = names.walk(start + before) == end
    elif type_ in _ADDRESS:
        fits = end - start == _ADDRESS[type_]
    elif type_ == _SOA:
        fits = names.walk(names.walk(start)) + 20 == end
    else:
        fits = names.walk(_after_strings(data, start + 4)) == end
    if not fits:
        raise BadRecord("rdata longer or shorter than it says")


def _after_strings(data: bytes, at: int) -> int:
    """The offset after the three character strings of a NAPTR record (RFC 3403 section 4.1)."""
    for _ in range(3):
        at += 1 + data[at]
    return at


class _Names:
    """Names of a message. Each octet is walked over at most once, however many pointers lead to it.

    `known` has for each offset what the rest of a name takes that begins there: its octets, uncompressed, and POINTER
    for each pointer on its way.
    """

    __slots__ = ("data", "known")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.known: dict[int, int] = {}

    def know(self, at: int, end: int) -> None:
        """Take in a name that is known to be one, without pointers, from `at` to before `end`."""
        while at < end:
            self.known[at] = end - at
            at += 1 + self.data[at]

    def walk(self, at: int) -> int:
        """The offset after the name at `at`.

        Raises:
            BadRecord: a label of an unknown type, a pointer that does not go back, too many of them, or too long.
            IndexError: cut off.
        """
        data, known = self.data, self.known
        passed: list[tuple[int, int]] = []
        taken = 0
        first, end = at, -1
        while True:
            length = data[at]
            if length == 0:
                taken += 1
                break
            passed.append((at, taken))
            if length >= _POINTER:
                target = (length & 0x3F) << 8 | data[at + 1]
                if target >= first or target < HEADER:
                    raise BadRecord("pointer that does not go back to a name")
                if end < 0:
                    end = at + 2
                taken += POINTER
                rest = known.get(target)
                if rest is not None:
                    taken += rest
                    break
                first = at = target
            elif length > MAX_LABEL:
                raise BadRecord("bad label type")
            else:
                taken += 1 + length
                at += 1 + length
            if taken & _OCTETS >= MAX_NAME:
                raise BadRecord("name of more than 255 octets")
        if taken & _OCTETS > MAX_NAME:
            raise BadRecord("name of more than 255 octets")
        if taken >= _MANY + POINTER:
            raise BadRecord("too many pointers in a name")
        for offset, before in passed:
            known[offset] = taken - before
        return at + 1 if end < 0 else end


def _record(buffer: Buffer) -> RR | None:
    """The next record, which was checked before; None for OPT."""
    owner = buffer.decode_name()
    type_, class_, ttl, length = buffer.unpack("!HHIH")
    if type_ == Type.OPT:
        buffer.get(length)
        return None
    kind = _WITH_NAMES.get(type_) or (_OF_INTERNET.get(type_) if class_ == Class.IN else None)
    rdata = dnslib.RD(buffer.get(length)) if kind is None else kind.parse(buffer, length)
    return RR(owner, type_, class_, ttl, rdata)
