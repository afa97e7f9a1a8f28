"""`template`: records written by templates."""

from __future__ import annotations

import contextlib

import dns.edns
import dns.flags
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.template import MAX_CHAIN, MAX_RECORDS, record
from dnsd.plugins.template.record import BadText
from dnsd.resolve.answer import ALWAYS
from dnsd.wire import codes
from dnsd.wire.name import to_text
from tests.plugins.asking import Next, make_query, plugin, refused, resolve, run, samples
from tests.plugins.harness import answer, records

Row = tuple[str, int, str, str]


def template(head: str, *options: str) -> str:
    return f"template {head} {{\n" + "\n".join(options) + "\n}"


def ask(directives: str, name: str, type_: str = "A", **options: object) -> list[Row] | str:
    """The answer section, or the rcode where it is not NOERROR."""
    reply = answer(f". {{\n{directives}\n}}", name, type_, **options)  # type: ignore[arg-type]
    assert reply is not None
    if reply.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(reply.rcode())
    assert reply.flags & dns.flags.AA
    return records(reply.answer)


IP = template(
    "IN A ip.test",
    r'match "^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)-(?P<c>[0-9]+)-(?P<d>[0-9]+)[.]ip[.]test[.]$"',
    'answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"',
    "fallthrough",
)


@pytest.mark.parametrize(
    ("rule", "directive", "name", "type_", "expected"),
    [
        ("groups", IP, "ip-192-0-2-9.ip.test", "A", [("ip-192-0-2-9.ip.test.", 60, "A", "192.0.2.9")]),
        ("letter case does not matter", IP, "IP-1-2-3-4.Ip.test", "A", [("IP-1-2-3-4.Ip.test.", 60, "A", "1.2.3.4")]),
        (
            "a number in hexadecimal",
            template(
                "IN A example", "match ^ip0a(?P<b>[a-f0-9]{2})[.]example[.]$",
                'answer "{{ .Name }} A 10.{{ parseInt .Group.b 16 8 }}.0.1"',
            ),
            "ip0a7b.example", "A", [("ip0a7b.example.", 3600, "A", "10.123.0.1")],
        ),
        (
            "the first expression that matches",
            template("IN A t", "match ^a(.)[.]", "match ^(.)", 'answer "{{ .Name }} A 192.0.2.{{ index .Match 1 }}"'),
            "a7.t", "A", [("a7.t.", 3600, "A", "192.0.2.7")],
        ),
        (
            "without an expression every name matches",
            template("IN TXT t", 'answer "{{ .Name }} TXT {{ index .Match 0 }} {{ .Zone }} {{ .Type }} {{ .Class }}"'),
            "x.t", "TXT", [("x.t.", 3600, "TXT", '"x.t." "t." "TXT" "IN"')],
        ),
        (
            "who asks for ANY gets the template's type",
            template("IN TXT t", 'answer "{{ .Name }} TXT {{ .Type }}"'),
            "x.t", "ANY", [("x.t.", 3600, "TXT", '"TXT"')],
        ),
        (
            "several records, in one line or in more",
            template("IN A t", 'answer "a.t A 192.0.2.1" "a.t A 192.0.2.2"', 'answer "a.t A 192.0.2.3"'),
            "a.t", "A", [("a.t.", 3600, "A", f"192.0.2.{i}") for i in (1, 2, 3)],
        ),
        (
            "what a template leaves blank is no record",
            template("IN A t", 'answer "{{ if eq .Name `a.t.` }}a.t A 192.0.2.1{{ end }}"'),
            "b.t", "A", [],
        ),
        ("no answer is an empty one", template("IN AAAA t"), "a.t", "AAAA", []),
        ("the client's address", template("IN A t", 'answer "{{ .Name }} A {{ .Remote }}"'), "a.t", "A",
         [("a.t.", 3600, "A", "127.0.0.1")]),
        ("the message", template("IN TXT t", 'answer "a.t TXT {{ .Message.RecursionDesired }} {{ .Question.Qtype }}"'),
         "a.t", "TXT", [("a.t.", 3600, "TXT", '"true" "16"')]),
        ("no metadata", template("IN TXT t", 'answer "a.t TXT x{{ .Meta `k/v` }}"'), "a.t", "TXT",
         [("a.t.", 3600, "TXT", '"x"')]),
    ],
)  # fmt: skip
def test_answers(rule: str, directive: str, name: str, type_: str, expected: list[Row]) -> None:
    assert ask(directive, name, type_) == expected, rule


def test_authority_and_additional() -> None:
    directive = template(
        "IN MX mx.test",
        'answer "{{ .Name }} 30 IN MX 10 mail.{{ .Name }}"',
        'authority "mx.test 60 IN NS ns.mx.test"',
        'additional "mail.{{ .Name }} 30 IN A 192.0.2.9"',
    )
    reply = answer(f". {{\n{directive}\n}}", "b.mx.test", "MX")
    assert reply is not None
    assert records(reply.answer) == [("b.mx.test.", 30, "MX", "10 mail.b.mx.test.")]
    assert records(reply.authority) == [("mx.test.", 60, "NS", "ns.mx.test.")]
    assert records(reply.additional) == [("mail.b.mx.test.", 30, "A", "192.0.2.9")]


@pytest.mark.parametrize(
    ("rule", "directives", "name", "type_", "expected"),
    [
        ("another zone", template("IN A a.test", "rcode NXDOMAIN"), "b.test", "A", "whoami"),
        ("zones end at labels", template("IN A a.test", "rcode NXDOMAIN"), "xa.test", "A", "whoami"),
        ("another type", template("IN A a.test", "rcode NXDOMAIN"), "a.test", "AAAA", "whoami"),
        ("any type", template("IN ANY a.test", "rcode NXDOMAIN"), "a.test", "AAAA", "NXDOMAIN"),
        ("another class", template("CH A a.test", "rcode NXDOMAIN"), "a.test", "A", "whoami"),
        ("no match and no word of it", template("IN A", "match ^x", "rcode NXDOMAIN"), "a.test", "A", "SERVFAIL"),
        (
            "no match and fallthrough",
            template("IN A a.test", "match ^x", "rcode NXDOMAIN", "fallthrough"), "a.test", "A", "whoami",
        ),
        (
            "fallthrough to the next directive",
            template("IN A a.test", "match ^x", "fallthrough") + "\n" + template("IN A", "rcode NXDOMAIN"),
            "a.test", "A", "NXDOMAIN",
        ),
        (
            "fallthrough in other zones only",
            template("IN A", "match ^x", "fallthrough b.test"), "a.test", "A", "SERVFAIL",
        ),
        (
            "the first directive answers",
            template("IN A") + "\n" + template("IN A", "rcode NXDOMAIN"), "a.test", "A", "empty",
        ),
        ("a match does not fall through", template("IN A", "rcode REFUSED", "fallthrough"), "a.test", "A", "REFUSED"),
        ("SERVFAIL", template("IN A", "rcode SERVFAIL"), "a.test", "A", "SERVFAIL"),
    ],
)  # fmt: skip
def test_which_directive_answers(rule: str, directives: str, name: str, type_: str, expected: str) -> None:
    reply = answer(f". {{\n{directives}\nwhoami\n}}", name, type_)
    assert reply is not None
    found = dns.rcode.to_text(reply.rcode())
    assert expected == {"NOERROR": "whoami" if reply.additional else "empty"}.get(found, found), rule


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (['ederror 21 "Blocked according to RFC2606"', "rcode NXDOMAIN"], (21, "Blocked according to RFC2606")),
        (["ederror 15", "rcode SERVFAIL"], (15, None)),
    ],
)
def test_extended_errors(options: list[str], expected: tuple[int, str | None]) -> None:
    reply = answer(f". {{\n{template('ANY ANY', *options)}\n}}", "a.test", use_edns=0)
    assert reply is not None
    (found,) = (option for option in reply.options if isinstance(option, dns.edns.EDEOption))
    assert (int(found.code), found.text or None) == expected


def test_an_rcode_that_needs_opt_is_servfail_without_it() -> None:
    directive = template("IN A", "rcode BADCOOKIE")
    assert ask(directive, "a.test") == "SERVFAIL"
    assert ask(directive, "a.test", use_edns=0) == "BADCOOKIE"


# -- CNAMEs


CHASE = f""". {{
    {template("IN ANY foogle.test", 'match "^foogle.test.$"', 'answer "foogle.test 60 IN CNAME google.test"')}
    hosts /nowhere {{
        192.0.2.1 google.test
    }}
}}"""


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("A", [("foogle.test.", 60, "CNAME", "google.test."), ("google.test.", 3600, "A", "192.0.2.1")]),
        ("AAAA", [("foogle.test.", 60, "CNAME", "google.test.")]),
        ("TXT", [("foogle.test.", 60, "CNAME", "google.test.")]),
    ],
)
def test_a_cname_is_followed_for_addresses(type_: str, expected: list[Row]) -> None:
    reply = answer(CHASE, "foogle.test", type_)
    assert reply is not None
    assert records(reply.answer) == expected


def test_an_answer_is_right_while_what_it_leads_to_is() -> None:
    assert resolve(CHASE, "foogle.test", "A").validity.keys == {("hosts", "/nowhere")}
    assert resolve(CHASE, "foogle.test", "TXT").validity == ALWAYS


def test_cnames_that_lead_round_end() -> None:
    found = ask(template("IN A test", 'answer "{{ .Name }} 60 IN CNAME x.{{ .Zone }}"'), "x.test")
    assert {row[3] for row in found if isinstance(row, tuple)} == {"x.test."}
    assert len(found) <= MAX_CHAIN + 1


# -- what is kept


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("{{ .Name }} A 192.0.2.1", True),
        ("{{ .Name }} A {{ .Remote }}", False),
        ("{{ .Name }} A 192.0.2.{{ if .Message.RecursionDesired }}1{{ else }}2{{ end }}", False),
        ("{{ .Name }} {{ with .Type }}{{ if $.Remote }}A 192.0.2.1{{ end }}{{ end }}", False),
    ],
)
def test_an_answer_that_depends_on_who_asks_is_not_kept(text: str, keep: bool) -> None:
    directive = template("IN A", f'answer "{text}"')
    assert resolve(f". {{\n{directive}\n}}", "a.test").validity.keep is keep


# -- failures


@pytest.mark.parametrize(
    ("rule", "text", "name"),
    [
        ("no record", "{{ .Name }} IN A 192.0.2.{{ .Group.x }}", "b-999.test"),
        ("a template that cannot be run", "{{ .Name }} IN A 10.0.0.{{ parseInt .Group.x 10 8 }}", "b-999.test"),
        ("a TTL that cannot be (RFC 2181 section 8)", "{{ .Name }} 214748364{{ .Group.x }} A 192.0.2.1", "b-8.test"),
        ("a name that is too long", "{{ range 5 }}{{ $.Name }}{{ end }} A 192.0.2.1", f"b-1.{'x' * 60}"),
        ("more than one record", "{{ .Name }} A 192.0.2.1\n{{ .Name }} A 192.0.2.2", "b-1.test"),
    ],
)  # fmt: skip
def test_what_a_client_can_ask_for_and_no_record_can_say_is_servfail(rule: str, text: str, name: str) -> None:
    directive = template("IN A", "match ^b-(?P<x>[0-9]+)", f'answer "{text}"', 'additional "a.test A 192.0.2.1"')
    assert ask(directive, name) == "SERVFAIL", rule


def test_matches_and_failures_are_counted() -> None:
    subject = plugin(template("IN ANY t", "match ^a(?P<x>[0-9]+)", 'answer "{{ .Name }} A 192.0.2.{{ .Group.x }}"'))
    run(subject, make_query("a1.t"))
    run(subject, make_query("a1.t", "TYPE65280"))
    run(subject, make_query("b.t"), Next())
    with pytest.raises(Exception, match="writes no record"):
        run(subject, make_query("a300.t"))
    text = "{{ .Name }} A 192.0.2.{{ .Group.x }}"
    assert samples(subject) == {
        ("coredns_template_matches_total", "dns://:53", "t.", "", "IN", "A"): 2,
        ("coredns_template_matches_total", "dns://:53", "t.", "", "IN", ""): 1,
        ("coredns_template_rr_failures_total", "dns://:53", "t.", "", "IN", "A", "answer", text): 1,
    }


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("template IN", "'template' needs at least 2 arguments, not 1"),
        ("template XX A", "'XX' is not a class"),
        ("template IN XX", "'XX' is not a record type"),
        ("template IN A bad..zone", "empty label"),
        (template("IN A", "match ("), "is not a regular expression"),
        (template("IN A", "match"), "'match' needs at least 1 argument, not 0"),
        (template("IN A", "rcode WHAT"), "'WHAT' is not an rcode"),
        (template("IN A", "ederror x"), "'x' is not a whole number from 0 to 65535"),
        (template("IN A", "anwser x"), "unknown option 'anwser' (did you mean 'answer'?)"),
        (template("IN A", 'answer "{{ .Name"'), "template: '{{' without '}}'"),
        (template("IN A", 'answer "{{ .Nam }} A 192.0.2.1"'), "template: there is no field .Nam, only .Zone, .Name"),
        (template("IN A", "match (?P<a>x)", 'answer "{{ .Group.b }}"'), "template: no 'match' has a group 'b'"),
        (template("IN A", "match (x)", 'answer "{{ .Group.2 }}"'), "template: a blank is missing before '.2'"),
        (template("IN A", 'answer "a.test A nonsense"'), "template: 'nonsense'"),
        (template("IN A", 'answer "a.test"'), "template: a type is missing"),
        (template("IN A", 'answer "a.test BOGUS x"'), "template: 'BOGUS'"),
        (template("IN A", *['answer "a A 192.0.2.1"'] * (MAX_RECORDS + 1)), f"more than {MAX_RECORDS} records"),
    ],
    ids=lambda value: value[:60],
)
def test_what_is_wrong_is_said_at_the_start(directive: str, error: str) -> None:
    assert error in refused(f". {{\n{directive}\nwhoami\n}}")


LABELS = st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=3)
ECHO = template("IN TXT", 'answer "{{ .Name }} 60 IN TXT x"', 'additional "y 60 IN TXT {{ .Name }}"')


@given(LABELS)
def test_a_client_cannot_write_records_by_the_name_it_asks_for(labels: list[bytes]) -> None:
    """Octets that mean something in a zone file (blanks, quotes, line ends, `;`) are escaped in `.Name`."""
    subject = plugin(ECHO)
    query = make_query(to_text(tuple(labels)), "TXT")
    found = run(subject, query)
    (one,), (other,) = found.answer, found.additional
    assert one.rname.label == query.name
    assert other.rname.label == (b"y",)
    assert bytes(one.rdata.data) == b"\x01x"


# -- the text of a record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test. 60 IN A 192.0.2.1", ("a.test.", 60, 1, "A")),
        ("a.test IN 60 A 192.0.2.1", ("a.test.", 60, 1, "A")),
        ("a.test A 192.0.2.1", ("a.test.", 3600, 1, "A")),
        ("a.test 1h30m A 192.0.2.1", ("a.test.", 5400, 1, "A")),
        ("a.test 60 CH TXT x", ("a.test.", 60, 3, "TXT")),
        ("a.test in a 192.0.2.1 ; a comment", ("a.test.", 3600, 1, "A")),
        ("a.test SOA ns. admin. (1 60 60 60 60)", ("a.test.", 3600, 1, "SOA")),
        (r"a\.b.test A 192.0.2.1", (r"a\.b.test.", 3600, 1, "A")),
        ("a.test TYPE65280 \\# 2 ABCD", ("a.test.", 3600, 1, "TYPE65280")),
        ("  \n ; nothing\n", None),
        ("", None),
    ],
)
def test_records(text: str, expected: tuple[str, int, int, str] | None) -> None:
    found = record.read(text)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert (to_text(found.rname.label), found.ttl, found.rclass, codes.type_text(found.rtype)) == expected


@given(st.text(max_size=60))
def test_no_text_of_a_record_does_anything_but_be_one_or_say_why_not(text: str) -> None:
    with contextlib.suppress(BadText):
        found = record.read(f"a.test. {text}")
        assert found is not None
