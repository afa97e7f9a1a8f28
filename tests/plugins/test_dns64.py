"""`dns64`: IPv6 addresses for IPv4-only names (RFC 6147, RFC 6052)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from dnslib import RR
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.dns64 import PREFIX_LENGTHS, synthesize
from dnsd.resolve.answer import Answer, Failure, Validity
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.records import address, cname, soa
from tests.plugins.asking import Next, make_query, plugin, refused, run, samples

V6 = "2001:db8:ffff::1"
"""A client behind a NAT64."""


def owner(text: str) -> tuple[bytes, ...]:
    return tuple(label.encode() for label in text.split("."))


def a(text: str, name: str = "a.test", ttl: int = 300) -> RR:
    return address(owner(name), ttl, ipaddress.ip_address(text).packed)


def negative(ttl: int = 900) -> RR:
    return soa((b"test",), ttl, (b"ns",), (b"admin",), (1, 2, 3, 4, 5))


NOTHING = Answer(Rcode.NOERROR, codes.AA, authority=(negative(),))


def rows(records: Sequence[RR]) -> list[tuple[str, int, str]]:
    return [
        (
            codes.type_text(record.rtype),
            record.ttl,
            str(ipaddress.ip_address(bytes(record.rdata.data))) if record.rtype in (1, 28) else str(record.rdata.label),
        )
        for record in records
    ]


def answers(aaaa: Answer, ipv4: Answer | None = None) -> Next:
    """A next plugin that has one answer for AAAA and one for A."""

    def by_type(query: Query) -> Answer:
        if query.type == Type.AAAA:
            return aaaa
        assert ipv4 is not None, "A was asked for"
        return ipv4

    return Next(by_type)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
    ],
)
def test_addresses_behind_a_prefix(prefix: str, expected: str) -> None:
    """The table of RFC 6052 section 2.4."""
    found = synthesize(ipaddress.IPv6Network(prefix), bytes((192, 0, 2, 33)))
    assert ipaddress.ip_address(found) == ipaddress.ip_address(expected)


@given(st.integers(0, 2**96 - 1), st.sampled_from(PREFIX_LENGTHS), st.ip_addresses(v=4))
def test_an_address_behind_a_prefix_is_in_it_and_can_be_read_back(
    bits: int, length: int, ipv4: ipaddress.IPv4Address
) -> None:
    network = ipaddress.IPv6Network((bits << 32, length), strict=False)
    if network.network_address.packed[8]:
        return
    found = synthesize(network, ipv4.packed)
    assert ipaddress.IPv6Address(found) in network
    assert found[8] == 0
    without = found[:8] + found[9:] if length < 96 else found
    start = length // 8
    assert without[start : start + 4] == ipv4.packed


@pytest.mark.parametrize(
    ("rule", "aaaa", "ipv4", "expected"),
    [
        (
            "nothing for AAAA: A records are translated, for as long as both answers live (5.1.7)",
            NOTHING,
            Answer(answer=(a("192.0.2.1"), a("192.0.2.2", ttl=3600))),
            [("AAAA", 300, "64:ff9b::c000:201"), ("AAAA", 900, "64:ff9b::c000:202")],
        ),
        (
            "without a SOA record for ten minutes (5.1.7)",
            Answer(),
            Answer(answer=(a("192.0.2.1", ttl=3600),)),
            [("AAAA", 600, "64:ff9b::c000:201")],
        ),
        (
            "AAAA records of its own stay (5.1.1)",
            Answer(answer=(a("2001:db8::1"),)),
            None,
            [("AAAA", 300, "2001:db8::1")],
        ),
        (
            "IPv4-mapped addresses are none (5.1.4)",
            Answer(answer=(a("::ffff:192.0.2.9"),), authority=(negative(),)),
            Answer(answer=(a("192.0.2.1"),)),
            [("AAAA", 300, "64:ff9b::c000:201")],
        ),
        (
            "and are left out beside others (5.1.4)",
            Answer(answer=(a("::ffff:192.0.2.9"), a("2001:db8::1"))),
            None,
            [("AAAA", 300, "2001:db8::1")],
        ),
        (
            "an error for AAAA is nothing (5.1.2)",
            Answer(Rcode.SERVFAIL),
            Answer(answer=(a("192.0.2.1"),)),
            [("AAAA", 300, "64:ff9b::c000:201")],
        ),
        (
            "a chain of CNAMEs comes with it (5.1.5)",
            Answer(answer=(cname(owner("a.test"), 60, owner("b.test")),), authority=(negative(),)),
            Answer(answer=(cname(owner("a.test"), 60, owner("b.test")), a("192.0.2.1", "b.test"))),
            [("CNAME", 60, "b.test."), ("AAAA", 300, "64:ff9b::c000:201")],
        ),
    ],
)
def test_what_a_client_gets(rule: str, aaaa: Answer, ipv4: Answer | None, expected: list[tuple[str, int, str]]) -> None:
    found = run(plugin("dns64"), make_query("a.test", "AAAA", client=V6), answers(aaaa, ipv4))
    assert (found.rcode, rows(found.answer)) == (Rcode.NOERROR, expected), rule


def test_a_name_that_is_not_there_is_not_there(  # RFC 6147 section 5.1.2
) -> None:
    given = Answer(Rcode.NXDOMAIN, codes.AA, authority=(negative(),))
    assert run(plugin("dns64"), make_query("a.test", "AAAA", client=V6), answers(given)) is given


@pytest.mark.parametrize("rcode", [Rcode.NOERROR, Rcode.SERVFAIL, Rcode.REFUSED])
def test_where_a_has_nothing_either_that_is_the_answer(rcode: int) -> None:
    """RFC 6147 section 5.1.6."""
    ipv4 = Answer(rcode, codes.AA, authority=(negative(30),))
    found = run(plugin("dns64"), make_query("a.test", "AAAA", client=V6), answers(NOTHING, ipv4))
    assert (found.rcode, found.answer, found.authority) == (rcode, [], ipv4.authority)


def test_a_failure_for_aaaa_is_nothing() -> None:
    """RFC 6147 section 5.1.3: a timeout is one of them."""

    def fails(query: Query) -> Answer:
        if query.type == Type.AAAA:
            raise Failure("timed out")
        return Answer(answer=(a("192.0.2.1"),))

    found = run(plugin("dns64"), make_query("a.test", "AAAA", client=V6), Next(fails))
    assert rows(found.answer) == [("AAAA", 300, "64:ff9b::c000:201")]


def test_a_failure_for_a_is_one() -> None:
    def fails(query: Query) -> Answer:
        raise Failure(f"no {query.type}")

    with pytest.raises(Failure, match="no 1"):
        run(plugin("dns64"), make_query("a.test", "AAAA", client=V6), Next(fails))


def test_the_other_sections_are_those_of_the_a_records() -> None:
    """RFC 6147 section 5.3.2."""
    ipv4 = Answer(0, codes.AA | codes.RA | codes.AD, (a("192.0.2.1"),), (negative(),), (a("192.0.2.53", "ns.test"),))
    found = run(plugin("dns64"), make_query("a.test", "AAAA", client=V6), answers(NOTHING, ipv4))
    assert (found.authority, found.additional, found.flags) == (ipv4.authority, ipv4.additional, 0)


def test_an_answer_is_right_while_both_that_it_is_made_of_are() -> None:
    aaaa = Answer(authority=(negative(),), validity=Validity(frozenset({("one",)}), until=20.0, ticking=5.0))
    ipv4 = Answer(answer=(a("192.0.2.1"),), validity=Validity(frozenset({("two",)}), until=10.0, ticking=3.0))
    found = run(plugin("dns64"), make_query("a.test", "AAAA", client=V6), answers(aaaa, ipv4))
    assert found.validity == Validity(frozenset({("one",), ("two",)}), until=10.0, ticking=3.0)


@pytest.mark.parametrize(
    ("rule", "options", "query"),
    [
        ("clients over IPv4 need not be behind the NAT64", "", make_query("a.test", "AAAA")),
        ("other types", "", make_query("a.test", "A", client=V6)),
        ("other classes (5.1)", "", make_query("a.test", "AAAA", client=V6, rdclass="CH")),
        (
            "who validates itself gets what there is (section 3)",
            "", make_query("a.test", "AAAA", client=V6, want_dnssec=True, flags=codes.CD),
        ),
    ],
)  # fmt: skip
def test_who_gets_what_there_is(rule: str, options: str, query: Query) -> None:
    next_ = Next(NOTHING)
    assert run(plugin(f"dns64 {options}"), query, next_) is NOTHING, rule
    assert next_.queries == [query]


def test_allow_ipv4_serves_clients_over_ipv4() -> None:
    ipv4 = Answer(answer=(a("192.0.2.1"),))
    found = run(plugin("dns64 {\nallow_ipv4\n}"), make_query("a.test", "AAAA"), answers(NOTHING, ipv4))
    assert rows(found.answer) == [("AAAA", 300, "64:ff9b::c000:201")]


@pytest.mark.parametrize(
    ("rule", "ipv4", "expected"),
    [
        ("synthesized ones instead", Answer(answer=(a("192.0.2.1"),)), [("AAAA", 300, "64:ff9b::c000:201")]),
        ("its own where there are no others", NOTHING, [("AAAA", 300, "2001:db8::1")]),
    ],
)
def test_translate_all_translates_names_with_ipv6(
    rule: str, ipv4: Answer, expected: list[tuple[str, int, str]]
) -> None:
    subject = plugin("dns64 {\ntranslate_all\n}")
    aaaa = Answer(answer=(a("2001:db8::1"),))
    found = run(subject, make_query("a.test", "AAAA", client=V6), answers(aaaa, ipv4))
    assert rows(found.answer) == expected, rule


@pytest.mark.parametrize("directive", ["dns64 64:1337::/96", "dns64 {\nprefix 64:1337::/96\n}"])
def test_another_prefix(directive: str) -> None:
    ipv4 = Answer(answer=(a("192.0.2.1"),))
    found = run(plugin(directive), make_query("a.test", "AAAA", client=V6), answers(NOTHING, ipv4))
    assert rows(found.answer) == [("AAAA", 300, "64:1337::c000:201")]


def test_translations_are_counted() -> None:
    subject = plugin("dns64")
    ipv4 = Answer(answer=(a("192.0.2.1"),))
    for client in (V6, V6, "192.0.2.1"):
        run(subject, make_query("a.test", "AAAA", client=client), answers(NOTHING, ipv4))
    assert samples(subject) == {("coredns_dns64_requests_translated_total", "dns://:53"): 2}


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("dns64 10.0.0.0/8", "'10.0.0.0/8' is not an IPv6 network"),
        ("dns64 2001:db8::/72", "/72 is not a length for a NAT64 prefix (one of /32, /40, /48, /56, /64, /96)"),
        ("dns64 2001:db8:0:0:ff00::/96", "bits 64 to 71 of a NAT64 prefix are zero"),
        ("dns64 {\nprefix\n}", "'prefix' needs 1 argument, not 0"),
        ("dns64 {\ntranslate\n}", "unknown option 'translate'"),
        ("dns64 a b", "'b' is too much"),
    ],
)
def test_what_is_wrong_is_said(directive: str, error: str) -> None:
    assert error in refused(f". {{\n{directive}\nwhoami\n}}")
