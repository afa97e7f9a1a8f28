"""The zones that ship: each loads without a warning and answers, and the snippet serves all of RFC 6303."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from pathlib import Path

import dns.flags
import dns.rcode
import dns.reversename
import dns.zone
import pytest

from dnsd.plugins.file.reader import records
from dnsd.plugins.file.zone import Builder
from dnsd.wire import name as names
from tests.plugins import harness
from tests.process import dnsd

ROOT = Path(__file__).parent.parent.parent
ZONES = ROOT / "zones"
FILES = sorted(path.name for path in ZONES.glob("*.zone"))
SNIPPET = "import zones/Corefile.rfc6303\n. {\n    import rfc6303\n}\n"


def origin_of(file: str) -> str:
    """The first zone of the directive that a file shows at its top."""
    match = re.search(rf"^;\s+file zones/{re.escape(file)} (\S+)", (ZONES / file).read_text(), re.MULTILINE)
    assert match is not None, "the file does not say how to use it"
    return match[1]


@pytest.mark.parametrize("file", FILES)
def test_a_zone_file_loads_without_a_warning_and_as_dnspython_reads_it(file: str) -> None:
    text, origin = (ZONES / file).read_text(), origin_of(file)
    builder = Builder(names.from_text(origin), file)
    for record in records(text, file, builder.origin, lambda path: path):
        builder.add(record)
    zone = builder.finish()
    assert builder.warnings == []
    theirs = dns.zone.from_text(text, origin=origin, relativize=False)
    assert len(list(zone.records())) == sum(1 for _ in theirs.iterate_rdatas()) - 1


@pytest.mark.parametrize("file", FILES)
def test_a_zone_file_answers_in_the_way_that_it_says_itself(file: str) -> None:
    origin = origin_of(file)
    reply = harness.answer(f". {{\n file zones/{file} {origin}\n}}", origin, "SOA", directory=ROOT)
    assert reply is not None
    assert reply.flags & dns.flags.AA
    assert reply.answer[0].name.to_text() == f"{origin}."
    assert reply.authority


LOCAL = [
    ("localhost", "A", ["127.0.0.1"]),
    ("localhost", "AAAA", ["::1"]),
    ("app.localhost", "A", ["127.0.0.1"]),
    ("a.b.localhost", "AAAA", ["::1"]),
    ("1.0.0.127.in-addr.arpa", "PTR", ["localhost."]),
    (dns.reversename.from_address("::1").to_text(), "PTR", ["localhost."]),
]
"""RFC 6761 section 6.3."""

EMPTY = [
    "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "0.0.0.0", "127.0.0.2", "169.254.1.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "255.255.255.255",
    "::", "fd00::1", "fe80::1", "fe90::1", "fea0::1", "febf::1", "2001:db8::1",
]  # fmt: skip
"""An address of each network in RFC 6303 section 4."""

OUTSIDE = [
    "8.8.8.8",
    "172.15.0.1",
    "172.32.0.1",
    "192.169.1.1",
    "192.0.3.1",
    "fc00::1",
    "fec0::1",
    "2001:db9::1",
    "::2",
]


@pytest.fixture(scope="module")
def snippet() -> harness.Chain:
    return harness.build(SNIPPET.replace("zones/Corefile", f"{ZONES}/Corefile"), ROOT)


@pytest.mark.parametrize(("name", "type_", "texts"), LOCAL)
def test_local_names_are_answered(name: str, type_: str, texts: list[str], snippet: harness.Chain) -> None:
    reply = asyncio.run(snippet.ask(name, type_))
    assert reply is not None
    assert [rdata.to_text() for rrset in reply.answer for rdata in rrset] == texts


@pytest.mark.parametrize("address", EMPTY)
def test_an_address_that_means_nothing_elsewhere_has_no_name(address: str, snippet: harness.Chain) -> None:
    reply = asyncio.run(snippet.ask(ipaddress.ip_address(address).reverse_pointer, "PTR"))
    assert reply is not None
    apex = reply.authority[0].name == reply.question[0].name
    assert reply.rcode() == (dns.rcode.NOERROR if apex else dns.rcode.NXDOMAIN)
    assert reply.flags & dns.flags.AA
    assert "nobody.invalid." in reply.authority[0][0].to_text()


@pytest.mark.parametrize("address", OUTSIDE)
def test_other_addresses_are_left_to_others(address: str, snippet: harness.Chain) -> None:
    reply = asyncio.run(snippet.ask(ipaddress.ip_address(address).reverse_pointer, "PTR"))
    assert reply is not None
    assert reply.rcode() == dns.rcode.REFUSED


def test_the_snippet_loads_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        harness.build(SNIPPET.replace("zones/Corefile", f"{ZONES}/Corefile"), ROOT)
    assert caplog.text == ""


def test_the_example_in_the_snippet_serves_cluster_addresses_before_the_empty_zones(tmp_path: Path) -> None:
    """A folder `zones` beside the Corefile is all that it needs."""
    (tmp_path / "zones").symlink_to(ZONES)
    cluster = ROOT / "tests" / "conformance" / "data" / "cluster.yaml"
    text = (ZONES / "Corefile.rfc6303").read_text()
    shown = re.search(r"^#     import.*?^#     }$", text, re.DOTALL | re.MULTILINE)
    assert shown is not None
    corefile = "\n".join(line.removeprefix("#     ") for line in shown[0].splitlines())
    corefile = corefile.replace(". {", ".:PORT {\n    bind 127.0.0.1", 1)
    corefile = corefile.replace("ip6.arpa {", f"ip6.arpa {{\n manifests {cluster}", 1)
    with dnsd(corefile, tmp_path) as server:
        assert server.texts("1.10.96.10.in-addr.arpa", "PTR") == ["web.shop.svc.cluster.local."]
        assert server.ask("9.9.99.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
        assert server.texts("localhost") == ["127.0.0.1"]
