"""What RFC 8906 section 8 and ISC's compliance tester ask of every server, asked of a real process over its sockets.

Each row is one query, bit by bit, and what has to be true of the reply.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from tests.process import DEADLINE, Dnsd, dnsd
from tests.wire.queries import opt, query

DATA = Path(__file__).parent / "data"
COREFILE = f"""\
cluster.local:PORT {{
    bind 127.0.0.1
    kubernetes cluster.local {{
        manifests "{DATA / "cluster.yaml"}"
    }}
}}
"""
NAME = "web.shop.svc.cluster.local"
ZONE = "cluster.local"
AA, TC, RD, RA, Z, AD, CD = 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
DO = 0x8000
COOKIE = (10, bytes(range(8)))
NSID, EXPIRE, KEEPALIVE, UNKNOWN = (3, b""), (9, b""), (11, b""), (100, b"?")
SUBNET = (8, b"\0\1\x18\0\x0a\0\0")
PADDING = (12, bytes(20))


@dataclass(frozen=True)
class Row:
    """A query and its verdict."""

    query: bytes
    rcode: int = 0
    answers: int | None = 1
    edns: bool = False
    set: int = 0
    """Flags that the reply must have, beside QR."""
    clear: int = Z | TC
    """Flags that it must not have."""
    do: bool = False
    tcp: bool = False
    questions: int = 1
    options: frozenset[int] = field(default_factory=frozenset)


def soa(**words: object) -> bytes:
    return query(ZONE, 6, **words)  # type: ignore[arg-type]


ROWS: dict[str, Row] = {
    # RFC 8906 8.1: without EDNS
    "8.1.1 dns: the zone is configured": Row(soa(flags=0), set=AA),
    "8.1.2 type666: an unknown type": Row(query(ZONE, 666, flags=0), answers=0, set=AA),
    "8.1.3.1 cd": Row(soa(flags=CD), set=AA | CD),
    "8.1.3.2 ad": Row(soa(flags=AD), set=AA, clear=Z | AD),
    "8.1.3.3 zflag: the reserved bit": Row(soa(flags=Z), set=AA),
    "8.1.3.4 rd": Row(soa(flags=RD), set=AA | RD),
    "aa in the query": Row(soa(flags=AA), set=AA),
    "ra in the query": Row(soa(flags=RA), set=AA, clear=RA | Z),
    "tc in the query": Row(soa(flags=TC), set=AA),
    "8.1.4.1 opcode: an unknown one": Row(
        struct.pack("!6H", 0x1234, 15 << 11, 0, 0, 0, 0), rcode=4, questions=0, answers=0
    ),
    "8.1.4.2 opcode and a question": Row(soa(flags=15 << 11), rcode=4, questions=0, answers=0),
    "opcodeflg: an unknown opcode and every flag": Row(
        soa(flags=15 << 11 | TC | RD | RA | Z | AD | CD), rcode=4, questions=0, answers=0, set=RD, clear=Z | AA
    ),
    "notify: this server is nobody's secondary": Row(soa(flags=4 << 11), rcode=4, questions=0, answers=0),
    "update: nor anybody's primary": Row(soa(flags=5 << 11), rcode=4, questions=0, answers=0),
    "8.1.5 tcp": Row(soa(flags=0), set=AA, tcp=True),
    # RFC 8906 8.2: with EDNS
    "8.2.1 edns": Row(soa(flags=0, edns=opt()), edns=True, set=AA),
    "8.2.2 edns1: version negotiation": Row(soa(edns=opt(version=1)), rcode=16, answers=0, edns=True),
    "8.2.3 ednsopt: an unknown option": Row(soa(edns=opt(options=(UNKNOWN,))), edns=True, set=AA),
    "8.2.4 ednsflags: unknown flags": Row(soa(edns=opt(flags=0x0080)), edns=True, set=AA),
    "8.2.5 edns1 and unknown flags": Row(soa(edns=opt(version=1, flags=0x0080)), rcode=16, answers=0, edns=True),
    "8.2.6 edns1opt": Row(soa(edns=opt(version=1, options=(UNKNOWN,))), rcode=16, answers=0, edns=True),
    "8.2.7 edns@512": Row(soa(edns=opt(512)), edns=True, set=AA),
    "8.2.8 do": Row(soa(edns=opt(flags=DO)), edns=True, set=AA, do=True),
    "8.2.9 edns1do": Row(soa(edns=opt(version=1, flags=DO)), rcode=16, answers=0, edns=True),
    "8.2.10 optlist: several options": Row(
        soa(edns=opt(options=(NSID, COOKIE, EXPIRE, SUBNET))), edns=True, set=AA
    ),
    "docd": Row(soa(flags=CD, edns=opt(flags=DO)), edns=True, set=AA | CD, do=True),
    "ednsnsid": Row(soa(edns=opt(options=(NSID,))), edns=True, set=AA),
    "ednscookie: a cookie that nobody makes is not echoed": Row(soa(edns=opt(options=(COOKIE,))), edns=True, set=AA),
    "ednsexpire": Row(soa(edns=opt(options=(EXPIRE,))), edns=True, set=AA),
    "ednssubnet": Row(soa(edns=opt(options=(SUBNET,))), edns=True, set=AA),
    "edns1nsid": Row(soa(edns=opt(version=1, options=(NSID,))), rcode=16, answers=0, edns=True),
    "edns1cookie": Row(soa(edns=opt(version=1, options=(COOKIE,))), rcode=16, answers=0, edns=True),
    "edns1expire": Row(soa(edns=opt(version=1, options=(EXPIRE,))), rcode=16, answers=0, edns=True),
    "edns1subnet": Row(soa(edns=opt(version=1, options=(SUBNET,))), rcode=16, answers=0, edns=True),
    "ednstcp": Row(soa(edns=opt()), edns=True, set=AA, tcp=True),
    "keepalive over UDP is not echoed (RFC 7828 section 3.2.1)": Row(
        soa(edns=opt(options=(KEEPALIVE,))), edns=True, set=AA
    ),
    "padding is not asked back without TLS": Row(soa(edns=opt(options=(PADDING,))), edns=True, set=AA),
    # resolvers as they come
    "bind11: COOKIE, DO and 4096": Row(soa(edns=opt(4096, flags=DO, options=(COOKIE,))), edns=True, set=AA, do=True),
    "dig11: COOKIE, AD and 4096": Row(soa(flags=RD | AD, edns=opt(4096, options=(COOKIE,))), edns=True, set=AA | RD),
    "signed with a key that nobody knows": Row(
        struct.pack("!6H", 0x1234, 0, 1, 0, 0, 1)
        + soa()[12:]
        + b"\3key\0"
        + struct.pack("!HHIH", 250, 255, 0, 16 + 5)
        + b"\3sig\0"
        + bytes(16),
        set=AA,
    ),
    # classes
    "class CH is not served": Row(query(ZONE, 16, class_=3), rcode=5, answers=0, clear=AA | Z),
    "class CH and EDNS version 1: the class first": Row(
        query(ZONE, 16, class_=3, edns=opt(version=1)), rcode=5, answers=0, edns=True, clear=AA | Z
    ),
    "class ANY is not served": Row(query(ZONE, 6, class_=255), rcode=5, answers=0, clear=AA | Z),
    "a name that nobody serves": Row(query("example.org", 1), rcode=5, answers=0, clear=AA | Z),
    "AXFR over UDP": Row(query(ZONE, 252), rcode=5, answers=0, clear=AA | Z),
    "AXFR over TCP": Row(query(ZONE, 252), rcode=5, answers=0, clear=AA | Z, tcp=True),
    # sizes
    "a datagram of more than 512 octets": Row(query(NAME, edns=opt(options=((12, bytes(800)),))), edns=True, set=AA),
    "a datagram of 4096 octets": Row(
        query(NAME, edns=opt(options=((12, bytes(4096 - len(query(NAME, edns=opt())) - 4)),))), edns=True, set=AA
    ),
    "a message of 20,000 octets over TCP": Row(
        query(NAME, edns=opt(options=((12, bytes(20_000)),))), edns=True, set=AA, tcp=True
    ),
    **{
        f"type {type_}": Row(query(NAME, type_), answers=None, set=AA)
        for type_ in (*range(1, 40), 43, 46, 47, 48, 52, 64, 65, 99, 255, 256, 257, 32768, 65534)
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dnsd]:
    with dnsd(COREFILE, tmp_path_factory.mktemp("compliance")) as process:
        yield process


def ask(server: Dnsd, data: bytes, *, tcp: bool) -> bytes:
    if not tcp:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(DEADLINE)
            udp.connect(("127.0.0.1", server.port))
            udp.send(data)
            return udp.recv(65535)
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as stream:
        stream.sendall(struct.pack("!H", len(data)) + data)
        with stream.makefile("rb") as file:
            return file.read(struct.unpack("!H", file.read(2))[0])


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_compliance(server: Dnsd, row: Row) -> None:
    data = ask(server, row.query, tcp=row.tcp)
    reply = dns.message.from_wire(data)
    (flags,) = struct.unpack_from("!H", data, 2)
    assert reply.id == 0x1234
    assert flags & 0x8000, "QR"
    assert dns.rcode.to_text(reply.rcode()) == dns.rcode.to_text(dns.rcode.Rcode(row.rcode))
    assert flags & 0x7800 == (struct.unpack_from("!H", row.query, 2)[0] & 0x7800 if row.rcode == 4 else 0), "opcode"
    assert flags & row.set == row.set, f"flags {flags:#06x}"
    assert flags & row.clear == 0, f"flags {flags:#06x}"
    assert len(reply.question) == row.questions
    if row.answers is not None:
        assert sum(map(len, reply.answer)) == row.answers
    assert (reply.edns >= 0) == row.edns
    assert {option.otype for option in reply.options} - {15} == row.options, "no option that was not made here"
    if row.edns:
        assert reply.edns == 0, "the version spoken"
        assert reply.ednsflags & 0xFFFF == (DO if row.do else 0), "DO is copied, what is unknown is not"


def test_responses_are_not_answered(server: Dnsd) -> None:
    """Else two servers could be made to talk to each other forever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(DEADLINE)
        udp.connect(("127.0.0.1", server.port))
        for data in (query(NAME, flags=0x8000), query(NAME)[:11], b"", query(NAME, id_=7)):
            udp.send(data)
        assert udp.recv(65535)[:2] == b"\0\7"


def test_options_of_a_query_that_fails_are_told_the_reason(server: Dnsd) -> None:
    reply = server.ask("example.org", use_edns=0)
    assert [option.otype for option in reply.options] == [15]
