"""The size that metrics and logs tell: that of a message with every name in full, as long as dnspython says it is."""

from __future__ import annotations

import struct

import dns.message
import dns.name
import dns.rdatatype
import dns.renderer
import dns.rrset
import dnslib
import pytest
from dnslib import RR, DNSLabel

from dnsd.wire import records, response
from dnsd.wire.name import from_text
from dnsd.wire.query import Message, accept
from dnsd.wire.reply import Sections, write
from dnsd.wire.size import uncompressed

QUESTION = "web.shop.svc.cluster.local."
OWNER = from_text(QUESTION)


def asked(name: str = QUESTION, type_: str = "A") -> Message:
    message = accept(dns.message.make_query(name, type_).to_wire())
    assert isinstance(message, Message)
    return message


def in_full(message: dns.message.Message) -> int:
    """Octets of a message when nothing in it is compressed."""
    size = 12 + sum(len(question.name.to_wire() or b"") + 4 for question in message.question)
    for section in (message.answer, message.authority, message.additional):
        for rrset in section:
            for rdata in rrset:
                size += len(rrset.name.to_wire() or b"") + 10 + len(rdata.to_wire() or b"")
    return size


RECORDS = {
    "A": dnslib.A("10.0.0.1"),
    "AAAA": dnslib.AAAA("fd00::1"),
    "CNAME": dnslib.CNAME(DNSLabel("target.shop.svc.cluster.local")),
    "PTR": dnslib.PTR(DNSLabel("target.shop.svc.cluster.local")),
    "NS": dnslib.NS(DNSLabel("ns.dns.cluster.local")),
    "SRV": dnslib.SRV(0, 100, 80, DNSLabel(QUESTION)),
    "MX": dnslib.MX(DNSLabel("mail.shop.svc.cluster.local"), 10),
    "SOA": dnslib.SOA(DNSLabel("ns.dns.cluster.local"), DNSLabel("hostmaster.cluster.local"), (1, 2, 3, 4, 5)),
    "TXT": dnslib.TXT(["1.1.0", "more"]),
    "TYPE65280": dnslib.RD(b"any octets"),
}


@pytest.mark.parametrize("type_", RECORDS)
def test_every_type_of_record_counts_with_its_names_in_full(type_: str) -> None:
    number = dns.rdatatype.from_text(type_)
    rr = records.record(OWNER, number, 5, RECORDS[type_])
    sections = Sections(0, 0, (rr, rr), (rr,), (rr,))
    message = asked()
    wire = write(message, sections, tcp=True).to_wire(message.id, message.question.wire)
    assert len(wire) < in_full(dns.message.from_wire(wire, one_rr_per_rrset=True))
    assert uncompressed(message.question, sections) == in_full(dns.message.from_wire(wire, one_rr_per_rrset=True))


def test_what_is_cut_off_counts_and_opt_does_not() -> None:
    addresses = [records.address(OWNER, 5, struct.pack("!I", 0x0A000000 + i)) for i in range(300)]
    sections = Sections(0, 0, addresses)
    plain, edns = asked(), accept(dns.message.make_query(QUESTION, "A", use_edns=0).to_wire())
    assert isinstance(edns, Message)
    assert write(plain, sections, tcp=False).size <= 512
    expected = 12 + len(plain.question.wire) + 300 * (len(plain.question.wire) - 4 + 14)
    assert uncompressed(plain.question, sections) == expected
    assert uncompressed(edns.question, sections) == expected


def upstream_response() -> bytes:
    query = dns.message.make_query(QUESTION, "A", use_edns=0)
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text(QUESTION, 30, "IN", "A", "10.0.0.1", "10.0.0.2"))
    return reply.to_wire()


def test_what_an_upstream_sent_counts_as_long_as_it_came_without_opt() -> None:
    data = upstream_response()
    read = response.read(data)
    sections = Sections(0, 0, read.answer, read.authority, read.additional)
    assert uncompressed(asked().question, sections) == len(data) - 11


def test_what_an_upstream_sent_counts_in_full_once_it_was_changed() -> None:
    read = response.read(upstream_response())
    changed: list[RR] = [*reversed(read.answer)]
    size = uncompressed(asked().question, Sections(0, 0, changed))
    assert size == in_full(dns.message.from_wire(upstream_response(), one_rr_per_rrset=True))
