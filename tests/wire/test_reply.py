"""Replies as dnspython reads them back: content, compression, truncation, EDNS."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dnslib
import pytest
from dnslib import RR, DNSLabel
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsd.wire import codes, records
from dnsd.wire.codes import Type
from dnsd.wire.query import MAX_TCP_SIZE, MAX_UDP_SIZE, MIN_UDP_SIZE, Edns, Message, accept
from dnsd.wire.records import MAX_POINTER
from dnsd.wire.reply import MAX_EDE_TEXT, Reply, Sections, budget, ede, write
from tests.wire.queries import opt, query

ASKED = "Web.shop.svc.Cluster.local"


def message(edns: bytes | None = None, *, flags: int = 0x0100, name: str = ASKED) -> Message:
    made = accept(query(name, flags=flags, edns=edns))
    assert isinstance(made, Message)
    return made


def wire(asked: Message, reply: Reply) -> bytes:
    data = reply.to_wire(asked.id, asked.question.wire)
    assert len(data) == reply.size
    return data


labels = st.text("abcXYZ09-_", min_size=1, max_size=12).map(str.encode)
owners = st.lists(labels, min_size=0, max_size=6).map(tuple) | st.sampled_from(
    [(b"web", b"shop", b"svc", b"cluster", b"local"), (b"CLUSTER", b"LOCAL"), (b"x", b"svc", b"cluster", b"local")]
)
ttls = st.integers(0, 0x7FFFFFFF)


def rdata(kind: int, target: tuple[bytes, ...], number: int, octets: bytes) -> dnslib.RD:
    match kind:
        case Type.A:
            return dnslib.A(tuple(octets[:4]))
        case Type.AAAA:
            return dnslib.AAAA(tuple(octets[:16]))
        case Type.CNAME:
            return dnslib.CNAME(DNSLabel(target))
        case Type.NS:
            return dnslib.NS(DNSLabel(target))
        case Type.PTR:
            return dnslib.PTR(DNSLabel(target))
        case Type.MX:
            return dnslib.MX(DNSLabel(target), number)
        case Type.SRV:
            return dnslib.SRV(number, number, number, DNSLabel(target))
        case Type.SOA:
            return dnslib.SOA(DNSLabel(target), DNSLabel((b"hostmaster", *target)), (number, 7200, 1800, 86400, 5))
        case _:
            return dnslib.TXT([octets])


rrs = st.builds(
    lambda owner, kind, ttl, target, number, octets: records.record(
        owner, kind, ttl, rdata(kind, target, number, octets)
    ),
    owners,
    st.sampled_from([Type.A, Type.AAAA, Type.CNAME, Type.NS, Type.PTR, Type.MX, Type.SRV, Type.SOA, Type.TXT]),
    ttls,
    owners,
    st.integers(0, 65535),
    st.binary(min_size=16, max_size=16),
)
sections = st.builds(
    Sections,
    st.sampled_from([0, 2, 3, 5]),
    st.sampled_from([0, codes.AA, codes.AA | codes.RA, codes.AD]),
    st.lists(rrs, max_size=8),
    st.lists(rrs, max_size=3),
    st.lists(rrs, max_size=8),
)
edns_variants = st.none() | st.builds(
    opt, st.sampled_from([0, 512, 700, 1232, 4096]), flags=st.sampled_from([0, 0x8000])
)


def texts(rr: RR) -> tuple[str, int, str, str]:
    """A record as dnspython says it, by way of dnslib's plain packing."""
    buffer = dnslib.DNSBuffer()
    rr.rdata.pack(_NoCompression(buffer))
    kind = dns.rdatatype.RdataType.make(rr.rtype)
    data = dns.rdata.from_wire(dns.rdataclass.IN, kind, bytes(buffer.data), 0, len(buffer.data))
    owner = dns.name.Name((*rr.rname.label, b""))
    return owner.to_text().lower(), rr.ttl, dns.rdatatype.to_text(kind), data.to_text().lower()


class _NoCompression(dnslib.DNSBuffer):
    def __init__(self, buffer: dnslib.DNSBuffer) -> None:
        self.__dict__ = buffer.__dict__

    def encode_name(self, name: DNSLabel) -> None:
        self.encode_name_nocompress(name)


def read(section: list[dns.rrset.RRset]) -> list[tuple[str, int, str, str]]:
    return [
        (rrset.name.to_text().lower(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), data.to_text().lower())
        for rrset in section
        for data in rrset
    ]


def parsed(data: bytes) -> dns.message.Message:
    """Read by dnspython, each record by itself, so that equal ones and different TTLs stay what they are."""
    return dns.message.from_wire(data, one_rr_per_rrset=True, raise_on_truncation=False)


@settings(max_examples=200, deadline=None)
@given(sections, edns_variants)
def test_over_tcp_everything_is_read_back(said: Sections, edns: bytes | None) -> None:
    asked = message(edns)
    reply = parsed(wire(asked, write(asked, said, tcp=True)))
    assert reply.rcode() == said.rcode
    assert reply.flags & 0x07F0 == said.flags | codes.RD
    assert [read(s) for s in (reply.answer, reply.authority, reply.additional)] == [
        [texts(rr) for rr in section] for section in (said.answer, said.authority, said.additional)
    ]
    assert (reply.edns >= 0) == (edns is not None)


@settings(max_examples=200, deadline=None)
@given(sections, edns_variants, st.integers(1, 30))
def test_over_udp_a_prefix_of_whole_records_is_read_back(said: Sections, edns: bytes | None, times: int) -> None:
    asked = message(edns)
    said = Sections(said.rcode, said.flags, [*said.answer] * times, said.authority, said.additional)
    data = wire(asked, write(asked, said, tcp=False))
    limit = max(512, asked.edns.size if asked.edns else 512)
    assert len(data) <= limit
    reply = parsed(data)
    kept = [*read(reply.answer), *read(reply.authority), *read(reply.additional)]
    every = [texts(rr) for section in (said.answer, said.authority, said.additional) for rr in section]
    assert kept == every[: len(kept)]
    assert bool(reply.flags & dns.flags.TC) == (len(kept) < len(every))
    assert (reply.edns >= 0) == (edns is not None), "OPT survives truncation"
    if edns is not None:
        assert data.endswith(b"\0" + edns[1:5] + bytes(2) + edns[7:8] + b"\0\0\0"), "OPT is the last record"


@settings(max_examples=200, deadline=None)
@given(sections, edns_variants)
def test_truncation_loses_no_more_than_it_must(said: Sections, edns: bytes | None) -> None:
    """The next record would not have fitted."""
    asked = message(edns)
    said = Sections(said.rcode, said.flags, [*said.answer] * 12, (), ())
    cut = write(asked, said, tcp=False)
    count = int.from_bytes(cut.head[4:6], "big")
    if count < len(said.answer):
        one_more = Sections(said.rcode, said.flags, said.answer[: count + 1])
        assert write(asked, one_more, tcp=True).size > budget(asked.edns, tcp=False)


@settings(max_examples=200, deadline=None)
@given(sections)
def test_offsets_of_ttls_are_those_of_ttls(said: Sections) -> None:
    asked = message()
    reply = write(asked, said, tcp=True)
    every = [rr.ttl for section in (said.answer, said.authority, said.additional) for rr in section]
    assert [int.from_bytes(reply.tail[at : at + 4], "big") for at in reply.ttls] == every


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["web", "WEB", "wEb"]), sections)
def test_head_and_tail_do_not_depend_on_id_and_spelling(label: str, said: Sections) -> None:
    """What the memo relies on."""
    one, other = message(), message(name=f"{label}.SHOP.svc.cluster.LOCAL")
    assert write(one, said, tcp=True) == write(other, said, tcp=True)


def test_the_owner_name_comes_back_as_it_was_asked() -> None:
    asked = message()
    said = Sections(0, codes.AA, [records.address((b"web", b"shop", b"svc", b"cluster", b"local"), 5, bytes(4))])
    reply = parsed(wire(asked, write(asked, said, tcp=False)))
    assert reply.answer[0].name.to_text() == f"{ASKED}."
    assert reply.question[0].name.to_text() == f"{ASKED}."


def test_names_are_compressed_and_srv_targets_are_not() -> None:
    asked = message()
    own = (b"web", b"shop", b"svc", b"cluster", b"local")
    alias = write(asked, Sections(0, 0, [records.cname(own, 5, (b"db", *own[1:]))]), tcp=False)
    assert alias.tail.endswith(b"\x02db\xc0\x10"), "a CNAME's target ends in a pointer to the question"
    service = records.record(own, Type.SRV, 5, dnslib.SRV(0, 100, 80, DNSLabel(own)))
    full = write(asked, Sections(0, 0, [service]), tcp=False)
    assert full.tail.endswith(b"\x03web\x04shop\x03svc\x07cluster\x05local\0"), "RFC 2782"


def test_no_pointer_goes_past_what_a_pointer_can_say() -> None:
    asked = message()
    filler = [records.record((b"n%d" % i,), Type.TXT, 5, dnslib.TXT([b"x" * 200])) for i in range(90)]
    late = (b"late", b"name", b"far", b"behind")
    said = Sections(0, 0, [*filler, records.address(late, 5, bytes(4)), records.address(late, 5, bytes(4))])
    data = wire(asked, write(asked, said, tcp=True))
    assert len(data) > MAX_POINTER
    assert [rrset.name.to_text() for rrset in parsed(data).answer[-2:]] == ["late.name.far.behind."] * 2


BUDGETS = [
    ("TCP", Edns(512), True, MAX_TCP_SIZE),
    ("UDP without OPT", None, False, MIN_UDP_SIZE),
    ("a client that says less than 512", Edns(100), False, MIN_UDP_SIZE),
    ("a client that says nothing", Edns(0), False, MIN_UDP_SIZE),
    ("1232", Edns(1232), False, 1232),
    ("4096", Edns(4096), False, 4096),
    ("more than a datagram carries", Edns(65535), False, MAX_UDP_SIZE),
]


@pytest.mark.parametrize(("edns", "tcp", "octets"), [row[1:] for row in BUDGETS], ids=[row[0] for row in BUDGETS])
def test_a_reply_may_have(edns: Edns | None, tcp: bool, octets: int) -> None:
    assert budget(edns, tcp=tcp) == octets


PARTIAL = [
    # EDNS size, records of a 300-address answer that are kept, octets: spec.md section 1.5
    (None, 29, 509),
    (1232, 73, 1224),
    (4096, 252, 4088),
    (8192, 300, 4856),
]


@pytest.mark.parametrize(("size", "kept", "octets"), PARTIAL)
def test_three_hundred_endpoints(size: int | None, kept: int, octets: int) -> None:
    asked = message(None if size is None else opt(size), name="large.ns1.svc.cluster.local")
    own = (b"large", b"ns1", b"svc", b"cluster", b"local")
    said = Sections(0, codes.AA, [records.address(own, 5, bytes([10, 0, i // 250, i % 250])) for i in range(300)])
    reply = write(asked, said, tcp=False)
    assert (int.from_bytes(reply.head[4:6], "big"), reply.size) == (kept, octets)


def test_a_full_message_over_tcp_has_65535_octets_at_most() -> None:
    asked = message()
    said = Sections(
        0, codes.AA, [records.address((b"n",), 5, bytes([10, i >> 16, i >> 8 & 255, i & 255])) for i in range(5000)]
    )
    data = wire(asked, write(asked, said, tcp=True))
    assert MAX_TCP_SIZE - 16 < len(data) <= MAX_TCP_SIZE
    assert parsed(data).flags & dns.flags.TC


def test_extended_errors_are_short_and_only_for_who_speaks_edns() -> None:
    said = Sections(2, 0, options=(ede(22, "é" * 400),))
    asked = message(opt(1232))
    reply = parsed(wire(asked, write(asked, said, tcp=False)))
    (option,) = reply.options
    assert isinstance(option, dns.edns.EDEOption)
    assert option.code == 22
    assert len((option.text or "").encode()) <= MAX_EDE_TEXT
    plain = message()
    assert parsed(wire(plain, write(plain, said, tcp=False))).edns == -1


def test_bad_version_says_so_in_the_extended_rcode() -> None:
    asked = message(opt(1232, version=1, flags=0x8000))
    reply = parsed(wire(asked, write(asked, Sections(16, 0), tcp=False)))
    assert (reply.rcode(), reply.edns, reply.payload, reply.ednsflags & 0xFFFF) == (dns.rcode.BADVERS, 0, 0, 0)
