"""How long an answer would be with every name written in full: the size that metrics and the query log tell.

Pure. The reference counts so: before truncation, without compression, without the OPT that the server adds
(spec.md section 7.1). What an upstream sent is taken as long as it came, for its records are not unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable

import dnslib
from dnslib import RR, DNSLabel

from dnsd.wire.query import HEADER, Question
from dnsd.wire.records import Buffer
from dnsd.wire.reply import Sections
from dnsd.wire.response import unchanged

FIXED = 10
"""Octets of a record besides its owner name and its rdata: type, class, TTL and length."""


class _Plain(Buffer):
    """A buffer that compresses no name."""

    def encode_name(self, name: DNSLabel) -> None:
        """Append a name in full."""
        self.encode_name_nocompress(name)


def uncompressed(question: Question, sections: Sections) -> int:
    """Octets of the reply to `question` with these sections."""
    own = len(question.wire)
    parts = (sections.answer, sections.authority, sections.additional)
    response = unchanged(*parts)
    if response is not None:
        return response.layout.end - len(response.question) + own
    return HEADER + own + sum(map(_records, parts))


def _records(records: Iterable[RR]) -> int:
    return sum(_name(record.rname) + FIXED + _rdata(record) for record in records)


def _name(name: DNSLabel) -> int:
    labels = name.label
    return sum(map(len, labels)) + len(labels) + 1


def _rdata(record: RR) -> int:
    rdata = record.rdata
    match rdata:
        case dnslib.A():
            return 4
        case dnslib.AAAA():
            return 16
        case dnslib.SRV():
            return 6 + _name(rdata.target)
        case dnslib.CNAME():
            return _name(rdata.label)
        case _:
            buffer = _Plain()
            rdata.pack(buffer)
            return len(buffer.data)
