"""Responses of upstreams: what is read of them, and what never happens whatever they are. dnspython is the oracle."""

from __future__ import annotations

import struct

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsd.wire.query import Message, accept
from dnsd.wire.records import MAX_POINTERS, MAX_TTL, BadRecord, Buffer
from dnsd.wire.reply import Sections, write
from dnsd.wire.response import LazyRecords, Response, read, unchanged
from tests.wire.queries import opt, query

NAME = "www.example.com."
ADDRESS = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4\xc0\0\2\1"
"""An A record of the question's name: 192.0.2.1, one hour."""


def head(*, flags: int = 0x8180, counts: tuple[int, int, int, int] = (1, 1, 0, 0)) -> bytes:
    return struct.pack("!6H", 0x1234, flags, *counts)


def octets_of(name: dns.name.Name) -> bytes:
    octets = name.to_wire()
    assert octets is not None
    return octets


def wire(name: str = NAME) -> bytes:
    return octets_of(dns.name.from_text(name)) + b"\0\1\0\1"


def packed(section: object) -> list[tuple[bytes, int, int, int, bytes]]:
    """Owner, type, class, TTL and uncompressed rdata of each record, as dnsd unpacks them."""
    rows = []
    for record in section:  # type: ignore[attr-defined]
        buffer = Buffer()
        buffer.encode_name_nocompress(record.rname)
        owner = bytes(buffer.data)
        buffer = Full()
        record.rdata.pack(buffer)
        rows.append((owner, record.rtype, record.rclass, record.ttl, bytes(buffer.data)))
    return rows


class Full(Buffer):
    """Writes every name in full."""

    def encode_name(self, name: object) -> None:
        self.encode_name_nocompress(name)

    def encode_name_nocompress(self, name: object) -> None:
        for label in name.label:  # type: ignore[attr-defined]
            self.append(bytes((len(label),)) + label)
        self.append(b"\0")


def expected(section: list[dns.rrset.RRset]) -> list[tuple[bytes, int, int, int, bytes]]:
    """The same, as dnspython has them."""
    return [
        (
            octets_of(rrset.name),
            int(rrset.rdtype),
            int(rrset.rdclass),
            0 if rrset.ttl > MAX_TTL else rrset.ttl,
            rdata.to_wire(),
        )
        for rrset in section
        for rdata in rrset
    ]


labels = st.binary(min_size=1, max_size=12) | st.sampled_from([b"www", b"WWW", b"example", b"com"])
owners = st.lists(labels, max_size=5).map(lambda parts: dns.name.Name((*parts, b"")))
NAMES = {2: "NS", 5: "CNAME", 12: "PTR", 39: "DNAME"}


@st.composite
def records(draw: st.DrawFn) -> dns.rrset.RRset:
    owner, ttl = draw(owners), draw(st.integers(0, MAX_TTL))
    kind = draw(st.sampled_from([1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 39, 257, 65280]))
    target = octets_of(draw(owners))
    number = struct.pack("!H", draw(st.integers(0, 0xFFFF)))
    match kind:
        case 1:
            data = draw(st.binary(min_size=4, max_size=4))
        case 28:
            data = draw(st.binary(min_size=16, max_size=16))
        case 6:
            data = target + octets_of(draw(owners)) + draw(st.binary(min_size=20, max_size=20))
        case 15:
            data = number + target
        case 16:
            text = draw(st.binary(max_size=40))
            data = bytes((len(text),)) + text
        case 33:
            data = number * 3 + target
        case 35:
            data = number * 2 + b"\1S\4x+yz\0" + target
        case 257:
            data = b"\0\5issue" + draw(st.binary(max_size=12))
        case 65280:
            data = draw(st.binary(max_size=20))
        case _:
            data = target
    rdata = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), data, 0, len(data))
    return dns.rrset.from_rdata(owner, ttl, rdata)


@st.composite
def responses(draw: st.DrawFn) -> dns.message.Message:
    asked = draw(owners)
    made = dns.message.make_query(asked, draw(st.sampled_from(["A", "TYPE65", "MX"])), use_edns=False)
    reply = dns.message.make_response(made)
    reply.set_rcode(draw(st.integers(0, 15)))  # type: ignore[arg-type]
    for section in (reply.answer, reply.authority, reply.additional):
        section.extend(draw(st.lists(records(), max_size=4)))
    if draw(st.booleans()):
        option = st.builds(dns.edns.GenericOption, st.integers(0, 40000), st.binary(max_size=8))
        options: list[dns.edns.Option] = [*draw(st.lists(option, max_size=2))]
        reply.use_edns(0, options=options, payload=1232)
        reply.set_rcode(draw(st.integers(0, 4095)))  # type: ignore[arg-type]
    return reply


class TestAgreesWithDnspython:
    @given(responses())
    def test_records_types_ttls_and_rcode(self, reply: dns.message.Message) -> None:
        data = reply.to_wire()
        found = read(data)
        again = dns.message.from_wire(data, one_rr_per_rrset=True)
        assert found.id == again.id
        assert found.rcode == int(again.rcode())
        for ours, theirs in (
            (found.answer, again.answer), (found.authority, again.authority), (found.additional, again.additional),
        ):  # fmt: skip
            assert packed(ours) == expected(theirs)
        rows = expected(again.answer) + expected(again.authority) + expected(again.additional)
        assert found.layout.types == tuple(row[1] for row in rows)
        assert found.layout.minimum_ttl == min((row[3] for row in rows), default=MAX_TTL)

    @given(responses())
    def test_the_question_that_was_sent_is_only_a_shortcut(self, reply: dns.message.Message) -> None:
        data = reply.to_wire()
        name = octets_of(reply.question[0].name)
        question = name + data[12 + len(name) :][:4]
        assert read(data, question) == read(data)

    @settings(max_examples=400)
    @given(responses(), st.data())
    def test_whatever_dnspython_reads_of_a_damaged_message_is_read(
        self, reply: dns.message.Message, data: st.DataObject
    ) -> None:
        octets = bytearray(reply.to_wire())
        for _ in range(data.draw(st.integers(1, 3))):
            octets[data.draw(st.integers(12, len(octets) - 1))] = data.draw(st.integers(0, 255))
        try:
            again = dns.message.from_wire(bytes(octets), one_rr_per_rrset=True, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            again = None
        try:
            found = read(bytes(octets))
        except BadRecord:
            assert again is None or len(again.question) != 1 or any_class_is_odd(again)
            return
        unpacked = [packed(section) for section in (found.answer, found.authority, found.additional)]
        if again is not None and not any_class_is_odd(again):
            assert unpacked == [expected(again.answer), expected(again.authority), expected(again.additional)]


def any_class_is_odd(reply: dns.message.Message) -> bool:
    """Whether a record has another class than IN: dnspython reads what it does not know as it comes, names and all."""
    rows = [row for section in (reply.answer, reply.authority, reply.additional) for row in section]
    return any(row.rdclass != dns.rdataclass.IN or row.rdtype == dns.rdatatype.TSIG for row in rows)


class TestNothingButBadRecord:
    @settings(max_examples=500)
    @given(st.binary(max_size=300))
    def test_on_random_octets(self, data: bytes) -> None:
        attempt(data)

    @settings(max_examples=500)
    @given(st.binary(max_size=120), st.tuples(*[st.integers(0, 4)] * 3))
    def test_behind_a_sound_question(self, data: bytes, counts: tuple[int, int, int]) -> None:
        attempt(head(counts=(1, *counts)) + wire() + data)

    @given(responses(), st.data())
    def test_on_a_message_that_was_cut(self, reply: dns.message.Message, data: st.DataObject) -> None:
        octets = reply.to_wire()
        attempt(octets[: data.draw(st.integers(0, len(octets)))])


def attempt(data: bytes) -> None:
    try:
        found = read(data)
    except BadRecord:
        return
    for section in (found.answer, found.authority, found.additional):
        packed(section)  # what was read can be unpacked, always


def soa(at: int) -> bytes:
    """An SOA record of the root whose names both point to `at`."""
    pointer = struct.pack("!H", 0xC000 | at)
    return b"\0\0\6\0\1\0\0\0\5\0\x18" + pointer * 2 + bytes(20)


QUESTION = wire()
AFTER = 12 + len(QUESTION)
REFUSED = {
    "a query": head(flags=0x0100) + QUESTION + ADDRESS,
    "a response to an UPDATE": head(flags=0xA800) + QUESTION + ADDRESS,
    "two questions": head(counts=(2, 1, 0, 0)) + QUESTION * 2 + ADDRESS,
    "fewer records than it says": head(counts=(1, 2, 0, 0)) + QUESTION + ADDRESS,
    "65,535 records in 40 octets": head(counts=(1, 0xFFFF, 0xFFFF, 0xFFFF)) + QUESTION + ADDRESS,
    "an owner name that points to itself": head() + QUESTION + struct.pack("!H", 0xC000 | AFTER) + ADDRESS[2:],
    "an owner name that points forward": head() + QUESTION + b"\xc0\x40" + ADDRESS[2:],
    "an owner name that points into the header": head() + QUESTION + b"\xc0\x04" + ADDRESS[2:],
    "a label of an unknown type": head() + QUESTION + b"\x80x" + ADDRESS[2:],
    "rdata that ends after the message": head() + QUESTION + ADDRESS[:-5] + b"\5" + ADDRESS[-4:],
    "an address of five octets": head() + QUESTION + ADDRESS[:-5] + b"\5" + ADDRESS[-4:] + b"\0",
    "an address of no octets": head() + QUESTION + ADDRESS[:-5] + b"\0",
    "a CNAME longer than its name": head() + QUESTION + b"\xc0\x0c\0\5\0\1\0\0\0\5\0\3\xc0\x0c\0",
    "a CNAME that points to itself": head()
    + QUESTION
    + b"\xc0\x0c\0\5\0\1\0\0\0\5\0\2"
    + struct.pack("!H", 0xC000 | AFTER + 12),
    "an SOA whose second name points forward": head(counts=(1, 0, 1, 0)) + QUESTION + soa(AFTER + 40),
    "OPT in the answer": head() + QUESTION + opt(1232),
    "two OPT records": head(counts=(1, 0, 0, 2)) + QUESTION + opt(1232) * 2,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes) -> None:
    with pytest.raises(BadRecord):
        read(data)


class TestLimits:
    @staticmethod
    def chained(pointers: int) -> bytes:
        """TXT records, the owner of each pointing to the owner of the one before."""
        data, target = head(counts=(1, pointers, 0, 0)) + QUESTION, 12
        for _ in range(pointers):
            here = len(data)
            data += struct.pack("!H", 0xC000 | target) + b"\0\x10\0\1\0\0\0\5\0\1\0"
            target = here
        return data

    def test_as_many_pointers_in_a_name_as_are_allowed(self) -> None:
        assert len(packed(read(self.chained(MAX_POINTERS)).answer)) == MAX_POINTERS

    def test_one_more(self) -> None:
        with pytest.raises(BadRecord, match="too many pointers"):
            read(self.chained(MAX_POINTERS + 1))

    @pytest.mark.parametrize(
        ("labels", "fits"), [([b"x" * 63] * 3 + [b"y" * 61], True), ([b"x" * 63] * 3 + [b"y" * 62], False)]
    )
    def test_a_name_of_255_octets_and_of_256(self, labels: list[bytes], fits: bool) -> None:
        name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
        data = head() + b"\0\0\1\0\1" + name + ADDRESS[2:]
        assert len(name) == (255 if fits else 256)
        if fits:
            assert packed(read(data).answer)[0][0] == name
        else:
            with pytest.raises(BadRecord, match="255"):
                read(data)

    def test_a_name_that_grows_too_long_through_a_pointer(self) -> None:
        long = b"".join(bytes((63,)) + b"x" * 63 for _ in range(3)) + b"\x3c" + b"y" * 60 + b"\0"
        assert len(long) == 254
        data = head() + long + b"\0\1\0\1" + b"\1z\xc0\x0c" + ADDRESS[2:]
        with pytest.raises(BadRecord, match="255"):
            read(data)

    def test_a_message_of_65535_octets_is_read_in_one_walk(self) -> None:
        record = b"\xc0\x0c\0\x10\0\1\0\0\0\5\xf0\0" + bytes(0xF000)
        data = head(counts=(1, 1, 0, 0)) + QUESTION + record
        data += bytes(65_535 - len(data))
        assert len(packed(read(data).answer)) == 1

    def test_a_ttl_above_31_bits_counts_as_0(self) -> None:
        data = head() + QUESTION + ADDRESS[:6] + b"\x80\0\0\0" + ADDRESS[10:]
        found = read(data)
        assert found.layout.minimum_ttl == 0
        assert found.answer[0].ttl == 0
        assert len(found.data) == len(data)


class TestLayout:
    def test_minimum_of_the_soa_in_authority(self) -> None:
        reply = dns.message.make_response(dns.message.make_query(NAME, "A", use_edns=False))
        reply.authority.append(dns.rrset.from_text("example.com.", 900, "IN", "SOA", "ns. h. 1 2 3 4 60"))
        assert read(reply.to_wire()).layout.soa_minimum == 60

    def test_an_soa_that_was_asked_for_denies_nothing(self) -> None:
        reply = dns.message.make_response(dns.message.make_query("example.com.", "SOA", use_edns=False))
        reply.answer.append(dns.rrset.from_text("example.com.", 900, "IN", "SOA", "ns. h. 1 2 3 4 60"))
        assert read(reply.to_wire()).layout.soa_minimum is None

    def test_options_of_opt(self) -> None:
        data = head(counts=(1, 1, 0, 1)) + QUESTION + ADDRESS + opt(1232, options=((15, b"\0\x16"),))
        assert read(data).layout.options == b"\0\x0f\0\2\0\x16"

    @pytest.mark.parametrize("ttl", [0, 1, MAX_TTL])
    def test_another_ttl_in_every_record(self, ttl: int) -> None:
        found = read(head(counts=(1, 1, 1, 1)) + QUESTION + ADDRESS * 3)
        changed = found.with_ttl(ttl)
        assert [record.ttl for part in (changed.answer, changed.authority, changed.additional) for record in part] == [
            ttl
        ] * 3
        assert found.answer[0].ttl == 3600


class TestUnpackedOnDemand:
    def test_a_section_is_a_sequence_of_records(self) -> None:
        section = read(head(counts=(1, 2, 0, 0)) + QUESTION + ADDRESS * 2).answer
        assert isinstance(section, LazyRecords)
        assert len(section) == 2
        assert section.types == (1, 1)
        assert section[0] is next(iter(section))
        assert [*section[1:]] == [section[1]]

    def test_sections_that_came_together_are_known_to_be_unchanged(self) -> None:
        found = read(head(counts=(1, 1, 0, 1)) + QUESTION + ADDRESS * 2)
        assert unchanged(found.answer, found.authority, found.additional) is found
        for other in (
            (found.answer, found.authority, ()),
            (found.additional, found.authority, found.answer),
            (found.answer, [*found.answer], found.additional),
            ([*found.answer], found.authority, [*found.additional]),
            (found.answer, (), read(found.data).additional),
            ((), (), ()),
        ):
            assert unchanged(*other) is None


def message(name: str = NAME, *, edns: bytes | None = None, flags: int = 0x0100) -> Message:
    made = accept(query(name, flags=flags, edns=edns))
    assert isinstance(made, Message)
    return made


def sections(found: Response, *, flags: int = 0) -> Sections:
    return Sections(found.rcode, flags, found.answer, found.authority, found.additional)


class TestRelay:
    """A response goes on to the client as its octets; the client must not be able to tell."""

    @given(responses(), st.booleans(), st.data())
    def test_what_is_relayed_is_what_packing_says(
        self, reply: dns.message.Message, edns: bool, data: st.DataObject
    ) -> None:
        found = read(reply.to_wire())
        question = reply.question[0]
        spelling = bytes(
            octet ^ 0x20 if chr(octet).isalpha() and chr(octet).isascii() and data.draw(st.booleans()) else octet
            for octet in octets_of(question.name)
        )
        type_ = struct.pack("!H", question.rdtype)
        asked = accept(
            struct.pack("!6H", 7, 0x0110, 1, 0, 0, int(edns))
            + spelling
            + type_
            + b"\0\1"
            + (opt(4096) if edns else b"")
        )
        assert isinstance(asked, Message)
        relayed = write(asked, sections(found), tcp=True)
        packed_again = write(
            asked, Sections(found.rcode, 0, [*found.answer], [*found.authority], [*found.additional]), tcp=True
        )
        first = dns.message.from_wire(relayed.to_wire(7, asked.question.wire), one_rr_per_rrset=True)
        second = dns.message.from_wire(packed_again.to_wire(7, asked.question.wire), one_rr_per_rrset=True)
        assert first == second
        assert first.flags == second.flags
        assert octets_of(first.question[0].name) == spelling
        assert relayed.size == len(relayed.to_wire(7, asked.question.wire))
        tail = relayed.tail
        assert [struct.unpack_from("!I", tail, at)[0] for at in relayed.ttls] == [
            struct.unpack_from("!I", packed_again.tail, at)[0] for at in packed_again.ttls
        ]

    def test_the_octets_are_the_upstreams(self) -> None:
        data = head() + QUESTION + ADDRESS
        assert write(message(), sections(read(data)), tcp=False).tail == ADDRESS

    def test_the_upstreams_opt_is_not_the_clients(self) -> None:
        data = head(counts=(1, 1, 0, 1)) + QUESTION + ADDRESS + opt(512, options=((10, b"cookiecl"),))
        assert write(message(), sections(read(data)), tcp=False).tail == ADDRESS
        assert write(message(edns=opt(1400)), sections(read(data)), tcp=False).tail == ADDRESS + opt(1400)

    def test_records_behind_opt_are_packed_anew(self) -> None:
        data = head(counts=(1, 0, 0, 2)) + QUESTION + opt(512) + ADDRESS
        found = read(data)
        assert not found.layout.whole
        reply = dns.message.from_wire(write(message(), sections(found), tcp=False).to_wire(1, QUESTION))
        assert [rrset.to_text() for rrset in reply.additional] == ["www.example.com. 3600 IN A 192.0.2.1"]
        assert reply.edns == -1

    def test_another_question_of_the_same_length_is_not_mixed_up(self) -> None:
        found = read(head() + QUESTION + ADDRESS)
        reply = dns.message.from_wire(
            write(message("xyz.example.com."), sections(found), tcp=False).to_wire(1, wire("xyz.example.com."))
        )
        assert reply.answer[0].name.to_text() == NAME

    def test_what_does_not_fit_is_truncated(self) -> None:
        found = read(head(counts=(1, 40, 0, 0)) + QUESTION + ADDRESS * 40)
        cut = write(message(), sections(found), tcp=False)
        assert cut.size <= 512
        assert dns.message.from_wire(cut.to_wire(1, QUESTION)).flags & dns.flags.TC
        assert write(message(), sections(found), tcp=True).size == 12 + len(QUESTION) + 640
