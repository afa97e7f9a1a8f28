"""Answers to bytes: header, compression, EDNS, and what is left of an answer that does not fit.

A reply is cut in two around the question, `id | head | question | tail`, because head and tail are the same for
everybody who asks the same question, whatever its id and letter case. Pure. RFC 1035, 2181 section 9, 6891, 8914.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import dnslib
import msgspec
from dnslib import RR

from dnsd.wire import codes
from dnsd.wire.codes import Option, Type
from dnsd.wire.query import HEADER, MAX_TCP_SIZE, MAX_UDP_SIZE, MIN_UDP_SIZE, Edns, Message, Question
from dnsd.wire.records import Buffer
from dnsd.wire.response import Response, unchanged

MAX_EDE_TEXT = 120
"""Octets of an Extended DNS Error's text; it must not be what makes a reply too long for a datagram."""
_HEAD = struct.Struct("!5H").pack
_ECHOED = 0x7800 | codes.RD | codes.CD
"""What a reply's flags have from the query: opcode, RD and CD."""


class Sections(msgspec.Struct, frozen=True, gc=False):
    """What a reply says besides its question. `flags` are AA, TC, RA and AD."""

    rcode: int
    flags: int
    answer: Sequence[RR] = ()
    authority: Sequence[RR] = ()
    additional: Sequence[RR] = ()
    options: tuple[tuple[int, bytes], ...] = ()
    """EDNS options, told to clients that sent OPT."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The octets after the id and before the question, and those after it."""

    head: bytes
    tail: bytes
    ttls: tuple[int, ...]
    """Offsets in `tail` of the TTL of each record."""
    size: int
    """Octets of the whole message."""

    def to_wire(self, id_: int, question: bytes) -> bytes:
        """The whole message, for one id and one spelling of the question."""
        return struct.pack("!H", id_) + self.head + question + self.tail


def budget(edns: Edns | None, *, tcp: bool) -> int:
    """Octets that a reply to this query may have."""
    if tcp:
        return MAX_TCP_SIZE
    if edns is None:
        return MIN_UDP_SIZE
    return min(max(MIN_UDP_SIZE, edns.size), MAX_UDP_SIZE)


def ede(code: int, text: str = "") -> tuple[int, bytes]:
    """An Extended DNS Error as an EDNS option (RFC 8914)."""
    return Option.EDE, struct.pack("!H", code) + text.encode()[:MAX_EDE_TEXT]


def write(message: Message, sections: Sections, *, tcp: bool) -> Reply:
    """The reply to `message`.

    Whole records are kept in order as long as they fit; TC is set where one did not (spec.md section 1.5). Sections
    that are an upstream's response as it came go on as its octets, if they fit.
    """
    limit = budget(message.edns, tcp=tcp)
    response = unchanged(sections.answer, sections.authority, sections.additional)
    if response is not None and response.layout.whole and _asked(message.question, response.question):
        reply = _relay(message, sections, response)
        if reply.size <= limit:
            return reply
    return _Writer(message.question).write(message, sections, limit)


def _asked(question: Question, wire: bytes) -> bool:
    """Whether this question section asks `question`, in whatever letter case: so offsets behind it are the same."""
    own = question.wire
    return own == wire or (own[-4:] == wire[-4:] and own[:-4].lower() == wire[:-4].lower())


def _relay(message: Message, sections: Sections, response: Response) -> Reply:
    layout = response.layout
    opt = _opt(message.edns, sections)
    answers, authorities, additionals = layout.counts
    head = _HEAD(_flags(message, sections), 1, answers, authorities, additionals + (1 if opt else 0))
    tail = response.data[layout.start : layout.end] + opt
    return Reply(head, tail, layout.ttls, layout.start + len(tail))


def _flags(message: Message, sections: Sections) -> int:
    return codes.QR | message.flags & _ECHOED | sections.flags | sections.rcode & 0xF


class _Writer:
    def __init__(self, question: Question) -> None:
        self.question = question
        self.buffer = Buffer(bytes(HEADER) + question.wire)
        self.buffer.offset = self.start = HEADER + len(question.wire)
        self.ttls: list[int] = []
        at = HEADER
        for i in range(len(question.name)):
            self.buffer.names[question.name[i:]] = at
            at += 1 + len(question.name[i])

    def write(self, message: Message, sections: Sections, limit: int) -> Reply:
        opt = _opt(message.edns, sections)
        limit -= len(opt)
        counts = [0, 0, 0]
        flags = _flags(message, sections)
        for i, records in enumerate((sections.answer, sections.authority, sections.additional)):
            counts[i] = self._records(records, limit)
            if counts[i] < len(records):
                flags |= codes.TC
                break
        head = _HEAD(flags, 1, counts[0], counts[1], counts[2] + (1 if opt else 0))
        tail = bytes(self.buffer.data[self.start :]) + opt
        return Reply(head, tail, tuple(self.ttls), self.start + len(tail))

    def _records(self, records: Sequence[RR], limit: int) -> int:
        """Append records while they fit; how many did."""
        buffer = self.buffer
        for done, record in enumerate(records):
            before = buffer.offset
            self._record(record)
            if buffer.offset > limit:
                del buffer.data[before:]
                buffer.offset = before
                return done
            self.ttls.append(self._ttl_at - self.start)
        return len(records)

    def _record(self, record: RR) -> None:
        buffer = self.buffer
        buffer.encode_name(record.rname)
        self._ttl_at = buffer.offset + 4
        if record.rtype in (Type.A, Type.AAAA) and isinstance(record.rdata, dnslib.A | dnslib.AAAA):
            data = record.rdata.data
            buffer.append(struct.pack("!HHIH", record.rtype, record.rclass, record.ttl, len(data)) + bytes(data))
            return
        buffer.append(struct.pack("!HHIH", record.rtype, record.rclass, record.ttl, 0))
        start = buffer.offset
        record.rdata.pack(buffer)
        struct.pack_into("!H", buffer.data, start - 2, buffer.offset - start)


def _opt(edns: Edns | None, sections: Sections) -> bytes:
    """The OPT record of a reply: the client's size and DO, our options (spec.md section 1.4)."""
    if edns is None:
        return b""
    options = b"".join(struct.pack("!2H", code, len(data)) + data for code, data in sections.options)
    bad_version = sections.rcode == codes.Rcode.BADVERS
    size = 0 if bad_version else edns.size
    flags = codes.DO if edns.do and not bad_version else 0
    return struct.pack("!BHHBBHH", 0, Type.OPT, size, sections.rcode >> 4, 0, flags, len(options)) + options
