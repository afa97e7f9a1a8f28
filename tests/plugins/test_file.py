"""The plugin `file`: what a zone answers, what goes on to others, and how a file is followed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.file import source
from dnsd.plugins.file.lookup import MAX_CHAIN, lookup
from dnsd.plugins.file.reader import records as read_records
from dnsd.plugins.file.source import ZoneFile, key_of
from dnsd.plugins.file.tokens import ZoneError
from dnsd.plugins.file.zone import Builder, Zone
from dnsd.wire import name as names
from dnsd.wire.codes import Rcode, Type
from tests.plugins import harness
from tests.process import dnsd, eventually
from tests.upstream import Upstream

ZONE = """\
$TTL 300
@          SOA ns1 admin 7 7200 3600 1209600 120
           NS  ns1
           NS  ns.elsewhere.example.
           MX  10 mail
           MX  20 mail.elsewhere.example.
ns1        A   192.0.2.53
           AAAA 2001:db8::53
mail       A   192.0.2.25
WWW        CNAME web
web        A   192.0.2.80
           AAAA 2001:db8::80
out        CNAME www.elsewhere.example.
dangling   CNAME nothing
one        CNAME two
two        CNAME three
three      CNAME web
loop1      CNAME loop2
loop2      CNAME loop1
self       CNAME self
*.wild     A   192.0.2.77
           MX  10 mail
below.wild TXT "itself"
*.alias    CNAME web
a.b.deep   A   192.0.2.88
lab        NS  ns.lab
           NS  ns1
           DS  60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
ns.lab     A   192.0.2.99
host.lab   A   192.0.2.98
tolab      CNAME host.lab
_sip._udp  SRV 0 0 5060 web
_x._tcp    SRV 0 0 80 web.elsewhere.example.
svc        HTTPS 1 . alpn=h2
svc        A   192.0.2.90
svcto      SVCB 1 web port=1
old        DNAME new
old        TXT "beside the DNAME"
host.new   A   192.0.2.66
host.old   A   192.0.2.67
big        DNAME this.is.a.long.name.of.more.than.a.few.octets.in.the.zone
"""
ORIGIN = names.from_text("example.org")
SOA = "example.org. SOA ns1.example.org. admin.example.org. 7 7200 3600 1209600 120"
NS = ["example.org. NS ns.elsewhere.example.", "example.org. NS ns1.example.org."]
WEB = ["web.example.org. A 192.0.2.80"]

COREFILE = """\
.:1053 {
    errors
    file db example.org
}
"""


def texts(section: object) -> list[str]:
    """`OWNER TYPE RDATA` of each record, sorted."""
    return [f"{owner} {type_} {data}" for owner, _, type_, data in harness.records(section)]


def ask(tmp_path: Path, name: str, type_: str, corefile: str = COREFILE, **options: object) -> dns.message.Message:
    if not (tmp_path / "db").exists():
        (tmp_path / "db").write_text(ZONE)
    reply = harness.answer(corefile, name, type_, directory=tmp_path, **options)  # type: ignore[arg-type]
    assert reply is not None
    return reply


POSITIVE = [
    ("the SOA record", "example.org", "SOA", [SOA], []),
    ("an address", "web.example.org", "A", WEB, []),
    ("the other family", "web.example.org", "AAAA", ["web.example.org. AAAA 2001:db8::80"], []),
    ("mail exchangers, with the addresses of those in the zone", "example.org", "MX",
     ["example.org. MX 10 mail.example.org.", "example.org. MX 20 mail.elsewhere.example."],
     ["mail.example.org. A 192.0.2.25"]),
    ("SRV, with the target's addresses", "_sip._udp.example.org", "SRV",
     ["_sip._udp.example.org. SRV 0 0 5060 web.example.org."],
     ["web.example.org. A 192.0.2.80", "web.example.org. AAAA 2001:db8::80"]),
    ("SRV to another zone", "_x._tcp.example.org", "SRV",
     ["_x._tcp.example.org. SRV 0 0 80 web.elsewhere.example."], []),
    ("HTTPS for the owner itself, with its address (RFC 9460 section 2.5.2)", "svc.example.org", "HTTPS",
     ['svc.example.org. HTTPS 1 . alpn="h2"'], ["svc.example.org. A 192.0.2.90"]),
    ("SVCB, with the target's addresses (RFC 9460 section 4.1)", "svcto.example.org", "SVCB",
     ['svcto.example.org. SVCB 1 web.example.org. port="1"'],
     ["web.example.org. A 192.0.2.80", "web.example.org. AAAA 2001:db8::80"]),
    ("a CNAME record itself", "www.example.org", "CNAME", ["www.example.org. CNAME web.example.org."], []),
    ("a CNAME record and its target's", "www.example.org", "A", ["www.example.org. CNAME web.example.org.", *WEB], []),
    ("a chain of CNAME records", "one.example.org", "A",
     ["one.example.org. CNAME two.example.org.", "three.example.org. CNAME web.example.org.",
      "two.example.org. CNAME three.example.org.", *WEB], []),
    ("a CNAME record, whatever ANY means (RFC 8482)", "www.example.org", "ANY",
     ["www.example.org. CNAME web.example.org."], []),
    ("one RRset for ANY (RFC 8482 section 4.1)", "web.example.org", "ANY", WEB, []),
    ("a loop of CNAME records, once", "loop1.example.org", "A",
     ["loop1.example.org. CNAME loop2.example.org.", "loop2.example.org. CNAME loop1.example.org."], []),
    ("a CNAME record to itself, once", "self.example.org", "A", ["self.example.org. CNAME self.example.org."], []),
    ("what a wildcard has, under the name asked for (RFC 4592 section 2.2)", "any.wild.example.org", "A",
     ["any.wild.example.org. A 192.0.2.77"], []),
    ("a wildcard some labels down (RFC 4592 section 3.3)", "x.y.wild.example.org", "A",
     ["x.y.wild.example.org. A 192.0.2.77"], []),
    ("the wildcard itself", "*.wild.example.org", "A", ["*.wild.example.org. A 192.0.2.77"], []),
    ("a wildcard's mail exchanger, with its address", "x.wild.example.org", "MX",
     ["x.wild.example.org. MX 10 mail.example.org."], ["mail.example.org. A 192.0.2.25"]),
    ("a wildcard's CNAME record and its target's", "q.alias.example.org", "A",
     ["q.alias.example.org. CNAME web.example.org.", *WEB], []),
    ("a CNAME record made from a DNAME record (RFC 6672 section 3.1)", "host.old.example.org", "A",
     ["host.new.example.org. A 192.0.2.66", "host.old.example.org. CNAME host.new.example.org.",
      "old.example.org. DNAME new.example.org."], []),
    ("the CNAME record made from a DNAME record, when asked for", "host.old.example.org", "CNAME",
     ["host.old.example.org. CNAME host.new.example.org.", "old.example.org. DNAME new.example.org."], []),
    ("records beside a DNAME record", "old.example.org", "TXT", ['old.example.org. TXT "beside the DNAME"'], []),
    ("a DNAME record itself", "old.example.org", "DNAME", ["old.example.org. DNAME new.example.org."], []),
    ("the parent's DS record at a cut (RFC 4035 section 3.1.4.1)", "lab.example.org", "DS",
     ["lab.example.org. DS 60485 5 1 2bb183af5f22588179a53b0a98631fad1a292118"], []),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "type_", "answer", "additional"), POSITIVE, ids=[row[0] for row in POSITIVE])
def test_a_zone_answers(
    rule: str, name: str, type_: str, answer: list[str], additional: list[str], tmp_path: Path
) -> None:
    reply = ask(tmp_path, name, type_)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.flags & dns.flags.AA
    assert texts(reply.answer) == sorted(answer)
    assert texts(reply.authority) == NS
    assert texts(reply.additional) == sorted(additional)


NEGATIVE = [
    ("a name that is not there", "nosuch.example.org", "A", Rcode.NXDOMAIN, []),
    ("a type that is not there", "web.example.org", "TXT", Rcode.NOERROR, []),
    ("the apex without the type", "example.org", "A", Rcode.NOERROR, []),
    ("an empty non-terminal (RFC 4592 section 2.2.2)", "b.deep.example.org", "A", Rcode.NOERROR, []),
    ("the name above a wildcard", "wild.example.org", "A", Rcode.NOERROR, []),
    ("a wildcard without the type", "x.wild.example.org", "TXT", Rcode.NOERROR, []),
    ("a name that hides the wildcard (RFC 4592 section 2.2.1)", "below.wild.example.org", "A", Rcode.NOERROR, []),
    ("a name below one that hides the wildcard", "x.below.wild.example.org", "A", Rcode.NXDOMAIN, []),
    ("a CNAME record to nothing (RFC 6604 section 3)", "dangling.example.org", "A", Rcode.NXDOMAIN,
     ["dangling.example.org. CNAME nothing.example.org."]),
    ("a CNAME record to a name without the type (RFC 2308 section 2.2)", "www.example.org", "TXT", Rcode.NOERROR,
     ["www.example.org. CNAME web.example.org."]),
    ("the name below a DNAME record's target", "no.old.example.org", "A", Rcode.NXDOMAIN,
     ["no.old.example.org. CNAME no.new.example.org.", "old.example.org. DNAME new.example.org."]),
    ("no DS record at a name that is no cut", "web.example.org", "DS", Rcode.NOERROR, []),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "type_", "rcode", "answer"), NEGATIVE, ids=[row[0] for row in NEGATIVE])
def test_a_zone_denies_with_its_soa(
    rule: str, name: str, type_: str, rcode: Rcode, answer: list[str], tmp_path: Path
) -> None:
    reply = ask(tmp_path, name, type_)
    assert int(reply.rcode()) == rcode
    assert reply.flags & dns.flags.AA
    assert texts(reply.answer) == answer
    assert texts(reply.authority) == [SOA]
    assert texts(reply.additional) == []


@pytest.mark.parametrize(
    "name", ["lab.example.org", "host.lab.example.org", "ns.lab.example.org", "x.y.lab.example.org"]
)
@pytest.mark.parametrize("type_", ["A", "NS", "SOA", "ANY"])
def test_below_a_cut_there_is_a_referral_with_the_glue_in_its_zone(name: str, type_: str, tmp_path: Path) -> None:
    reply = ask(tmp_path, name, type_)
    assert reply.rcode() == dns.rcode.NOERROR
    assert not reply.flags & dns.flags.AA
    assert texts(reply.answer) == []
    assert texts(reply.authority) == ["lab.example.org. NS ns.lab.example.org.", "lab.example.org. NS ns1.example.org."]
    assert texts(reply.additional) == ["ns.lab.example.org. A 192.0.2.99"]


def test_name_servers_of_the_zone_come_with_their_addresses_and_not_twice(tmp_path: Path) -> None:
    reply = ask(tmp_path, "example.org", "NS")
    assert texts(reply.answer) == NS
    assert texts(reply.authority) == []
    assert texts(reply.additional) == ["ns1.example.org. A 192.0.2.53", "ns1.example.org. AAAA 2001:db8::53"]


def test_a_dname_that_makes_a_name_too_long_is_yxdomain(tmp_path: Path) -> None:
    reply = ask(tmp_path, ".".join(["x" * 50] * 4 + ["big.example.org"]), "A")
    assert reply.rcode() == dns.rcode.YXDOMAIN
    assert [line.split()[1] for line in texts(reply.answer)] == ["DNAME"]


def test_the_owner_name_comes_back_as_it_was_asked(tmp_path: Path) -> None:
    reply = ask(tmp_path, "WeB.eXample.ORG", "A")
    assert reply.answer[0].name.to_text() == "WeB.eXample.ORG."


def test_a_chain_of_cname_records_ends_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("@ 60 SOA a b 1 2 3 4 5\n$GENERATE 0-20 c$ 60 CNAME c${1}\nc21 60 A 192.0.2.1\n")
    within = ask(tmp_path, f"c{21 - MAX_CHAIN}.example.org", "A")
    assert "c21.example.org. A 192.0.2.1" in texts(within.answer)
    beyond = ask(tmp_path, f"c{20 - MAX_CHAIN}.example.org", "A")
    assert {line.split()[1] for line in texts(beyond.answer)} == {"CNAME"}
    assert len(beyond.answer) == MAX_CHAIN + 1


def test_the_longest_zone_by_labels_answers(tmp_path: Path) -> None:
    (tmp_path / "db").write_text(ZONE)
    (tmp_path / "sub").write_text("@ 60 SOA a b 1 2 3 4 5\nwww 60 A 192.0.2.1\n")
    corefile = ".:1053 {\n file db example.org\n file sub wild.example.org xample.org\n}"
    assert texts(ask(tmp_path, "www.wild.example.org", "A", corefile).answer) == ["www.wild.example.org. A 192.0.2.1"]
    assert texts(ask(tmp_path, "www.xample.org", "A", corefile).answer) == ["www.xample.org. A 192.0.2.1"]
    assert ask(tmp_path, "www.aexample.org", "A", corefile).rcode() == dns.rcode.REFUSED


def test_one_file_serves_many_zones_and_the_zones_of_the_block_where_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("@ 60 SOA a b 1 2 3 4 5\nwww 60 A 192.0.2.1\n")
    corefile = "one.example:1053 two.example:1053 {\n file db\n}"
    for zone in ("one.example", "two.example"):
        assert texts(ask(tmp_path, f"www.{zone}", "A", corefile).answer) == [f"www.{zone}. A 192.0.2.1"]


# -- what leaves the zone


def test_a_cname_to_another_zone_of_this_server_is_followed_there(tmp_path: Path) -> None:
    (tmp_path / "db").write_text(ZONE)
    (tmp_path / "other").write_text("@ 60 SOA a b 1 2 3 4 5\nwww 60 A 192.0.2.1\n")
    corefile = ".:1053 {\n file db example.org\n}\nelsewhere.example:1053 {\n file other\n}"
    reply = ask(tmp_path, "out.example.org", "A", corefile)
    assert texts(reply.answer) == [
        "out.example.org. CNAME www.elsewhere.example.",
        "www.elsewhere.example. A 192.0.2.1",
    ]
    assert texts(reply.authority) == NS


def test_a_cname_to_a_name_below_a_cut_comes_with_the_referral(tmp_path: Path) -> None:
    reply = ask(tmp_path, "tolab.example.org", "A")
    assert texts(reply.answer) == ["tolab.example.org. CNAME host.lab.example.org."]
    assert texts(reply.authority) == ["lab.example.org. NS ns.lab.example.org.", "lab.example.org. NS ns1.example.org."]


def test_a_cname_that_nobody_here_can_follow_stands_alone(tmp_path: Path) -> None:
    reply = ask(tmp_path, "out.example.org", "A")
    assert reply.rcode() == dns.rcode.NOERROR
    assert texts(reply.answer) == ["out.example.org. CNAME www.elsewhere.example."]
    assert texts(reply.authority) == NS


UPSTREAM = """\
$ORIGIN elsewhere.example.
@ 60 SOA a b 1 2 3 4 5
@ 60 NS a
www 60 A 203.0.113.10
"""
CHASED = [
    ("data", "www", "A", Rcode.NOERROR, ["www.elsewhere.example. A 203.0.113.10"], "NS"),
    ("no data", "www", "TXT", Rcode.NOERROR, [], "SOA"),
    ("no name", "nosuch", "A", Rcode.NXDOMAIN, [], "SOA"),
]


@pytest.mark.parametrize(
    ("what", "target", "type_", "rcode", "answer", "authority"), CHASED, ids=[r[0] for r in CHASED]
)
def test_the_rcode_is_that_of_the_last_name_of_a_chain(
    what: str, target: str, type_: str, rcode: Rcode, answer: list[str], authority: str, tmp_path: Path
) -> None:
    """RFC 6604 section 3."""
    (tmp_path / "up").write_text(UPSTREAM)
    (tmp_path / "db").write_text(f"@ 60 SOA a b 1 2 3 4 5\n 60 NS a\nout 60 CNAME {target}.elsewhere.example.\n")
    with Upstream(tmp_path / "up") as upstream:
        corefile = f".:PORT {{\n bind 127.0.0.1\n file db example.org\n forward . {upstream.address}\n}}"
        with dnsd(corefile, tmp_path) as server:
            reply = server.ask("out.example.org", type_)
    assert int(reply.rcode()) == rcode
    assert texts(reply.answer) == [f"out.example.org. CNAME {target}.elsewhere.example.", *answer]
    assert {line.split()[1] for line in texts(reply.authority)} == {authority}


FALLING = [
    ("a name that is not there", "nosuch.example.org", "A", True),
    ("an empty non-terminal", "b.deep.example.org", "A", True),
    ("a wildcard without the type", "x.wild.example.org", "TXT", True),
    ("a type that is not there", "web.example.org", "TXT", False),
    ("a CNAME record to nothing", "dangling.example.org", "A", False),
    ("a name below a cut", "x.lab.example.org", "A", False),
    ("a name that is there", "web.example.org", "A", False),
]


@pytest.mark.parametrize(("what", "name", "type_", "falls"), FALLING, ids=[row[0] for row in FALLING])
def test_fallthrough_passes_on_what_the_zone_does_not_have(
    what: str, name: str, type_: str, falls: bool, tmp_path: Path
) -> None:
    """The plugin behind answers every query it sees with no data and no SOA."""
    corefile = ".:1053 {{\n file db example.org {{\n  fallthrough {zones}\n }}\n whoami\n}}"
    own = ask(tmp_path, name, type_)
    everywhere = ask(tmp_path, name, type_, corefile.format(zones=""))
    assert (everywhere.rcode() == dns.rcode.NOERROR and not everywhere.authority and not everywhere.answer) == falls
    if not falls:
        assert (texts(everywhere.answer), everywhere.rcode()) == (texts(own.answer), own.rcode())
    other = ask(tmp_path, name, type_, corefile.format(zones="other.example deeper.nosuch.example.org"))
    assert (texts(other.answer), other.rcode()) == (texts(own.answer), own.rcode())


@pytest.mark.parametrize("type_", ["AXFR", "IXFR"])
def test_zones_are_not_transferred_without_transfer(type_: str, tmp_path: Path) -> None:
    reply = ask(tmp_path, "example.org", type_, protocol="tcp")
    assert reply.rcode() == dns.rcode.REFUSED
    assert not reply.answer


# -- signed zones


SIGNED = """\
$TTL 60
@      SOA ns admin 1 2 3 4 5
@      RRSIG SOA 8 2 60 20380101000000 20200101000000 1 example.org. AAAA
@      NS ns
@      RRSIG NS 8 2 60 20380101000000 20200101000000 1 example.org. AAAA
@      NSEC a.d SOA NS
@      RRSIG NSEC 8 2 60 20380101000000 20200101000000 1 example.org. AAAA
a.d    A 192.0.2.3
a.d    NSEC lab A
lab    NS ns.lab
lab    DS 1 8 1 2BB183AF5F22588179A53B0A98631FAD1A292118
lab    RRSIG DS 8 3 60 20380101000000 20200101000000 1 example.org. AAAA
lab    NSEC ns NS DS
ns.lab A 192.0.2.2
ns     A 192.0.2.4
ns     RRSIG A 8 3 60 20380101000000 20200101000000 1 example.org. AAAA
ns     NSEC un A
un     NS ns.elsewhere.example.
un     NSEC *.w NS
*.w    A 192.0.2.1
*.w    RRSIG A 8 3 60 20380101000000 20200101000000 1 example.org. AAAA
*.w    NSEC @ A
"""
PROOFS = [
    ("signatures with an RRset", "ns", "A", ["ns A", "ns RRSIG A"], ["@ NS", "@ RRSIG NS"]),
    ("the name's own NSEC record where a type is missing", "ns", "TXT", [], ["@ SOA", "@ RRSIG SOA", "ns NSEC"]),
    ("NSEC records over the name and over the wildcard", "x", "A", [],
     ["@ SOA", "@ RRSIG SOA", "@ NSEC", "@ RRSIG NSEC", "*.w NSEC"]),
    ("one NSEC record where it covers both", "b", "A", [], ["@ SOA", "@ RRSIG SOA", "@ NSEC", "@ RRSIG NSEC"]),
    ("the NSEC record before an empty non-terminal", "d", "A", [],
     ["@ SOA", "@ RRSIG SOA", "@ NSEC", "@ RRSIG NSEC"]),
    ("proof that a name is not there with what the wildcard made", "q.w", "A", ["q.w A", "q.w RRSIG A"],
     ["@ NS", "@ RRSIG NS", "*.w NSEC"]),
    ("the wildcard's NSEC record where it lacks the type", "q.w", "TXT", [], ["@ SOA", "@ RRSIG SOA", "*.w NSEC"]),
    ("DS records with a referral", "x.lab", "A", [], ["lab NS", "lab DS", "lab RRSIG DS"]),
    ("the NSEC record of a cut without DS records", "un", "A", [], ["un NS", "un NSEC"]),
    ("RRSIG records when they are asked for", "ns", "RRSIG", ["ns RRSIG A"], ["@ NS", "@ RRSIG NS"]),
]  # fmt: skip


def built(text: str) -> Zone:
    builder = Builder(ORIGIN, "db")
    for record in read_records(text, "db", ORIGIN, lambda file: file):
        builder.add(record)
    return builder.finish()


@pytest.mark.parametrize(("rule", "name", "type_", "answer", "authority"), PROOFS, ids=[row[0] for row in PROOFS])
def test_a_signed_zone_adds_for_who_wants_dnssec(
    rule: str, name: str, type_: str, answer: list[str], authority: list[str], tmp_path: Path
) -> None:
    """RFC 4035 section 3.1."""
    (tmp_path / "db").write_text(SIGNED)
    reply = ask(tmp_path, f"{name}.example.org", type_, want_dnssec=True, payload=4096)

    def short(section: object) -> list[str]:
        found = []
        for line in texts(section):
            owner, kind, data = line.split(maxsplit=2)
            label = owner.removesuffix("example.org.").removesuffix(".") or "@"
            found.append(f"{label} {kind} {data.split()[0]}" if kind == "RRSIG" else f"{label} {kind}")
        return sorted(found)

    assert short(reply.answer) == sorted(answer)
    assert short(reply.authority) == sorted(authority)
    plain = ask(tmp_path, f"{name}.example.org", type_)
    assert {"RRSIG", "NSEC"}.isdisjoint(line.split()[1] for line in texts(plain.authority))


# -- against dnspython


NAME = st.lists(st.sampled_from(["a", "b", "*", "c"]), min_size=0, max_size=3).map(tuple)
TYPES = [Type.A, Type.TXT, Type.NS, Type.CNAME]


@given(
    st.lists(st.tuples(NAME, st.sampled_from(["A 192.0.2.1", "TXT x", "NS n.x.", "CNAME b"])), max_size=8),
    NAME,
    st.sampled_from([Type.A, Type.TXT]),
)
def test_a_name_exists_where_the_tree_of_the_zone_says_so(
    rows: list[tuple[tuple[str, ...], str]], asked: tuple[str, ...], type_: int
) -> None:
    """RFC 8020 and 4592: by the tree of owner names alone; delegations and aliases end the walk."""
    text = "@ 60 SOA a b 1 2 3 4 5\n" + "".join(f"{'.'.join(o) or '@'} 60 {rest}\n" for o, rest in rows)
    zone = built(text)
    name = (*(label.encode() for label in asked), *ORIGIN)
    found = lookup(zone, name, type_)
    if found.referral:
        cuts = [owner for owner, node in zone.nodes.items() if Type.NS in node and owner != ORIGIN]
        assert any(names.is_under(name, cut) for cut in cuts) or found.answer
        return
    if found.answer:
        assert names.lower(found.answer[0].rname.label) == name
        return
    covered = any((b"*", *name[i:]) in zone.nodes for i in range(1, len(asked) + 1))
    if name in zone.nodes:
        assert found.rcode == Rcode.NOERROR
    elif not covered:
        assert found.rcode == Rcode.NXDOMAIN
    assert [rr.rtype for rr in found.authority] == [Type.SOA]


# -- the directive


WRONG = [
    ("file", "1:15: 'file' needs at least 1 argument"),
    ("file db {\n what\n }", "2:2: unknown option 'what'"),
    ("file db {\n reload\n }", "2:2: 'reload' needs 1 argument"),
    ("file db {\n reload soon\n }", "'soon' is not a duration"),
    ("file broken", "broken:2: 'x' is not an IPv4 address"),
    ("file nosoa", "nosoa: no SOA record for example.org."),
    ("file nowhere {\n reload 0\n }", "nowhere: No such file or directory"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_directive_that_cannot_be_used_is_refused(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "db").write_text(ZONE)
    (tmp_path / "broken").write_text("@ 60 SOA a b 1 2 3 4 5\na 60 A x\n")
    (tmp_path / "nosoa").write_text("a 60 A 192.0.2.1\n")
    with pytest.raises(CorefileError) as caught:
        harness.build(f"example.org {{ {line}\n}}", tmp_path)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_yet_is_servfail_until_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        chain = harness.build(COREFILE, tmp_path)
        assert "trying again in 60s" in caplog.text
        reply = await chain.ask("web.example.org")
        assert reply is not None
        assert reply.rcode() == dns.rcode.SERVFAIL
        (tmp_path / "db").write_text(ZONE)
        await the_file(chain).refresh()
        reply = await chain.ask("web.example.org")
        assert reply is not None
        assert texts(reply.answer) == WEB

    asyncio.run(run())


def the_file(chain: harness.Chain) -> ZoneFile:
    (plugin,) = [plugin for plugin in chain.instance.plugins if plugin.name == "file"]
    (file,) = plugin.files  # type: ignore[attr-defined]
    assert isinstance(file, ZoneFile)
    return file


# -- changes


def zone_file(tmp_path: Path, text: str) -> tuple[ZoneFile, list[object], list[object]]:
    """A loaded file, the keys that it said have changed, and the zones that it told of."""
    (tmp_path / "db").write_text(text)
    changed: list[object] = []
    told: list[object] = []
    file = ZoneFile(str(tmp_path / "db"), [ORIGIN], 60.0, (), changed.extend)
    file.notify = told.append
    file.load()
    return file, changed, told


def serial(file: ZoneFile) -> int:
    zone = file.zones[ORIGIN]
    assert zone is not None
    return zone.serial


def test_a_zone_is_taken_over_when_its_serial_is_another(tmp_path: Path) -> None:
    file, changed, told = zone_file(tmp_path, "@ 60 SOA a b 5 2 3 4 5\n")
    (tmp_path / "db").write_text("@ 60 SOA a b 4 2 3 4 5\nwww 60 A 192.0.2.1\n")
    asyncio.run(file.refresh())
    assert serial(file) == 4
    assert changed == [key_of(ORIGIN)]
    assert told == [ORIGIN]


def test_a_zone_stays_when_its_serial_does(tmp_path: Path) -> None:
    file, changed, told = zone_file(tmp_path, "@ 60 SOA a b 5 2 3 4 5\n")
    (tmp_path / "db").write_text("@ 60 SOA a b 5 2 3 4 5\nwww 60 A 192.0.2.1\n")
    asyncio.run(file.refresh())
    assert names.from_text("www.example.org") not in (file.zones[ORIGIN] or built(SIGNED)).nodes
    assert (changed, told) == ([], [])


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("is gone", lambda path: path.unlink(), "No such file or directory"),
    ("is wrong", lambda path: path.write_text("@ 60 SOA a b 6 2 3 4 5\na 60 A x\n"), "db:2: 'x' is not an IPv4"),
    ("lost its SOA record", lambda path: path.write_text("a 60 A 192.0.2.1\n"), "no SOA record"),
]


@pytest.mark.parametrize(("what", "damage", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_file_changes_nothing_when_it(
    what: str, damage: Callable[[Path], object], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, changed, _ = zone_file(tmp_path, "@ 60 SOA a b 5 2 3 4 5\n")
    damage(tmp_path / "db")
    for _ in range(3):
        asyncio.run(file.refresh())
    assert (serial(file), changed) == (5, [])
    assert caplog.text.count(message) == 1
    (tmp_path / "db").write_text("@ 60 SOA a b 7 2 3 4 5\n")
    asyncio.run(file.refresh())
    assert serial(file) == 7


def test_others_have_their_turn_while_a_large_file_is_read(tmp_path: Path) -> None:
    file, _, _ = zone_file(tmp_path, "@ 60 SOA a b 5 2 3 4 5\n")
    (tmp_path / "db").write_text("@ 60 SOA a b 6 2 3 4 5\n$GENERATE 1-5000 h$ 60 A 192.0.2.1\n")

    async def turns_of(work: Awaitable[None]) -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await work
        counting.cancel()
        return turns

    assert asyncio.run(turns_of(file.refresh())) >= 5000 // source.RECORDS_AT_A_TIME
    assert serial(file) == 6


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "@ 60 SOA a b 5 2 3 4 5\n"
    monkeypatch.setattr(source, "MAX_OCTETS", len(text))
    zone_file(tmp_path, text)
    with pytest.raises(ZoneError, match=f"more than {len(text)} octets"):
        zone_file(tmp_path, text + " ")


def test_octets_that_are_no_utf8_are_answered_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b'@ 60 SOA a b 1 2 3 4 5\n\xff\xfe 60 TXT "\xe9"\n')
    reply = ask(tmp_path, r"\255\254.example.org", "TXT")
    assert reply.answer[0][0].to_wire() == b"\x01\xe9"


def test_a_server_serves_a_changed_file_without_a_restart(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("@ 60 SOA a b 1 2 3 4 5\nwww 60 A 192.0.2.1\n")
    corefile = "example.org:PORT {\n bind 127.0.0.1\n file db {\n  reload 100ms\n }\n}"
    with dnsd(corefile, tmp_path) as server:
        assert server.texts("www.example.org") == ["192.0.2.1"]
        assert server.texts("www.example.org", tcp=True) == ["192.0.2.1"]
        (tmp_path / "new").write_text("@ 60 SOA a b 2 2 3 4 5\nwww 60 A 192.0.2.2\n")
        (tmp_path / "new").rename(tmp_path / "db")
        eventually(lambda: server.texts("www.example.org") == ["192.0.2.2"], "the new zone")
        assert server.texts("www.example.org", tcp=True) == ["192.0.2.2"]


def test_zones_that_are_there_twice_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "db").write_text(ZONE)
    with caplog.at_level(logging.WARNING):
        harness.build("example.org {\n file db\n file db\n}", tmp_path)
    assert "Corefile:3:2: example.org. has a file already" in caplog.text
