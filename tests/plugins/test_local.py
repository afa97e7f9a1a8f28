"""`local`: names of the asking host never leave it (RFC 6761 section 6.3, RFC 6303)."""

from __future__ import annotations

import dns.rcode
import pytest

from dnsd.resolve.answer import ALWAYS
from tests.plugins.asking import make_query, plugin, refused, resolve, run, samples
from tests.plugins.harness import answer, records

COREFILE = """. {
    local
    template ANY ANY {
        rcode REFUSED
    }
}"""
SOA = "localhost. root.localhost. 1 0 0 0 604800"


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("localhost.", "A", [("localhost.", "A", "127.0.0.1")]),
        ("localhost.", "AAAA", [("localhost.", "AAAA", "::1")]),
        ("localhost.", "NS", [("localhost.", "NS", "localhost.")]),
        ("localhost.", "SOA", [("localhost.", "SOA", SOA)]),
        ("LocalHost.", "A", [("LocalHost.", "A", "127.0.0.1")]),
        ("a.b.localhost.", "A", [("a.b.localhost.", "A", "127.0.0.1")]),
        ("localhost.example.com.", "AAAA", [("localhost.example.com.", "AAAA", "::1")]),
        ("1.0.0.127.in-addr.arpa.", "PTR", [("1.0.0.127.in-addr.arpa.", "PTR", "localhost.")]),
        ("0.in-addr.arpa.", "SOA", [("0.in-addr.arpa.", "SOA", SOA)]),
        ("255.in-addr.arpa.", "NS", [("255.in-addr.arpa.", "NS", "localhost.")]),
    ],
)
def test_what_there_is(name: str, type_: str, expected: list[tuple[str, str, str]]) -> None:
    reply = answer(COREFILE, name, type_)
    assert reply is not None
    assert records(reply.answer) == [(owner, 604_800, kind, text) for owner, kind, text in expected]
    assert (reply.authority, reply.additional) == ([], [])


@pytest.mark.parametrize(
    ("rule", "name", "type_", "rcode", "zone"),
    [
        ("other types of localhost", "localhost.", "TXT", "NOERROR", "localhost."),
        ("a name below has no SOA record of its own", "a.localhost.", "SOA", "NOERROR", "a.localhost."),
        ("nor one with the prefix", "localhost.example.com.", "MX", "NOERROR", "localhost.example.com."),
        ("no addresses in reverse zones", "127.in-addr.arpa.", "A", "NOERROR", "127.in-addr.arpa."),
        ("other types of the loopback address", "1.0.0.127.in-addr.arpa.", "A", "NOERROR", "127.in-addr.arpa."),
        ("a name above one that exists does (RFC 8020)", "0.127.in-addr.arpa.", "PTR", "NOERROR", "127.in-addr.arpa."),
        ("other loopback addresses have no name", "2.0.0.127.in-addr.arpa.", "PTR", "NXDOMAIN", "127.in-addr.arpa."),
        ("nothing is below the others", "1.255.in-addr.arpa.", "PTR", "NXDOMAIN", "255.in-addr.arpa."),
    ],
)
def test_what_there_is_not(rule: str, name: str, type_: str, rcode: str, zone: str) -> None:
    reply = answer(COREFILE, name, type_)
    assert reply is not None
    assert (dns.rcode.to_text(reply.rcode()), reply.answer) == (rcode, []), rule
    assert records(reply.authority) == [(zone, 604_800, "SOA", SOA)]


@pytest.mark.parametrize("name", ["example.com.", ".", "1.in-addr.arpa.", "notlocalhost.", "my-localhost.test."])
def test_other_names_go_on(name: str) -> None:
    reply = answer(COREFILE, name)
    assert reply is not None
    assert reply.rcode() == dns.rcode.REFUSED


def test_the_prefix_can_be_left_to_others() -> None:
    corefile = COREFILE.replace("local\n", "local {\nlocalhost_prefix off\n}\n", 1)
    outside, below = answer(corefile, "localhost.example.com."), answer(corefile, "a.localhost.")
    assert outside is not None
    assert below is not None
    assert (outside.rcode(), below.rcode()) == (dns.rcode.REFUSED, dns.rcode.NOERROR)


def test_answers_stand_as_long_as_the_configuration() -> None:
    for name in ("localhost", "a.localhost", "2.0.0.127.in-addr.arpa"):
        assert resolve(COREFILE, name).validity == ALWAYS


def test_names_with_a_needless_localhost_are_counted() -> None:
    subject = plugin("local")
    for name in ("localhost", "a.localhost", "localhost.example.com", "127.in-addr.arpa", "example.com"):
        run(subject, make_query(name))
    assert samples(subject) == {("coredns_local_localhost_requests_total",): 2}


@pytest.mark.parametrize("text", ["local host", "local {\nlocalhost_prefix maybe\n}", "local {\nfoo\n}"])
def test_what_is_wrong_is_said(text: str) -> None:
    assert refused(f". {{\n{text}\n}}").startswith("Corefile:")
