"""`minimal`: authority and additional only where a client needs them."""

from __future__ import annotations

import pytest
from dnslib import RR

from dnsd.resolve.answer import Answer
from dnsd.wire import codes
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.records import address, cname, soa
from tests.plugins.asking import Next, make_query, plugin, run

A = address((b"a", b"test"), 60, bytes(4))
GLUE = address((b"ns", b"test"), 60, bytes(4))
SOA = soa((b"test",), 60, (b"ns", b"test"), (b"admin",), (1, 2, 3, 4, 5))
ALIAS = cname((b"a", b"test"), 60, (b"b", b"test"))


@pytest.mark.parametrize(
    ("rule", "type_", "given", "kept"),
    [
        ("an answer with data is all there is", "A", Answer(0, codes.AA, (A,), (SOA,), (GLUE,)), 0),
        ("a CNAME is data", "A", Answer(0, codes.AA, (ALIAS,), (SOA,), (GLUE,)), 0),
        ("NODATA needs its SOA (RFC 2308)", "A", Answer(0, codes.AA, (), (SOA,)), 1),
        ("a referral needs its servers and their addresses", "A", Answer(0, 0, (), (SOA,), (GLUE,)), 2),
        ("NXDOMAIN needs its SOA", "A", Answer(Rcode.NXDOMAIN, codes.AA, (), (SOA,)), 1),
        ("a chain to nowhere does too", "A", Answer(Rcode.NXDOMAIN, codes.AA, (ALIAS,), (SOA,)), 1),
        ("an error stays as it is", "A", Answer(Rcode.SERVFAIL, 0, (), (SOA,)), 1),
    ],
)
def test_what_is_left(rule: str, type_: str, given: Answer, kept: int) -> None:
    answer = run(plugin("minimal"), make_query("a.test", type_), Next(given))
    assert (answer.answer, answer.rcode, answer.flags, answer.validity) == (
        given.answer, given.rcode, given.flags, given.validity,
    )  # fmt: skip
    assert len(answer.authority) + len(answer.additional) == kept, rule


def test_a_zone_transfer_is_not_touched() -> None:
    records: tuple[RR, ...] = (SOA, A, SOA)
    given = Answer(0, codes.AA, records, (SOA,))
    assert run(plugin("minimal"), make_query("test", "AXFR", protocol="tcp"), Next(given)) == given
    assert given.answer[0].rtype == Type.SOA
