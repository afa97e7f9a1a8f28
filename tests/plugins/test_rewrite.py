"""`rewrite`: another query inwards, another answer outwards."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import dns.edns
import dns.flags
import dnslib
import pytest
from dnslib import RR, DNSLabel
from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile.syntax import Position, Word
from dnsd.plugins.rewrite.matching import IllegalName, matcher, reverse, text_of
from dnsd.plugins.rewrite.responses import MAX_CHAIN
from dnsd.resolve.answer import ALWAYS, Answer, Failure, Validity
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Rcode, Type, type_text
from dnsd.wire.name import from_text, to_text
from dnsd.wire.records import address, cname, record, soa
from tests.plugins import harness
from tests.plugins.asking import Next, make_query, plugin, refused, run, warnings
from tests.plugins.harness import answer, records

PLACE = Position("Corefile", 1, 1)


def word(text: str) -> Word:
    return Word(text, PLACE)


def label(text: str) -> DNSLabel:
    return DNSLabel(from_text(text))


def a(owner: str, text: str = "192.0.2.1", ttl: int = 300) -> RR:
    return address(from_text(owner), ttl, ipaddress.ip_address(text).packed)


def alias(owner: str, target: str, ttl: int = 300) -> RR:
    return cname(from_text(owner), ttl, from_text(target))


def texts(section: Sequence[RR]) -> list[str]:
    """Owner name, type, and the name or address in the rdata."""
    rows = []
    for one in section:
        rdata = one.rdata
        names = [getattr(rdata, name) for name in ("label", "target", "replacement", "mname") if hasattr(rdata, name)]
        value = to_text(names[0].label) if names else str(ipaddress.ip_address(bytes(rdata.data)))
        rows.append(f"{to_text(one.rname.label)} {type_text(one.rtype)} {value}")
    return rows


def asked(directives: str, name: str, type_: str = "A", **options: object) -> str:
    """What the plugin behind is asked: name, type and class."""
    next_ = Next()
    run(plugin(directives), make_query(name, type_, **options), next_)  # type: ignore[arg-type]
    (query,) = next_.queries
    return f"{to_text(query.name)} {type_text(query.type)} {codes.class_text(query.question.class_)}"


# -- the question


@pytest.mark.parametrize(
    ("rule", "directive", "name", "expected"),
    [
        ("exact is the usual kind", "name a.test b.test", "a.test", "b.test."),
        ("exact", "name exact a.test. b.test.", "a.test", "b.test."),
        ("exact is not about names below", "name exact a.test b.test", "x.a.test", "x.a.test."),
        ("letter case does not matter", "name exact A.test B.test", "a.TEST", "b.test."),
        ("a name with an escaped dot", r"name exact x\.y.test b.test", r"x\.y.test", "b.test."),
        ("an escape of what needs none", r"name exact \097.test b.test", "a.test", "b.test."),
        ("the root", "name exact . b.test", ".", "b.test."),
        ("a prefix", "name prefix foo bar", "foo.example.com", "bar.example.com."),
        ("a prefix ends where a label ends", "name prefix foo bar", "foofoo.example.com", "foofoo.example.com."),
        ("a prefix has to be at the start", "name prefix foo bar", "x.foo.test", "x.foo.test."),
        ("a suffix", "name suffix .com .org", "foo.example.com", "foo.example.org."),
        ("a suffix need not begin with a label", "name suffix com org", "telecom", "teleorg."),
        ("a suffix that eats a dot", "name suffix .in.test nginx.test", "a.in.test", "anginx.test."),
        ("a suffix has to be at the end", "name suffix com org", "com.test", "com.test."),
        ("a substring", "name substring mid www", "a.mid.test", "a.www.test."),
        ("every one of them", "name substring x y", "x.x.test", "y.y.test."),
        ("an expression", r"name regex (.*)\.re\.test {1}.example.com", "www.re.test", "www.example.com."),
        ("two groups", r"name regex (.*)-(us)\.test {2}.{1}.test", "ftp-us.test", "us.ftp.test."),
        ("the whole match", r"name regex ^a\.test\.$ x.{0}", "a.test", "x.a.test."),
        ("a group that found nothing", r"name regex ^a(b)?\.test\.$ x{1}.test", "a.test", "x.test."),
        ("what a group found is not read again", r"name regex ^(.*)\.(t)est\.$ {1}.test", "{2}.test", "{2}.test."),
        ("an expression is looked for anywhere", "name regex b c.test", "abc.test", "c.test."),
        ("not about this name", "name regex ^b c.test", "abc.test", "abc.test."),
    ],
)
def test_names(rule: str, directive: str, name: str, expected: str) -> None:
    assert asked(f"rewrite {directive}", name) == f"{expected} A IN", rule


@pytest.mark.parametrize(
    ("rule", "directives", "question", "expected"),
    [
        ("a type", "rewrite type MX A", "a.test MX IN", "a.test. A IN"),
        ("another type", "rewrite type MX A", "a.test TXT IN", "a.test. TXT IN"),
        ("a type by number", "rewrite type ANY TYPE65280", "a.test ANY IN", "a.test. TYPE65280 IN"),
        ("a class", "rewrite class CH IN", "a.test A CH", "a.test. A IN"),
        (
            "stop is what is usual",
            "rewrite name a.test b.test\nrewrite name b.test c.test", "a.test A IN", "b.test. A IN",
        ),
        (
            "continue",
            "rewrite continue name a.test b.test\nrewrite name b.test c.test", "a.test A IN", "c.test. A IN",
        ),
        (
            "a rule that is not about the query does not stop it",
            "rewrite stop name x.test y.test\nrewrite stop type A AAAA", "a.test A IN", "a.test. AAAA IN",
        ),
        (
            "one after the other",
            "rewrite continue class HS CH\nrewrite continue class CH IN\nrewrite type ANY HINFO",
            "a.test ANY HS", "a.test. HINFO IN",
        ),
        (
            "a rule in braces",
            "rewrite stop {\nname regex (.*)\\.a\\.test {1}.b.test\nanswer name (.*)\\.b\\.test {1}.a.test\n}",
            "x.a.test A IN", "x.b.test. A IN",
        ),
        ("letter case of the words", "rewrite STOP Name EXACT a.test b.test", "a.test A IN", "b.test. A IN"),
    ],
)  # fmt: skip
def test_rules(rule: str, directives: str, question: str, expected: str) -> None:
    name, type_, class_ = question.split()
    assert asked(directives, name, type_, rdclass=class_) == expected, rule


@pytest.mark.parametrize(
    ("directive", "name"),
    [
        ("regex ^(a.*) {1}.{1}", ".".join(["a" + "x" * 60] * 3)),
        ("regex ^a.* x..y", "a.test"),
        (f"substring .b. {'x' * 60}.", f"{'a' * 10}.b.test"),
    ],
    ids=["too long", "an empty label", "a label that is too long"],
)
def test_a_name_that_cannot_be_is_a_failure(directive: str, name: str) -> None:
    subject = plugin(f"rewrite name {directive}")
    with pytest.raises(IllegalName, match="invalid name after rewrite") as failure:
        run(subject, make_query(name))
    assert failure.value.rcode == Rcode.SERVFAIL


def test_the_client_sees_its_own_question() -> None:
    reply = answer(". {\nrewrite name a.test b.test\nrewrite type TXT A\nwhoami\n}", "A.Test", "A")
    assert reply is not None
    assert [str(question) for question in reply.question] == ["A.Test. IN A"]


# -- names in the answer


DATA = Answer(
    0,
    codes.AA,
    (
        alias("x.new.test", "b.new.test"),
        a("b.new.test"),
        record(from_text("x.new.test"), Type.MX, 300, dnslib.MX(label("mail.new.test"), 10)),
        record(from_text("x.new.test"), Type.SRV, 300, dnslib.SRV(0, 0, 1, label("srv.new.test"))),
        record(from_text("x.new.test"), Type.PTR, 300, dnslib.PTR(label("ptr.new.test"))),
        record(from_text("x.new.test"), Type.DNAME, 300, dnslib.DNAME(label("dn.new.test"))),
    ),
    (
        record(from_text("other"), Type.NS, 300, dnslib.NS(label("ns.new.test"))),
        soa(from_text("other"), 300, from_text("ns.new.test"), from_text("admin.new.test"), (1, 2, 3, 4, 5)),
    ),
    (a("NS.new.test"),),
    validity=Validity(frozenset({("key",)})),
)


@pytest.mark.parametrize(
    ("rule", "directive", "expected"),
    [
        (
            "names stay without a word about the answer",
            r"name regex ^x\.old\. x.new.",
            [*texts(DATA.answer), *texts(DATA.authority), *texts(DATA.additional)],
        ),
        (
            "exact gives the name back, and names below it",
            "name exact x.old.test x.new.test",
            [
                "x.old.test. CNAME b.new.test.", "b.new.test. A 192.0.2.1", "x.old.test. MX mail.new.test.",
                "x.old.test. SRV srv.new.test.", "x.old.test. PTR ptr.new.test.", "x.old.test. DNAME dn.new.test.",
                "other. NS ns.new.test.", "other. SOA ns.new.test.", "NS.new.test. A 192.0.2.1",
            ],
        ),
        (
            "a suffix gives every name back",
            "name suffix .old.test .new.test answer auto",
            [
                "x.old.test. CNAME b.old.test.", "b.old.test. A 192.0.2.1", "x.old.test. MX mail.old.test.",
                "x.old.test. SRV srv.old.test.", "x.old.test. PTR ptr.old.test.", "x.old.test. DNAME dn.old.test.",
                "other. NS ns.old.test.", "other. SOA ns.old.test.", "ns.old.test. A 192.0.2.1",
            ],
        ),
        (
            "answer name is about owner names",
            r"name suffix .old.test .new.test answer name (.*)\.new\.test {1}.old.test",
            [
                "x.old.test. CNAME b.new.test.", "b.old.test. A 192.0.2.1", "x.old.test. MX mail.new.test.",
                "x.old.test. SRV srv.new.test.", "x.old.test. PTR ptr.new.test.", "x.old.test. DNAME dn.new.test.",
                "other. NS ns.new.test.", "other. SOA ns.new.test.", "ns.old.test. A 192.0.2.1",
            ],
        ),
        (
            "answer value is about names in rdata",
            r"name suffix .old.test .new.test answer value (.*)\.new\.test {1}.old.test",
            [
                "x.new.test. CNAME b.old.test.", "b.new.test. A 192.0.2.1", "x.new.test. MX mail.old.test.",
                "x.new.test. SRV srv.old.test.", "x.new.test. PTR ptr.old.test.", "x.new.test. DNAME dn.old.test.",
                "other. NS ns.old.test.", "other. SOA ns.old.test.", "NS.new.test. A 192.0.2.1",
            ],
        ),
        (
            "both, and the second 'answer' may be missing",
            r"name regex (.*)\.old\. {1}.new. answer name (.*)\.new\.test {1}.n.test value ^b\.new\.test v.test",
            [
                "x.n.test. CNAME v.test.", "b.n.test. A 192.0.2.1", "x.n.test. MX mail.new.test.",
                "x.n.test. SRV srv.new.test.", "x.n.test. PTR ptr.new.test.", "x.n.test. DNAME dn.new.test.",
                "other. NS ns.new.test.", "other. SOA ns.new.test.", "ns.n.test. A 192.0.2.1",
            ],
        ),
        (
            "the last rule for the answer comes first",
            r"name exact x.old.test x.new.test answer value b\.new\.test c.test answer value ^b\.new\. d.test",
            [
                "x.old.test. CNAME d.test.", "b.new.test. A 192.0.2.1", "x.old.test. MX mail.new.test.",
                "x.old.test. SRV srv.new.test.", "x.old.test. PTR ptr.new.test.", "x.old.test. DNAME dn.new.test.",
                "other. NS ns.new.test.", "other. SOA ns.new.test.", "NS.new.test. A 192.0.2.1",
            ],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value and not value.startswith("name") else "",
)  # fmt: skip
def test_names_in_answers(rule: str, directive: str, expected: list[str]) -> None:
    before = [*texts(DATA.answer), *texts(DATA.authority), *texts(DATA.additional)]
    found = run(plugin(f"rewrite {directive}"), make_query("x.old.test"), Next(DATA))
    assert [*texts(found.answer), *texts(found.authority), *texts(found.additional)] == expected, rule
    assert (found.flags, found.validity) == (DATA.flags, DATA.validity)
    assert [*texts(DATA.answer), *texts(DATA.authority), *texts(DATA.additional)] == before, "records are shared"


@pytest.mark.parametrize(
    ("directive", "name", "inside"),
    [
        ("prefix old new answer auto", "old.test", "new.test"),
        ("substring old new answer auto", "a.old.test", "a.new.test"),
        (r"regex ^(.*)\.old\.test {1}.new.test answer auto", "a.old.test", "a.new.test"),
    ],
)
def test_auto_gives_the_name_back_that_was_asked_for(directive: str, name: str, inside: str) -> None:
    given = Answer(answer=(alias(inside, f"x.{inside}"), a(f"x.{inside}"), a("y.test")))
    found = run(plugin(f"rewrite name {directive}"), make_query(name), Next(given))
    assert texts(found.answer) == [
        f"{name}. CNAME x.{name}.", f"x.{name}. A 192.0.2.1", "y.test. A 192.0.2.1",
    ]  # fmt: skip


def test_names_are_given_back_through_every_rule() -> None:
    subject = plugin("rewrite continue name one.test two.test\nrewrite name two.test three.test")
    found = run(subject, make_query("one.test"), Next(Answer(answer=(a("three.test"),))))
    assert texts(found.answer) == ["one.test. A 192.0.2.1"]


LABEL = st.text("ab-_\\. ", min_size=1, max_size=3).filter(lambda text: text != "")
NAME = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: tuple(label.encode() for label in labels))


@given(NAME, NAME)
def test_an_exact_rewrite_of_any_name_is_undone(before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
    match = matcher("exact", word(to_text(before)), word(to_text(after)))
    assert match(text_of(before)) == to_text(after).lower()
    back = reverse(text_of(before), text_of(after))
    assert back(text_of(after)) == text_of(before)
    assert back(f"x.{text_of(after)}") == f"x.{text_of(before)}"


# -- TTLs


@pytest.mark.parametrize(
    ("rule", "words", "expected"),
    [
        ("a number", "15", [15, 15, 15]),
        ("a range", "30-300", [30, 100, 300]),
        ("a least", "30-", [30, 100, 1000]),
        ("a most", "-300", [10, 100, 300]),
        ("zero", "0", [0, 0, 0]),
    ],
)
def test_ttls(rule: str, words: str, expected: list[int]) -> None:
    given = Answer(answer=(a("a.test", ttl=10),), authority=(a("a.test", ttl=100),), additional=(a("b", ttl=1000),))
    found = run(plugin(f"rewrite ttl exact a.test {words}"), make_query("a.test"), Next(given))
    assert [one.ttl for section in (found.answer, found.authority, found.additional) for one in section] == expected


@pytest.mark.parametrize(
    ("words", "matches"),
    [
        ("a.test 15", True), ("exact b.test 15", False), ("prefix a 15", True), ("prefix test 15", False),
        ("suffix .test 15", True), ("suffix .example 15", False), ("substring a 15", True), ("substring b 15", False),
        (r"regex (.*)\.test 15", True), (r"regex ^test 15", False),
    ],
)  # fmt: skip
def test_which_names_a_ttl_is_for(words: str, matches: bool) -> None:
    found = run(plugin(f"rewrite ttl {words}"), make_query("a.test"), Next(Answer(answer=(a("a.test"),))))
    assert [one.ttl for one in found.answer] == [15 if matches else 300]


def test_a_limited_ttl_does_not_count_down_while_it_is_kept() -> None:
    """Where TTLs tick, what is kept is right for a second: the next one has the same limited TTL."""
    given = Answer(answer=(a("a.test", ttl=1000),), validity=Validity(until=2000.0, ticking=1000.0))
    found = run(plugin("rewrite ttl a.test -15"), make_query("a.test"), Next(given))
    assert found.validity == Validity(until=1001.0, ticking=1000.0)
    standing = Answer(answer=(a("a.test"),), validity=ALWAYS)
    assert run(plugin("rewrite ttl a.test -15"), make_query("a.test"), Next(standing)).validity == ALWAYS


# -- rcodes


@pytest.mark.parametrize(
    ("directive", "given", "expected"),
    [
        ("a.test NXDOMAIN NOERROR", Rcode.NXDOMAIN, "NOERROR"),
        ("a.test 3 0", Rcode.NXDOMAIN, "NOERROR"),
        ("a.test nxdomain servfail", Rcode.NXDOMAIN, "SERVFAIL"),
        ("a.test NXDOMAIN NOERROR", Rcode.SERVFAIL, "SERVFAIL"),
        (r"regex (.*)\.test SERVFAIL NOERROR", Rcode.SERVFAIL, "NOERROR"),
        ("suffix .example NXDOMAIN NOERROR", Rcode.NXDOMAIN, "NXDOMAIN"),
    ],
)
def test_rcodes(directive: str, given: int, expected: str) -> None:
    found = run(plugin(f"rewrite rcode {directive}"), make_query("a.test"), Next(Answer(given)))
    assert codes.rcode_text(found.rcode) == expected


def test_a_failure_gets_another_rcode_too() -> None:
    def fails(query: Query) -> Answer:
        raise Failure(f"no answer for {to_text(query.name)}")

    found = run(plugin("rewrite rcode a.test SERVFAIL NOERROR"), make_query("a.test"), Next(fails))
    assert (found.rcode, found.answer, found.written) == (Rcode.NOERROR, (), True)
    with pytest.raises(Failure, match=r"no answer for b\.test"):
        run(plugin("rewrite rcode a.test SERVFAIL NOERROR"), make_query("b.test"), Next(fails))
    with pytest.raises(Failure, match=r"no answer for a\.test"):
        run(plugin("rewrite rcode a.test NXDOMAIN NOERROR"), make_query("a.test"), Next(fails))


@pytest.mark.parametrize(("edns", "expected"), [(0, Rcode.BADVERS + 7), (False, Rcode.SERVFAIL)])
def test_an_rcode_that_needs_opt_is_servfail_without_it(edns: int, expected: int) -> None:
    query = make_query("a.test", use_edns=edns)
    found = run(plugin("rewrite rcode a.test NXDOMAIN BADCOOKIE"), query, Next(Answer(Rcode.NXDOMAIN)))
    assert found.rcode == expected


# -- CNAME targets


CHAIN = """. {{
    rewrite {rule}
    template IN A a.test {{
        match ^a\\.test\\.$
        answer "a.test. 60 IN CNAME x.cdn.test."
        answer "x.cdn.test. 60 IN A 192.0.2.66"
    }}
    template IN ANY new.test {{
        match ^x\\.new\\.test\\.$
        answer "x.new.test. 30 IN A 192.0.2.1"
        fallthrough
    }}
    template IN ANY new.test {{
        match ^loop\\.new\\.test\\.$
        answer "loop.new.test. 30 IN CNAME y.cdn.test."
    }}
    template ANY ANY {{
        rcode REFUSED
    }}
}}"""


@pytest.mark.parametrize(
    ("rule", "words", "expected"),
    [
        ("exact", "cname exact x.cdn.test x.new.test", ["x.new.test.", "192.0.2.1"]),
        ("exact is the usual kind", "cname x.cdn.test. x.new.test.", ["x.new.test.", "192.0.2.1"]),
        ("suffix", "cname suffix .cdn.test .new.test", ["x.new.test.", "192.0.2.1"]),
        ("prefix", "cname prefix x.cdn x.new", ["x.new.test.", "192.0.2.1"]),
        ("substring", "cname substring cd ne", ["x.nen.test."]),
        ("regex", r"cname regex ^(.*)\.cdn\.test\.$ {1}.new.test", ["x.new.test.", "192.0.2.1"]),
        ("another target stays", "cname exact y.cdn.test x.new.test", ["x.cdn.test.", "192.0.2.66"]),
        ("a target that cannot be asked leaves the CNAME", "cname exact x.cdn.test z.refused", ["z.refused."]),
    ],
)
def test_cname_targets(rule: str, words: str, expected: list[str]) -> None:
    reply = answer(CHAIN.format(rule=words), "a.test")
    assert reply is not None
    assert reply.rcode() == dns.rcode.NOERROR
    assert [rdata.to_text() for rrset in reply.answer for rdata in rrset] == expected, rule


def test_a_target_that_leads_back_ends() -> None:
    reply = answer(CHAIN.format(rule=r"cname regex ^.*\.cdn\.test\.$ loop.new.test"), "a.test")
    assert reply is not None
    assert reply.rcode() == dns.rcode.NOERROR
    assert {row[3] for row in records(reply.answer)} == {"loop.new.test."}
    assert len(reply.answer) <= MAX_CHAIN + 1


def test_who_asks_for_the_cname_gets_just_that() -> None:
    given = Answer(answer=(alias("a.test", "x.cdn.test"),))
    found = run(plugin("rewrite cname x.cdn.test y.test"), make_query("a.test", "CNAME"), Next(given))
    assert texts(found.answer) == ["a.test. CNAME y.test."]


# -- EDNS options


def generic(code: int, data: bytes) -> dns.edns.GenericOption:
    return dns.edns.GenericOption(dns.edns.OptionType.make(code), data)


def options(directive: str, *given: tuple[int, bytes], name: str = "a.test", **who: object) -> list[tuple[int, bytes]]:
    """The options of the query that the plugin behind sees."""
    sent = [generic(code, data) for code, data in given]
    query = make_query(name, use_edns=0 if sent else False, options=sent or None, **who)  # type: ignore[arg-type]
    next_ = Next()
    run(plugin(f"rewrite edns0 {directive}"), query, next_)
    (seen,) = next_.queries
    return list(seen.edns.options) if seen.edns is not None else []


CODE = 0xFFEE


@pytest.mark.parametrize(
    ("rule", "directive", "given", "expected"),
    [
        ("set adds", "local set 0xffee abcd", [], [(CODE, b"abcd")]),
        ("set replaces", "local set 0xffee abcd", [(CODE, b"x"), (1, b"y")], [(1, b"y"), (CODE, b"abcd")]),
        ("append adds", "local append 0xffee abcd", [], [(CODE, b"abcd")]),
        ("append leaves what is there", "local append 0xffee abcd", [(CODE, b"x")], [(CODE, b"x")]),
        ("replace replaces", "local replace 0xffee abcd", [(CODE, b"x")], [(CODE, b"abcd")]),
        ("replace does not add", "local replace 0xffee abcd", [], []),
        ("unset takes out", "local unset 0xffee", [(CODE, b"x"), (1, b"y")], [(1, b"y")]),
        ("unset of what is not there", "local unset 0xffee", [], []),
        ("data in hexadecimal", "local set 0xffee 0x61626364", [], [(CODE, b"abcd")]),
        ("a code in decimal", "local set 65518 abcd", [], [(CODE, b"abcd")]),
        ("revert is heeded", "local set 0xffee abcd revert", [], [(CODE, b"abcd")]),
        ("NSID is asked for", "nsid set", [], [(3, b"")]),
        ("NSID of a query is empty", "nsid replace", [(3, b"x")], [(3, b"")]),
        ("NSID is not asked for", "nsid unset", [(3, b"")], []),
        ("a subnet", "subnet set 24 56", [], [(8, b"\0\1\x18\0\xc0\0\2")]),
        ("a client's subnet stays", "subnet append 24 56", [(8, b"x")], [(8, b"x")]),
        ("no subnet", "subnet unset", [(8, b"x")], []),
        ("a subnet of everybody", "subnet set 0 0", [], [(8, b"\0\1\0\0")]),
        ("bits that are no octets", "subnet set 23 56", [], [(8, b"\0\1\x17\0\xc0\0\2")]),
        ("the name", "local set 0xffee {qname}", [], [(CODE, b"a.test.")]),
        ("the type", "local set 0xffee {qtype}", [], [(CODE, b"\0\1")]),
        ("the client", "local set 0xffee {client_ip}", [], [(CODE, b"\xc0\0\2\x01")]),
        ("its port", "local set 0xffee {client_port}", [], [(CODE, b"\x9c\x40")]),
        ("the protocol", "local set 0xffee {protocol}", [], [(CODE, b"udp")]),
        ("the server", "local set 0xffee {server_ip}", [], [(CODE, b"\x7f\0\0\1")]),
        ("its port", "local set 0xffee {server_port}", [], [(CODE, b"\0\x35")]),
    ],
)
def test_options(rule: str, directive: str, given: list[tuple[int, bytes]], expected: list[tuple[int, bytes]]) -> None:
    assert options(directive, *given, client="192.0.2.1") == expected, rule


def test_the_subnet_of_an_ipv6_client() -> None:
    expected = b"\0\2\x38\0" + ipaddress.ip_address("2001:db8:1:200::").packed[:7]
    assert options("subnet set 24 56", client="2001:db8:1:2ff::1") == [(8, expected)]


def test_a_query_without_opt_gets_one_for_upstreams_and_none_in_its_reply() -> None:
    """RFC 6891 section 7: who sends no OPT gets none back."""
    reply = answer(". {\nrewrite edns0 local set 0xffee abcd\nwhoami\n}", "a.test")
    assert reply is not None
    assert reply.edns == -1


@pytest.mark.parametrize("revert", ["", " revert"])
def test_a_reply_never_carries_what_a_rule_put_into_the_query(revert: str) -> None:
    """coredns#8234."""
    reply = answer(f". {{\nrewrite edns0 local set 0xffee abcd{revert}\nwhoami\n}}", "a.test", use_edns=0)
    assert reply is not None
    assert (reply.edns, [option.otype for option in reply.options]) == (0, [])


@pytest.mark.parametrize(
    ("directive", "keep"),
    [
        ("local set 0xffee abcd", True),
        ("local set 0xffee {qname}", True),
        ("local set 0xffee {client_ip}", False),
        ("local set 0xffee {client_port}", False),
        ("local set 0xffee {server_ip}", False),
        ("subnet set 24 56", False),
        ("subnet unset", True),
    ],
)
def test_a_query_that_says_who_asks_has_an_answer_that_is_not_kept(directive: str, keep: bool) -> None:
    query = make_query("a.test", use_edns=0, options=[generic(8, b"x")])
    found = run(plugin(f"rewrite edns0 {directive}"), query, Next(Answer(validity=ALWAYS)))
    assert found.validity.keep is keep


def test_metadata_is_read_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert options("local set 0xffee {kubernetes/client-namespace}") == []
    assert warnings(caplog) == ["Corefile:2:32: nothing gives metadata, so this rule is never about a query"]


# -- what is wrong


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("", "'rewrite' needs a field"),
        ("stop", "'rewrite' needs a field"),
        ("foo a b", "'foo' is no field that a rule begins with (one of name, type, class, ttl, rcode, cname, edns0)"),
        ("answer name a b", "'answer' is no field that a rule begins with (it follows a name rule)"),
        ("name a.test", "'name' needs a name and what becomes of it"),
        (
            "name fuzzy a.test b.test",
            "'fuzzy' is no way to match names (one of exact, prefix, suffix, substring, regex)",
        ),
        ("name a..test b.test", "empty label in name"),
        ("name a.test b..test", "empty label in name"),
        ("name suffix .test .x..y", "empty label in name"),
        ("name prefix a b..", "empty label in name"),
        (f"name exact a.test {'x' * 64}.test", "label of 64 octets"),
        ("name regex ( b.test", "is not a regular expression"),
        (f"name regex {'x' * 10_001} b.test", "regular expression of 10001 characters (at most 10000)"),
        ("name regex (a) {2}.test", "'{2}' is a group that the regular expression does not have (it has 1)"),
        ("name regex a b.test answer name (x) {1}.{2}", "'{2}' is a group"),
        ("name suffix a b answer", "'answer' is followed by nothing"),
        ("name suffix a b answer name x", "'answer name' needs a regular expression and what becomes of it"),
        ("name suffix a b answer other", "'other' is not known here (one of auto, name, value)"),
        ("name suffix a b auto", "'auto' is too much: only 'answer' may follow a name rule"),
        ("name suffix a b answer auto answer name x y", "'answer auto' and 'answer name' exclude each other"),
        ("type A", "'type' takes 2 words, not 1"),
        ("type A AAAA MX", "'type' takes 2 words, not 3"),
        ("type A B", "'B' is not a record type"),
        ("class IN XX", "'XX' is not a class"),
        ("ttl a.test", "'ttl' takes 2 or 3 words, not 1"),
        ("ttl a.test soon", "'soon' is no TTL and no range of TTLs"),
        ("ttl a.test -", "'-' is no TTL"),
        ("ttl a.test 300-30", "'300-30' is no TTL"),
        ("ttl a.test 2147483648", "'2147483648' is no TTL"),
        ("ttl a.test 1-2-3", "'1-2-3' is no TTL"),
        ("rcode a.test NXDOMAIN", "'rcode' takes 3 or 4 words, not 2"),
        ("rcode a.test NXDOMAIN WHAT", "'WHAT' is not an rcode"),
        ("rcode a.test 24 NOERROR", "'24' is not an rcode"),
        ("cname a.test", "'cname' takes 2 or 3 words, not 1"),
        ("edns0 local", "'edns0' needs an option and an action"),
        ("edns0 cookie set", "'cookie' is no option (one of local, nsid, subnet)"),
        ("edns0 nsid ask", "'ask' is no action (one of set, append, replace, unset)"),
        ("edns0 nsid set x", "'nsid' takes no arguments after the action, not 1"),
        ("edns0 local set 0xffee", "'local' takes 2 arguments after the action, not 1"),
        ("edns0 local unset", "'local' takes 1 argument after the action, not 0"),
        ("edns0 local set 0x10000 x", "'0x10000' is not a number from 0 to 65535"),
        ("edns0 local set 0xffee 0xabc", "'0xabc' is not hexadecimal"),
        ("edns0 local set 0xffee {dummy}", "'{dummy}' is no variable"),
        (f"edns0 local set 0xffee {'x' * 513}", "option of 513 octets (at most 512)"),
        ("edns0 subnet set 33 56", "'33' is not a number from 0 to 32"),
        ("edns0 subnet set 24 129", "'129' is not a number from 0 to 128"),
        ("edns0 subnet set 24", "'subnet' takes 2 arguments after the action, not 1"),
        ("name a b {\nanswer auto\n}", "'rewrite' has no options"),
    ],
)
def test_what_is_wrong_is_said(directive: str, error: str) -> None:
    assert error in refused(f". {{\nrewrite {directive}\nwhoami\n}}")


def test_a_reply_has_the_owner_name_in_the_letters_of_the_question() -> None:
    """RFC 4343 section 4.1: names are given back as they came, here through two rewrites."""
    corefile = """. {
        rewrite continue name suffix .a.test .b.test answer auto
        rewrite name exact www.b.test www.c.test
        hosts /nowhere {
            192.0.2.1 www.c.test
        }
    }"""
    reply = answer(corefile, "WWW.A.test")
    assert reply is not None
    assert records(reply.answer) == [("WWW.A.test.", 3600, "A", "192.0.2.1")]


def test_rules_are_kept_across_queries() -> None:
    async def scenario() -> list[str]:
        chain = harness.build(". {\nrewrite name regex ^(.*)\\.a\\.test {1}.b.test answer auto\nwhoami\n}")
        replies = [await chain.ask(f"{name}.a.test") for name in ("x", "y", "x")]
        return [records(reply.additional)[0][0] for reply in replies if reply is not None]

    assert asyncio.run(scenario()) == ["_udp.x.a.test.", "_udp.y.a.test.", "_udp.x.a.test."]
