"""The accept gate: spec.md section 1.1 as a table, and no octets that make it raise."""

from __future__ import annotations

import struct

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsd.wire.codes import Option
from dnsd.wire.query import MAX_OPTIONS, Message, accept, option
from tests.wire.queries import name_wire, opt, query, question

NAME = "web.shop.svc.cluster.local"


def header(
    flags: int = 0x0100, *, questions: int = 1, answers: int = 0, authorities: int = 0, additionals: int = 0
) -> bytes:
    return struct.pack("!6H", 0x1234, flags, questions, answers, authorities, additionals)


Q = question(NAME, 1)
RECORD = name_wire("a.example") + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)

SILENCE = {
    "shorter than a header": header()[:11],
    "nothing at all": b"",
    "a response": query(NAME, flags=0x8100),
    "a response to nothing": header(0x8000),
}

ERRORS: dict[str, tuple[bytes, int, bool]] = {
    # what, octets, rcode, question echoed
    "STATUS": (query(NAME, flags=0x1100), 4, False),
    "IQUERY": (query(NAME, flags=0x0900), 4, False),
    "NOTIFY": (query(NAME, flags=0x2000), 4, False),
    "UPDATE": (query(NAME, flags=0x2800), 4, False),
    "opcode 15": (query(NAME, flags=0x7900), 4, False),
    "unknown opcode and no question": (header(0x3000, questions=0), 4, False),
    "no question": (header(questions=0), 1, False),
    "two questions": (header(questions=2) + Q + Q, 1, False),
    "two answers": (header(answers=2) + Q, 1, False),
    "two authorities": (header(authorities=2) + Q, 1, False),
    "three additionals": (header(additionals=3) + Q, 1, False),
    "counts as large as they go": (header(questions=65535, answers=65535, additionals=65535), 1, False),
    "a header and no more": (header(), 2, False),
    "a bad label type": (header() + b"\x40abc\0" + b"\0\1\0\1", 1, False),
    "a pointer in the question": (header() + b"\xc0\x0c\0\1\0\1", 1, False),
    "a label of more than 63 octets": (header() + b"\x7f" + bytes(127) + b"\0\0\1\0\1", 1, False),
    "a name of more than 255 octets": (header() + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", 1, False),
    "a name cut off": (header() + b"\x03we", 1, False),
    "a type cut off": (header() + name_wire(NAME) + b"\0", 1, False),
    "a class cut off": (header() + name_wire(NAME) + b"\0\1\0", 1, False),
    "a record cut off": (header(additionals=1) + Q + opt()[:8], 1, True),
    "rdata cut off": (header(additionals=1) + Q + opt()[:-2] + b"\0\4", 1, True),
    "an option cut off": (header(additionals=1) + Q + opt()[:-2] + b"\0\2\0\3", 1, True),
    "an option that says too much": (header(additionals=1) + Q + opt()[:-2] + b"\0\4\0\3\0\1", 1, True),
    "more options than anybody needs": (query(NAME, edns=opt(options=((3, b""),) * (MAX_OPTIONS + 1))), 1, True),
    "a pointer loop in a record": (header(answers=1) + Q + b"\xc0" + bytes([12 + len(Q)]) + RECORD[11:], 1, True),
    "a pointer into the header": (header(answers=1) + Q + b"\xc0\x02" + RECORD[11:], 1, True),
}

ACCEPTED: dict[str, tuple[bytes, int, int]] = {
    # what, octets, type, class
    "a query": (query(NAME), 1, 1),
    "the root": (query("", 2), 2, 1),
    "nothing after the name": (header() + name_wire(NAME), 0, 0),
    "one answer beside the question": (header(answers=1) + Q + RECORD, 1, 1),
    "one authority beside the question": (header(authorities=1) + Q + RECORD, 1, 1),
    "an announced record that is missing": (header(additionals=1) + Q, 1, 1),
    "trailing garbage": (query(NAME) + b"garbage", 1, 1),
    "two OPT records": (header(additionals=2) + Q + opt(1232) + opt(4096), 1, 1),
    "OPT below a name": (header(additionals=1) + Q + name_wire("x") + opt()[1:], 1, 1),
    "a record whose name points back": (header(answers=1) + Q + b"\xc0\x0c" + RECORD[11:], 1, 1),
    "a label of 63 octets": (query("a" * 63 + ".local"), 1, 1),
    "a name of 255 octets": (header() + (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0\0\1\0\1", 1, 1),
    "as many options as are allowed": (query(NAME, edns=opt(options=((3, b""),) * MAX_OPTIONS)), 1, 1),
    "any class": (query(NAME, class_=3), 1, 3),
    "every flag a client may set": (query(NAME, flags=0x0770), 1, 1),
}


@pytest.mark.parametrize("data", SILENCE.values(), ids=SILENCE)
def test_no_reply_to(data: bytes) -> None:
    assert accept(data) is None


@pytest.mark.parametrize(("data", "rcode", "echoed"), ERRORS.values(), ids=ERRORS)
def test_error_reply_to(data: bytes, rcode: int, echoed: bool) -> None:
    reply = accept(data)
    assert isinstance(reply, bytes)
    id_, flags, questions, *others = struct.unpack_from("!6H", reply)
    assert (id_, flags & 0xF, questions, others) == (0x1234, rcode, int(echoed), [0, 0, 0])
    assert reply[12:] == (Q if echoed else b"")
    opcode = flags >> 11 & 0xF
    assert opcode == (data[2] >> 3 & 0xF if rcode == 4 else 0)
    assert flags & 0x8000, "QR"
    assert not flags & 0x0440, "AA and Z are cleared"
    assert flags & 0x0100 == data[2] << 8 & 0x0100, "RD survives"


@pytest.mark.parametrize(("data", "type_", "class_"), ACCEPTED.values(), ids=ACCEPTED)
def test_query_is_accepted(data: bytes, type_: int, class_: int) -> None:
    message = accept(data)
    assert isinstance(message, Message)
    assert (message.id, message.question.type, message.question.class_) == (0x1234, type_, class_)
    assert message.size == len(data)


def test_the_first_of_two_opts_counts() -> None:
    message = accept(ACCEPTED["two OPT records"][0])
    assert isinstance(message, Message)
    assert message.edns is not None
    assert message.edns.size == 1232


def test_the_name_is_lowered_and_what_was_asked_is_kept() -> None:
    message = accept(query("wEb.SHOP.Cluster.local", 65))
    assert isinstance(message, Message)
    assert message.question.name == (b"web", b"shop", b"cluster", b"local")
    assert message.question.asked == (b"wEb", b"SHOP", b"Cluster", b"local")
    assert message.question.wire == question("wEb.SHOP.Cluster.local", 65)


def test_edns_is_read() -> None:
    message = accept(query(NAME, edns=opt(4096, flags=0x8000, options=((10, b"c" * 8), (3, b"")))))
    assert isinstance(message, Message)
    edns = message.edns
    assert edns is not None
    assert (edns.size, edns.version, edns.do, edns.options) == (4096, 0, True, ((10, b"c" * 8), (3, b"")))
    assert option(edns, Option.COOKIE) == b"c" * 8
    assert option(edns, Option.EDE) is None
    assert option(None, Option.NSID) is None


# -- any octets


def judge(data: bytes) -> None:
    """Silence, a short error reply that says so, or a query that dnspython reads the same."""
    result = accept(data)
    if result is None:
        assert len(data) < 12 or data[2] & 0x80
    elif isinstance(result, bytes):
        assert len(result) <= len(data), "a reply made here amplifies nothing"
        assert result[:2] == data[:2]
        assert result[2] & 0x80
        assert result[3] & 0xF in (1, 2, 4)
    else:
        assert result.size == len(data)
        assert data[12 : 12 + len(result.question.wire)] == result.question.wire or result.question.class_ == 0


@settings(max_examples=400)
@given(st.binary(max_size=600))
@example(header() + b"\xc0\x0c")
@example(header(additionals=1) + Q + b"\xff")
def test_no_octets_raise(data: bytes) -> None:
    judge(data)


@settings(max_examples=400)
@given(st.binary(max_size=80), st.integers(0, 1), st.integers(0, 1), st.integers(0, 2))
def test_no_octets_after_a_sound_question_raise(data: bytes, answers: int, authorities: int, additionals: int) -> None:
    judge(header(answers=answers, authorities=authorities, additionals=additionals) + Q + data)


whole_queries = st.builds(
    query,
    st.sampled_from([NAME, "", "a.b", "x" * 63]),
    st.integers(0, 65535),
    flags=st.integers(0, 0x7FF),
    edns=st.none()
    | st.builds(
        opt,
        st.integers(0, 65535),
        flags=st.integers(0, 65535),
        options=st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=9)), max_size=4).map(tuple),
    ),
)


@settings(max_examples=400)
@given(whole_queries, st.data())
def test_no_mutation_of_a_query_raises(data: bytes, chosen: st.DataObject) -> None:
    mutated = bytearray(data)
    for _ in range(chosen.draw(st.integers(1, 4))):
        at = chosen.draw(st.integers(0, len(mutated) - 1)) if mutated else 0
        match chosen.draw(st.sampled_from(["set", "cut", "insert", "delete"])):
            case "set" if mutated:
                mutated[at] = chosen.draw(st.integers(0, 255))
            case "cut":
                del mutated[at:]
            case "insert":
                mutated[at:at] = chosen.draw(st.binary(min_size=1, max_size=4))
            case "delete":
                del mutated[at : at + 1]
    judge(bytes(mutated))


@settings(max_examples=300)
@given(whole_queries)
def test_a_sound_query_is_read_as_dnspython_reads_it(data: bytes) -> None:
    message = accept(data)
    assert isinstance(message, Message)
    try:
        oracle = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return  # options whose data dnspython looks into
    (asked,) = oracle.question
    assert message.question.asked == asked.name.labels[:-1]
    assert message.question.type == asked.rdtype
    assert (message.edns is None) == (oracle.edns < 0)
    if message.edns is not None:
        assert (message.edns.size, message.edns.do) == (oracle.payload, bool(oracle.ednsflags & dns.flags.DO))
        assert message.edns.version == oracle.edns
        assert [code for code, _ in message.edns.options] == [option.otype for option in oracle.options]
