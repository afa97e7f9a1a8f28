"""Resource records and the buffer that packs them: dnslib's, with what the wire needs and dnslib leaves out.

Names of any octets; compression that ignores case, so that names under the question point into it and come back as it
was asked; no pointer past 16,383 octets; no compressed name where RFC 3597 section 4 forbids one.
"""

from __future__ import annotations

import struct

import dnslib
from dnslib import RR, DNSBuffer, DNSLabel

from dnsd.wire.codes import Class, Type
from dnsd.wire.name import MAX_NAME, Name

RRs = tuple[RR, ...]

MAX_POINTER = 0x3FFF
"""The last offset that a compression pointer can name (RFC 1035 section 4.1.4)."""
MAX_POINTERS = 32
"""Compression pointers on the way through one name: writers need one, or a few where a suffix was itself compressed."""
MAX_TTL = 0x7FFFFFFF
"""Seconds; a greater value on the wire counts as 0 (RFC 2181 section 8)."""


class BadRecord(Exception):
    """Bytes that are no record."""


class Buffer(DNSBuffer):
    """A message under construction, or one being read."""

    def decode_name(self, last: int = -1) -> DNSLabel:  # noqa: ARG002  dnslib's signature
        """The name at the current offset.

        Raises:
            dnslib.BufferError: cut off, a pointer that does not go back, too many of them, or more than 255 octets.
        """
        labels: list[bytes] = []
        at, end, octets, pointers, data = self.offset, -1, 0, 0, self.data
        while True:
            if at >= len(data):
                raise dnslib.BufferError("name cut off")
            length = data[at]
            if length == 0:
                break
            if length >= 0xC0:
                if at + 2 > len(data):
                    raise dnslib.BufferError("pointer cut off")
                target = (length & 0x3F) << 8 | data[at + 1]
                if target >= at:
                    raise dnslib.BufferError("pointer that does not go back")
                if end < 0:
                    end = at + 2
                at = target
                pointers += 1
            elif length > 63 or at + 1 + length > len(data):
                raise dnslib.BufferError("bad label")
            else:
                labels.append(bytes(data[at + 1 : at + 1 + length]))
                at += 1 + length
                octets += 1 + length
            if octets >= MAX_NAME or pointers > MAX_POINTERS:
                raise dnslib.BufferError("name of more than 255 octets, or of too many pointers")
        self.offset = at + 1 if end < 0 else end
        return DNSLabel(labels)

    def encode_name(self, name: DNSLabel) -> None:
        """Append a name, compressed."""
        self._encode(name, compress=True)

    def encode_name_nocompress(self, name: DNSLabel) -> None:
        """Append a name in full; later names may point to it (RFC 2782 wants SRV targets so)."""
        self._encode(name, compress=False)

    def _encode(self, name: DNSLabel, *, compress: bool) -> None:
        labels = name.label
        lowered = tuple([label.lower() for label in labels])
        for i, label in enumerate(labels):
            suffix = lowered[i:]
            if compress and suffix in self.names:
                self.append(struct.pack("!H", 0xC000 | self.names[suffix]))
                return
            if self.offset <= MAX_POINTER:
                self.names.setdefault(suffix, self.offset)
            self.append(bytes((len(label),)) + label)
        self.append(b"\0")


class DName(dnslib.DNAME):
    """DNAME, whose target is not compressed (RFC 6672 section 2.5)."""

    def pack(self, buffer: DNSBuffer) -> None:
        """Append the rdata."""
        buffer.encode_name_nocompress(self.label)


dnslib.RDMAP["DNAME"] = DName


def record(owner: Name, type_: int, ttl: int, rdata: dnslib.RD) -> RR:
    """A record of class IN."""
    return RR(DNSLabel(owner), type_, Class.IN, ttl, rdata)


def address(owner: Name, ttl: int, packed: bytes) -> RR:
    """An A or AAAA record from 4 or 16 octets."""
    if len(packed) == 4:
        return record(owner, Type.A, ttl, dnslib.A(tuple(packed)))
    return record(owner, Type.AAAA, ttl, dnslib.AAAA(tuple(packed)))


def cname(owner: Name, ttl: int, target: Name) -> RR:
    """A CNAME record."""
    return record(owner, Type.CNAME, ttl, dnslib.CNAME(DNSLabel(target)))


def soa(owner: Name, ttl: int, mname: Name, rname: Name, times: tuple[int, int, int, int, int]) -> RR:
    """A SOA record; times are serial, refresh, retry, expire and minimum."""
    return record(owner, Type.SOA, ttl, dnslib.SOA(DNSLabel(mname), DNSLabel(rname), times))


def name_of(label: DNSLabel) -> Name:
    """The labels of a dnslib name in lower case."""
    return tuple([part.lower() for part in label.label])


def strings(*texts: bytes) -> dnslib.RD:
    """The rdata of a record that is character strings and nothing else, such as TXT and HINFO.

    Raises:
        ValueError: one of them has more than 255 octets (RFC 1035 section 3.3).
    """
    return dnslib.RD(b"".join(bytes((len(text),)) + text for text in texts))
