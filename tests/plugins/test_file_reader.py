"""Zone files: what is read is what dnspython reads; what is wrong is refused with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import dns.zone
import pytest
from dnslib import RR
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.file import tokens
from dnsd.plugins.file.rdata import MAX_RDATA
from dnsd.plugins.file.reader import MAX_GENERATED, MAX_INCLUDES, records
from dnsd.plugins.file.tokens import ZoneError
from dnsd.plugins.file.zone import MAX_WARNINGS, Builder, Zone
from dnsd.wire import name as names
from dnsd.wire.codes import type_text
from dnsd.wire.records import Buffer

ORIGIN = names.from_text("example.org")
SOA = "@ 300 IN SOA ns admin 7 2h 1h 4w 5m\n"


def nothing(file: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", file)


def files(texts: Mapping[str, str]) -> Callable[[str], str]:
    return lambda file: texts[file] if file in texts else nothing(file)


def read(text: str, **included: str) -> list[tuple[str, int, str, bytes]]:
    """Owner, TTL, type and rdata of each record."""
    return [
        (names.to_text(record.owner), record.rr.ttl, type_text(record.rr.rtype), record.wire)
        for record in records(text, "db", ORIGIN, files(included))
    ]


def build(text: str, **included: str) -> Zone:
    builder = Builder(ORIGIN, "db")
    for record in records(text, "db", ORIGIN, files(included)):
        builder.add(record)
    return builder.finish()


def packed(rr: RR) -> bytes:
    buffer = Buffer()
    rr.rdata.pack(buffer)
    return bytes(buffer.data)


RDATA = [
    "A 192.0.2.1",
    "AAAA 2001:db8::1",
    "AAAA ::ffff:192.0.2.1",
    "NS ns",
    "CNAME @",
    "SOA ns admin.example.com. 1 2h 1h 4w 5m",
    "PTR host.example.com.",
    'HINFO "PC Intel" Linux',
    "MX 10 mail",
    r'TXT "a b" c "d\"e" \100\ef ""',
    "RP mbox.example. .",
    "AFSDB 1 host",
    "RT 10 relay",
    "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
    "LOC 42 21 54 N 71 06 18 W -24m 30m",
    "LOC 32 7 19 S 116 2 25 E 10m",
    "LOC 60 9 N 24 39 E 10 20 2000 20",
    "LOC 90 S 180 W 0m",
    "SRV 0 5 5060 sip",
    'NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .',
    "KX 10 kx",
    "CERT PKIX 1 RSASHA256 AAECAw==",
    "CERT 65280 0 0 AAEC",
    r"DNAME other\.dots.example.",
    "APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:2001:db8::/32 1:0.0.0.0/0",
    "DS 60485 5 1 2BB183AF5F22588179A53B0A 98631FAD1A292118",
    "SSHFP 2 1 123456789abcdef67890123456789abcdef67890",
    "IPSECKEY 10 0 2 . AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "IPSECKEY 10 2 2 2001:db8::1 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "IPSECKEY 10 3 2 gateway AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "RRSIG A 5 3 86400 20300322173103 1900000000 2642 example.com. oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip8WTr",
    "NSEC host.example.com. A MX RRSIG NSEC TYPE1234",
    "DNSKEY 256 3 RSASHA1 AQPSKmynfzW4kyBv015MUG2D eIQ3",
    "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    "NSEC3 1 1 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s MX DNSKEY NS SOA NSEC3PARAM RRSIG",
    "NSEC3PARAM 1 0 12 -",
    "TLSA 0 0 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971",
    "SMIMEA 3 0 0 00112233",
    "CDS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    "CDNSKEY 256 3 5 AQPSKmynfzW4kyBv015MUG2DeIQ3",
    "OPENPGPKEY AAEC",
    "CSYNC 66 3 A NS AAAA",
    "ZONEMD 2018031900 1 241 62e6cf51b02e54b9b5f967d547ce43136792901f",
    "SVCB 0 svc.example.",
    'SVCB 16 foo alpn="h2,h3-19" mandatory=ipv4hint,alpn ipv4hint=192.0.2.1',
    r'SVCB 16 foo alpn="f\\\\oo\\,bar,h2"',
    r'HTTPS 1 . alpn=h3,h2 port=8443 ipv6hint=2001:db8::1,::1 key667="hello\210qoo" no-default-alpn',
    "SVCB 1 dns alpn=dot dohpath=/dns-query{?dns}",
    'SPF "v=spf1 -all"',
    "EUI48 00-00-5e-00-53-2a",
    "EUI64 00-00-5e-ef-10-00-00-2a",
    'URI 10 1 "ftp://ftp1.example.com/public"',
    'CAA 0 issue "ca.example.net; policy=ev"',
    r"TYPE65534 \# 4 0a0000 01",
    r"TYPE65534 \# 0",
    r"A \# 4 0a000001",
    r"MX \# 6 000a 026d78 00",
]


@pytest.mark.parametrize("text", RDATA)
def test_rdata_is_the_octets_that_dnspython_makes_of_it(text: str) -> None:
    type_, _, rest = text.partition(" ")
    origin = dns.name.from_text("example.org")
    wanted = dns.rdata.from_text("IN", type_, rest, origin=origin, relativize=False).to_wire()
    ((_, _, _, wire),) = read(f"x 60 IN {text}")
    assert wire == wanted


@pytest.mark.parametrize("text", RDATA)
def test_what_is_packed_is_what_was_read(text: str) -> None:
    (record,) = records(f"x 60 {text}", "db", ORIGIN, nothing)
    rdtype = dns.rdatatype.RdataType.make(record.rr.rtype)
    rdata = dns.rdata.from_wire("IN", rdtype, record.wire, 0, len(record.wire))
    assert dns.rdata.from_wire("IN", rdtype, packed(record.rr), 0, len(packed(record.rr))) == rdata


ENTRIES = [
    ("an owner relative to the origin", "www 60 A 192.0.2.1", "www.example.org. 60"),
    ("an absolute owner", "www.example.com. 60 A 192.0.2.1", "www.example.com. 60"),
    ("the origin itself", "@ 60 A 192.0.2.1", "example.org. 60"),
    ("the owner of the record before", "a 60 A 192.0.2.1\n  A 192.0.2.2", "a.example.org. 60, a.example.org. 60"),
    ("the owner before, over a comment", "a 60 A 192.0.2.1\n ; b\n\n\tA 192.0.2.2",
     "a.example.org. 60, a.example.org. 60"),
    ("class before TTL", "a IN 60 A 192.0.2.1", "a.example.org. 60"),
    ("TTL before class", "a 60 IN A 192.0.2.1", "a.example.org. 60"),
    ("an owner that is called as a class", "in 60 in a 192.0.2.1", "in.example.org. 60"),
    ("an owner of digits", "10 60 IN A 192.0.2.1", "10.example.org. 60"),
    ("a TTL with units", "a 1W2d3H4m5s A 192.0.2.1", "a.example.org. 788645"),
    ("the TTL of $TTL", "$TTL 90\na A 192.0.2.1", "a.example.org. 90"),
    ("$TTL over the TTL before", "$TTL 90\na 60 A 192.0.2.1\nb A 192.0.2.2", "a.example.org. 60, b.example.org. 90"),
    ("the TTL of the record before", "a 60 A 192.0.2.1\nb A 192.0.2.2", "a.example.org. 60, b.example.org. 60"),
    ("a SOA record's minimum, where nothing says", "@ SOA a b 1 2 3 4 77", "example.org. 77"),
    ("$ORIGIN", "$ORIGIN sub\na 60 A 192.0.2.1\n$ORIGIN com.\nb 60 A 192.0.2.1", "a.sub.example.org. 60, b.com. 60"),
    ("an owner that outlives $ORIGIN", "a 60 A 192.0.2.1\n$ORIGIN com.\n A 192.0.2.2",
     "a.example.org. 60, a.example.org. 60"),
    ("parentheses over lines", "a 60 ( A ; here\n\n 192.0.2.1 )\nb 60 A 192.0.2.2",
     "a.example.org. 60, b.example.org. 60"),
    ("parentheses in parentheses", "a ((60)\n A) 192.0.2.1", "a.example.org. 60"),
    ("an escaped dot in a label", r"a\.b 60 A 192.0.2.1", r"a\.b.example.org. 60"),
    ("an escaped dot at the end", r"a\. 60 A 192.0.2.1", r"a\..example.org. 60"),
    ("an octet by its number", r"\000\255 60 A 192.0.2.1", r"\000\255.example.org. 60"),
    ("a semicolon that is no comment", r"a\;b 60 A 192.0.2.1", r"a\;b.example.org. 60"),
    ("carriage returns and a byte order mark", "\ufeffa 60 A 192.0.2.1\r\n\r\nb 60 A 192.0.2.2\r\n",
     "a.example.org. 60, b.example.org. 60"),
    ("a generic class and type", "a 60 CLASS1 TYPE1 192.0.2.1", "a.example.org. 60"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "expected"), ENTRIES, ids=[row[0] for row in ENTRIES])
def test_a_record_takes_its_owner_and_ttl_from(rule: str, text: str, expected: str) -> None:
    assert ", ".join(f"{owner} {ttl}" for owner, ttl, _, _ in read(text)) == expected


GENERATE = [
    ("1-3 h$ A 192.0.2.$", ["h1.example.org. c0000201", "h2.example.org. c0000202", "h3.example.org. c0000203"]),
    ("0-4/2 h$ A 192.0.2.$", ["h0.example.org. c0000200", "h2.example.org. c0000202", "h4.example.org. c0000204"]),
    ("9-10 ${0,3} A 192.0.2.${1}", ["009.example.org. c000020a", "010.example.org. c000020b"]),
    ("10-10 ${0,4,x}${-1,2,o} A 192.0.2.1", ["000a11.example.org. c0000201"]),
    (r"1-1 a\$b$$ A 192.0.2.$", [r"a\$b\$.example.org. c0000201"]),
]


@pytest.mark.parametrize(("text", "expected"), GENERATE)
def test_generate_makes_a_record_for_each_number(text: str, expected: list[str]) -> None:
    assert [f"{owner} {wire.hex()}" for owner, _, _, wire in read(f"$TTL 60\n$GENERATE {text}")] == expected


def test_an_included_file_has_the_origin_in_force_or_its_own_and_changes_none_behind_it() -> None:
    text = "$TTL 60\na A 192.0.2.1\n$INCLUDE one\nc A 192.0.2.3\n$INCLUDE two sub\n A 192.0.2.5"
    found = read(text, one="b A 192.0.2.2\n$ORIGIN com.\n$TTL 7\n", two="d A 192.0.2.4\n")
    assert [(owner, ttl) for owner, ttl, _, _ in found] == [
        ("a.example.org.", 60), ("b.example.org.", 60), ("c.example.org.", 60), ("d.sub.example.org.", 60),
        ("c.example.org.", 60),
    ]  # fmt: skip


WRONG = [
    ("a 60 A 1.2.3", 1, "'1.2.3' is not an IPv4 address"),
    ("a 60 A 192.0.2.1 192.0.2.2", 1, "'192.0.2.2' is too much"),
    ("a 60 A", 1, "an IPv4 address is missing"),
    ("a 60 AAAA 192.0.2.1", 1, "is not an IPv6 address"),
    ("\n\na 60 MX 65536 m", 3, "'65536' is not a number from 0 to 65535"),
    ("a 60 MX -1 m", 1, "is not a number"),
    ("a 60 WHAT x", 1, "'WHAT' is not a type that a zone has"),
    ("a 60 ANY x", 1, "'ANY' is not a type that a zone has"),
    ("a 60 OPT x", 1, "'OPT' is not a type that a zone has"),
    ("a 60 NULL x", 1, r"can only be written as '\# LENGTH HEX'"),
    ("a 60 IN", 1, "a type is missing"),
    ("a 60 CH TXT x", 1, "only class IN is served"),
    ("a A 192.0.2.1", 1, "no TTL"),
    ("  60 A 192.0.2.1", 1, "the first record has no owner name"),
    ("a 2147483648 A 192.0.2.1", 1, "is more than 2147483647 seconds"),
    ("a..b 60 A 192.0.2.1", 1, "empty label"),
    (f"{'a' * 64} 60 A 192.0.2.1", 1, "label of 64 octets"),
    (f"{'.'.join(['a' * 60] * 5)} 60 A 192.0.2.1", 1, "name of"),
    (r"a 60 TXT \256", 1, r"\256 is no octet"),
    (f"a 60 TXT {'x' * 256}", 1, "a string of 256 octets"),
    ('b 60 A 192.0.2.1\na 60 TXT "x\n"', 2, "a quoted string does not end on its line"),
    ("a 60 TXT x\\\n", 1, "a backslash ends the line"),
    ("a 60 A (\n192.0.2.1", 1, "'(' is not closed"),
    ("a 60 A 192.0.2.1 )", 1, "')' without '('"),
    (r"a 60 A \# 3 0a0000", 1, "3 octets that are no A record"),
    (r"a 60 A \# 4 0a00", 1, "2 octets where 4 are announced"),
    (r"a 60 MX \# 7 000a026d7800ff", 1, "octets behind the end of a MX record"),
    (r"a 60 NS \# 2 c000", 1, "no NS record"),
    ("a 60 DS 1 5 1 0", 1, "is not an even number of hex digits"),
    ("a 60 DNSKEY 256 3 5 A", 1, "is not base64"),
    ("a 60 DNSKEY 256 3 5", 1, "base64 data is missing"),
    ("a 60 DNSKEY 256 3 XYZ AAEC", 1, "'XYZ' is not an algorithm"),
    ("a 60 NSEC b NONE", 1, "'NONE' is not a type"),
    ("a 60 RRSIG A 5 3 60 2030 20309922173103 1 b AAEC", 1, "is not a date"),
    ("a 60 APL 3:192.0.2.0/24", 1, "is not a prefix"),
    ("a 60 EUI48 00-00", 1, "is not 6 octets"),
    ("a 60 IPSECKEY 1 0 2 x AAEC", 1, "a gateway of type 0 is written '.'"),
    ("a 60 LOC 91 N 1 E 1m", 1, "not an angle of up to 90 degrees"),
    ("a 60 LOC 1 60 N 1 E 1m", 1, "not an angle"),
    ("a 60 LOC 1 N 1 E high", 1, "'high' is not a length in metres"),
    ("a 60 SVCB 1 b alpn=h2 alpn=h3", 1, "'alpn' is there twice"),
    ("a 60 SVCB 1 b alpn=,", 1, "is not a value of 'alpn'"),
    ("a 60 SVCB 1 b what=1", 1, "'what' is not a service parameter"),
    ("a 60 SVCB 1 b mandatory=port", 1, "mandatory key 3 is missing"),
    ("a 60 SVCB 1 b mandatory=mandatory", 1, "'mandatory' names itself"),
    ("a 60 SVCB 1 b no-default-alpn", 1, "'no-default-alpn' goes with 'alpn'"),
    ("$TTL", 1, "$TTL has the wrong number of arguments"),
    ("$TTL x", 1, "'x' is not a time"),
    ("$WHAT 1", 1, "unknown directive $WHAT"),
    ("$INCLUDE nowhere", 1, "cannot read nowhere"),
    ("$GENERATE 3-1 a A 192.0.2.1", 1, "'3-1' is not a range"),
    ("$GENERATE 1-2/0 a 60 A 192.0.2.1", 1, "is not a range"),
    ("$GENERATE 0-1 ${-1} 60 A 192.0.2.1", 1, "0-1 is below 0"),
]


@pytest.mark.parametrize(("text", "line", "message"), WRONG)
def test_what_is_wrong_is_refused_with_file_and_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ZoneError) as caught:
        read(text)
    assert str(caught.value).startswith(f"db:{line}: ")
    assert message in str(caught.value)


def test_an_error_in_an_included_file_is_at_its_place_there() -> None:
    with pytest.raises(ZoneError, match=r"^inner:2: "):
        read("$INCLUDE inner", inner="a 60 A 192.0.2.1\nb 60 A x\n")


def test_a_file_that_includes_itself_ends_at_the_limit() -> None:
    with pytest.raises(ZoneError, match=f"^self:1: more than {MAX_INCLUDES} files within files"):
        read("$INCLUDE self", self="$INCLUDE self\n")


def test_generate_makes_as_many_records_as_the_limit_and_no_more() -> None:
    assert len(read(f"$TTL 1\n$GENERATE 1-{MAX_GENERATED} $ A 192.0.2.1")) == MAX_GENERATED
    with pytest.raises(ZoneError, match=f"more than {MAX_GENERATED} records"):
        read(f"$TTL 1\n$GENERATE 0-{MAX_GENERATED} $ A 192.0.2.1")


def test_rdata_that_no_message_has_room_for_is_refused() -> None:
    def text(octets: int) -> str:
        return rf"a 60 TYPE65534 \# {octets} {'00' * octets}"

    ((_, _, _, wire),) = read(text(MAX_RDATA))
    assert len(wire) == MAX_RDATA
    with pytest.raises(ZoneError, match=f"{MAX_RDATA} fit into a message"):
        read(text(MAX_RDATA + 1))


def test_an_entry_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_ENTRY", 50)
    assert read("a 60 TXT ( x\n" + "; comment\n" * 3 + ")")
    with pytest.raises(ZoneError, match="more than 50 characters"):
        read("a 60 TXT (" + " x\n" * 50 + ")")


ZONES = [
    ("no SOA record", "a 60 A 192.0.2.1", "db: no SOA record for example.org."),
    ("a SOA record below the apex", SOA + "a 60 SOA b c 1 2 3 4 5", "db:2: a SOA record that is not the one of"),
    ("another SOA record", SOA + "@ SOA b c 1 2 3 4 5", "db:2: a SOA record that is not the one of"),
]


@pytest.mark.parametrize(("rule", "text", "message"), ZONES, ids=[row[0] for row in ZONES])
def test_records_are_no_zone_with(rule: str, text: str, message: str) -> None:
    with pytest.raises(ZoneError) as caught:
        build(text)
    assert message in str(caught.value)


LENIENT = [
    ("the SOA record again, as a transfer ends with it", SOA, 0),
    ("a record twice", "a 60 A 192.0.2.1\nA 60 A 192.0.2.1\n", 0),
    ("a record of another zone", "www.example.com. 60 A 192.0.2.1\n", 1),
    ("a second CNAME record", "a 60 CNAME b\na 60 CNAME c\n", 1),
    ("other records beside a CNAME record", "a 60 CNAME b\na 60 A 192.0.2.1\n", 1),
    ("a CNAME record at the apex", "@ 60 CNAME b\n", 1),
    ("more than anybody wants to read", "x.example.com. 60 A 192.0.2.1\n" * 99, MAX_WARNINGS),
]


@pytest.mark.parametrize(("rule", "text", "warnings"), LENIENT, ids=[row[0] for row in LENIENT])
def test_a_zone_can_have(rule: str, text: str, warnings: int) -> None:
    builder = Builder(ORIGIN, "db")
    for record in records(SOA + text, "db", ORIGIN, nothing):
        builder.add(record)
    found = builder.finish()
    assert len(builder.warnings) == warnings
    assert found.serial == 7
    assert all(len(rrset) == 1 for node in found.nodes.values() for rrset in node.values())
    assert sum(len(node) > 0 for node in found.nodes.values()) <= 2


LABEL = st.text("abc*_-0", min_size=1, max_size=4)
OWNER = st.lists(LABEL, min_size=0, max_size=3).map(lambda labels: ".".join(labels) or "@")


@given(st.lists(st.tuples(OWNER, st.sampled_from(["A 192.0.2.1", "A 192.0.2.2", "TXT t", "MX 1 m"])), max_size=12))
def test_every_name_between_a_record_and_the_apex_exists(rows: list[tuple[str, str]]) -> None:
    text = SOA + "".join(f"{owner} 60 {rest}\n" for owner, rest in rows)
    found = build(text)
    for name in found.nodes:
        assert name[1:] in found.nodes or name == ORIGIN
    theirs = dns.zone.from_text(text, origin="example.org", relativize=False, check_origin=False)
    ours = {
        (names.to_text(name), rr.rtype, packed(rr))
        for name, node in found.nodes.items()
        for rrset in node.values()
        for rr in rrset
        if rr.rtype != 6
    }
    assert ours == {
        (name.to_text().replace(r"\@", "@"), rdata.rdtype, rdata.to_wire())
        for name, _, rdata in theirs.iterate_rdatas()
        if rdata.rdtype != 6
    }
    assert {packed(rr) for rr in found.records()} == {wire for _, _, wire in ours}


@given(st.text(st.characters(max_codepoint=300), max_size=200) | st.text('ab.;()"\\$ \n\t019@\ufeff*', max_size=80))
def test_any_text_is_records_or_an_error_with_its_place(text: str) -> None:
    lines = text.count("\n") + 1
    try:
        found: list[object] | ZoneError = [*read(text)]
    except ZoneError as error:
        found = error
    if isinstance(found, ZoneError):
        assert found.file == "db"
        assert 1 <= found.line <= lines
    else:
        assert len(found) <= lines
