"""Reads what an upstream sent. Pure; trusts nothing that a message says about itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import dnslib
from dnslib import RR

from dnsd.wire import codes
from dnsd.wire.codes import Type
from dnsd.wire.query import HEADER
from dnsd.wire.records import MAX_TTL, BadRecord, Buffer, RRs

_WITH_NAMES: dict[int, type[dnslib.RD]] = {
    Type.A: dnslib.A,
    Type.AAAA: dnslib.AAAA,
    Type.NS: dnslib.NS,
    Type.CNAME: dnslib.CNAME,
    Type.PTR: dnslib.PTR,
    Type.SOA: dnslib.SOA,
    Type.MX: dnslib.MX,
    Type.SRV: dnslib.SRV,
    Type.DNAME: dnslib.RDMAP["DNAME"],
    Type.NAPTR: dnslib.RDMAP["NAPTR"],
}
"""Types whose rdata is read: those whose names a sender may have compressed. All others pass octet for octet."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response, with OPT taken out of its sections."""

    id: int
    flags: int
    rcode: int
    """12 bits where OPT extends it."""
    question: bytes
    """The question section as it came; empty where there is none."""
    answer: RRs
    authority: RRs
    additional: RRs


def read(data: bytes) -> Response:
    """A response.

    Raises:
        BadRecord: the bytes are no response, or more than one question.
    """
    buffer = Buffer(data)
    try:
        id_, flags, questions, *counts = buffer.unpack("!6H")
        if not flags & codes.QR or questions > 1:
            raise BadRecord("not a response to one question")
        for _ in range(questions):
            buffer.decode_name()
            buffer.get(4)
        question = bytes(data[HEADER : buffer.offset])
        rcode = flags & 0xF
        sections: list[RRs] = []
        for count in counts:
            records = []
            for _ in range(count):
                record = _record(buffer)
                if isinstance(record, int):
                    rcode |= record << 4
                else:
                    records.append(record)
            sections.append(tuple(records))
    except (dnslib.BufferError, dnslib.DNSError, dnslib.DNSLabelError, ValueError, struct.error, IndexError) as error:
        raise BadRecord(str(error)) from error
    return Response(id_, flags, rcode, question, *sections)


def _record(buffer: Buffer) -> RR | int:
    """The next record, or the extended rcode of an OPT."""
    owner = buffer.decode_name()
    type_, class_, ttl, length = buffer.unpack("!HHIH")
    end = buffer.offset + length
    if end > len(buffer.data):
        raise ValueError("rdata cut off")
    if type_ == Type.OPT:
        buffer.offset = end
        return int(ttl >> 24)
    kind = _WITH_NAMES.get(type_)
    rdata = kind.parse(buffer, length) if kind is not None and length else dnslib.RD(buffer.get(length))
    if buffer.offset != end:
        raise ValueError("rdata longer or shorter than it says")
    return RR(owner, type_, class_, 0 if ttl > MAX_TTL else ttl, rdata)
