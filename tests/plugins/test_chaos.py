"""`chaos`: who the server is, in class CH."""

from __future__ import annotations

import socket

import dns.rcode
import pytest

from dnsd import __version__
from dnsd.resolve.answer import ALWAYS
from tests.plugins.asking import refused, resolve
from tests.plugins.harness import answer

HOST = socket.gethostname()


def texts(corefile: str, name: str, type_: str = "TXT", rdclass: str = "CH") -> list[str] | str:
    reply = answer(corefile, name, type_, rdclass=rdclass)
    assert reply is not None
    if reply.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(reply.rcode())
    assert all(rrset.ttl == 0 for rrset in reply.answer)
    return sorted(rdata.to_text().strip('"') for rrset in reply.answer for rdata in rrset)


@pytest.mark.parametrize(
    ("directive", "name", "expected"),
    [
        ("chaos 9.9 admin@test other@test", "version.bind", ["9.9"]),
        ("chaos 9.9 admin@test other@test", "VERSION.server", ["9.9"]),
        ("chaos 9.9 admin@test other@test", "authors.bind", ["admin@test", "other@test"]),
        ("chaos 9.9 admin@test other@test", "hostname.bind", [HOST]),
        ("chaos 9.9 admin@test other@test", "id.server", [HOST]),
        ("chaos 9.9", "authors.bind", ["the dnsd authors"]),
        ("chaos", "version.bind", [f"dnsd-{__version__}"]),
        ('chaos "two words"', "version.bind", ["two words"]),
    ],
)
def test_a_known_name_has_texts(directive: str, name: str, expected: list[str]) -> None:
    assert texts(f". {{\n{directive}\n}}", name) == expected


@pytest.mark.parametrize(
    ("name", "type_", "rdclass"),
    [("nosuch.bind", "TXT", "CH"), ("version.bind", "A", "CH"), ("version.bind", "TXT", "IN")],
)
def test_everything_else_goes_on(name: str, type_: str, rdclass: str) -> None:
    assert texts(". {\nchaos 9.9\ntemplate ANY ANY {\nrcode NXDOMAIN\n}\n}", name, type_, rdclass) == "NXDOMAIN"


def test_answers_stand_as_long_as_the_configuration() -> None:
    assert resolve(". {\nchaos\n}", "version.bind", "TXT", rdclass="CH").validity == ALWAYS


def test_a_text_fits_a_character_string() -> None:
    assert texts(f". {{\nchaos {'x' * 255}\n}}", "version.bind") == ["x" * 255]
    assert "text of 256 octets (at most 255)" in refused(f". {{\nchaos {'x' * 256}\n}}")
