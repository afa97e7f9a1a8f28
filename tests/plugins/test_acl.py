"""`acl`: who may ask for what."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import dns.edns
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.acl import Networks
from dnsd.resolve.answer import ALWAYS, Answer
from tests.plugins.asking import Next, make_query, plugin, refused, resolve, run, samples
from tests.plugins.harness import answer
from tests.process import dnsd

DATA = "template ANY ANY {\nrcode NXDOMAIN\n}"


def verdict(directives: str, name: str, type_: str = "A", client: str = "192.0.2.1") -> str:
    """`passed`, or in which way the query was refused."""
    reply = answer(f". {{\n{directives}\n{DATA}\n}}", name, type_, client=client, use_edns=0)
    if reply is None:
        return "dropped"
    if reply.rcode() == dns.rcode.NXDOMAIN:
        return "passed"
    (error,) = (option for option in reply.options if isinstance(option, dns.edns.EDEOption))
    assert reply.answer == reply.authority == reply.additional == []
    return f"{dns.rcode.to_text(reply.rcode())} {error.code.name}"


BLOCKED, FILTERED = "REFUSED BLOCKED", "NOERROR FILTERED"


@pytest.mark.parametrize(
    ("rule", "options", "type_", "client", "expected"),
    [
        ("no rule: everybody may", "", "A", "192.0.2.1", "passed"),
        ("block is REFUSED with EDE 15", "block", "A", "192.0.2.1", BLOCKED),
        ("filter is an empty answer with EDE 17", "filter", "A", "192.0.2.1", FILTERED),
        ("drop is silence", "drop", "A", "192.0.2.1", "dropped"),
        ("a network", "block net 192.0.2.0/24", "A", "192.0.2.1", BLOCKED),
        ("another network", "block net 192.0.3.0/24", "A", "192.0.2.1", "passed"),
        ("an address", "block net 192.0.2.1", "A", "192.0.2.1", BLOCKED),
        ("an IPv6 network", "block net 2001:db8::/32", "A", "2001:db8::1", BLOCKED),
        ("an IPv4 network is not about IPv6", "block net 0.0.0.0/0", "A", "2001:db8::1", "passed"),
        ("without net it is about both families", "block", "A", "2001:db8::1", BLOCKED),
        ("a star is everybody", "block net *", "A", "2001:db8::1", BLOCKED),
        ("a link-local client has a scope", "block net fe80::/10", "A", "fe80::1%eth0", BLOCKED),
        ("several networks", "block net 10.0.0.0/8 192.0.2.0/24", "A", "192.0.2.1", BLOCKED),
        ("a type", "block type A", "A", "192.0.2.1", BLOCKED),
        ("another type", "block type AAAA TXT", "A", "192.0.2.1", "passed"),
        ("all types", "block type *", "MX", "192.0.2.1", BLOCKED),
        ("type and network", "block type A net 192.0.2.0/24", "A", "192.0.2.1", BLOCKED),
        ("type, not network", "block type A net 192.0.3.0/24", "A", "192.0.2.1", "passed"),
        ("network, then type", "block net 192.0.2.0/24 type A", "A", "192.0.2.1", BLOCKED),
        ("the first rule decides", "allow net 192.0.2.0/25\nblock net 192.0.2.0/24", "A", "192.0.2.1", "passed"),
        ("and no later one", "block net 192.0.2.0/24\nallow net 192.0.2.1", "A", "192.0.2.1", BLOCKED),
        ("all but some", "allow net 192.0.3.0/24\nblock", "A", "192.0.2.1", BLOCKED),
        ("letter case does not matter", "BLOCK Type a Net 192.0.2.1", "A", "192.0.2.1", BLOCKED),
    ],
)
def test_rules(rule: str, options: str, type_: str, client: str, expected: str) -> None:
    assert verdict(f"acl {{\n{options}\n}}", "a.test", type_, client) == expected, rule


@pytest.mark.parametrize(
    ("rule", "directives", "name", "expected"),
    [
        ("a directive is about its zones", "acl a.test {\nblock\n}", "x.a.test", BLOCKED),
        ("and no others", "acl a.test {\nblock\n}", "b.test", "passed"),
        ("zones end at labels (CVE-2026-33489)", "acl a.test {\nblock\n}", "xa.test", "passed"),
        ("letter case does not matter", "acl A.test {\nblock\n}", "X.a.TEST", BLOCKED),
        ("a network's reverse zones", "acl 10.0.0.0/8 {\nblock\n}", "1.0.0.10.in-addr.arpa", BLOCKED),
        ("without zones it is about the block's", "acl {\nblock\n}", "b.test", BLOCKED),
        (
            "a directive with nothing to say leaves it to the next",
            "acl a.test {\nblock type TXT\n}\nacl {\nfilter\n}", "a.test", FILTERED,
        ),
        (
            "the first directive that says something decides",
            "acl a.test {\nallow\n}\nacl {\nblock\n}", "a.test", "passed",
        ),
        (
            "the name after a rewrite is the one that is judged (CVE-2026-26017)",
            "rewrite name good.test a.test\nacl a.test {\nblock\n}", "good.test", BLOCKED,
        ),
        (
            "and not the one before",
            "rewrite name a.test good.test\nacl a.test {\nblock\n}", "a.test", "passed",
        ),
    ],
)  # fmt: skip
def test_zones(rule: str, directives: str, name: str, expected: str) -> None:
    assert verdict(directives, name) == expected, rule


@pytest.mark.parametrize(
    ("rule", "options", "client", "keep"),
    [
        ("nobody's address was looked at", "block type TXT", "192.0.2.1", True),
        ("nor for a refusal", "block", "192.0.2.1", True),
        ("it was, and the client may", "block net 192.0.3.0/24", "192.0.2.1", False),
        ("it was, and the client may not", "block net 192.0.2.0/24", "192.0.2.1", False),
        ("a rule for another type looks at nobody", "block type TXT net 192.0.2.0/24", "192.0.2.1", True),
        ("a star looks at nobody", "block net *", "192.0.2.1", True),
    ],
)
def test_an_answer_that_depends_on_who_asks_is_not_kept(rule: str, options: str, client: str, keep: bool) -> None:
    answer = resolve(f". {{\nacl {{\n{options}\n}}\n{DATA}\n}}", "a.test", client=client)
    assert answer.validity.keep is keep, rule


def test_what_passes_is_kept_as_long_as_it_was_going_to_be() -> None:
    given = Answer(validity=ALWAYS)
    assert run(plugin("acl {\nallow net 10.0.0.0/8\n}"), make_query("a.test"), Next(given)).validity.keep is False
    assert run(plugin("acl {\nallow type A\n}"), make_query("a.test"), Next(given)) == given


def test_a_client_that_may_not_gets_no_answer_that_another_one_got(tmp_path: Path) -> None:
    """coredns#8289: asked of a real server, whose memo both clients share."""
    corefile = ".:PORT {\nbind 127.0.0.1\nacl {\nblock net 127.0.0.2/32\n}\nhosts {\n192.0.2.1 a.test\n}\n}"
    with dnsd(corefile, tmp_path) as server:
        query = dns.message.make_query("a.test", "A")
        asked = [
            dns.query.udp(query, "127.0.0.1", port=server.port, source=source, timeout=30).rcode()
            for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2")
        ]
    assert asked == [dns.rcode.NOERROR, dns.rcode.REFUSED] * 2


def test_queries_are_counted_by_what_happened_to_them() -> None:
    subject = plugin("acl a.test {\nblock type A\nfilter type AAAA\ndrop type TXT\n}")
    for name, type_ in (("a.test", "A"), ("x.a.test", "A"), ("a.test", "AAAA"), ("a.test", "TXT"), ("b.test", "A")):
        run(subject, make_query(name, type_))
    assert samples(subject) == {
        ("coredns_acl_allowed_requests_total", "dns://:53", ""): 1,
        ("coredns_acl_blocked_requests_total", "dns://:53", "a.test.", ""): 2,
        ("coredns_acl_filtered_requests_total", "dns://:53", "a.test.", ""): 1,
        ("coredns_acl_dropped_requests_total", "dns://:53", "a.test.", ""): 1,
    }


addresses = st.ip_addresses()
networks = st.builds(
    lambda address, share: ipaddress.ip_network((address, int(share * address.max_prefixlen)), strict=False),
    addresses,
    st.floats(0, 1),
)


@given(st.lists(networks, max_size=8), addresses)
def test_a_set_of_networks_has_what_one_of_them_has(
    members: list[ipaddress.IPv4Network | ipaddress.IPv6Network], other: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    subject = Networks(members)
    assert (other in subject) is any(other in network for network in members)
    assert all(network[0] in subject and network[-1] in subject for network in members)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("deny", "unknown option 'deny'"),
        ("blok", "unknown option 'blok' (did you mean 'block'?)"),
        ("block 192.0.2.0/24", "'192.0.2.0/24' is not known here (one of type, net)"),
        ("block net", "'net' is followed by nothing"),
        ("block type net 10.0.0.0/8", "'type' is followed by nothing"),
        ("block type AAA", "'AAA' is not a record type"),
        ("block net 192.0.2.0/33", "'192.0.2.0/33' is not a network"),
        ("block net example.org", "'example.org' is not a network"),
    ],
)
def test_what_is_wrong_is_said(options: str, error: str) -> None:
    assert error in refused(f". {{\nacl {{\n{options}\n}}\n}}")
