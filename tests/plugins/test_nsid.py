"""`nsid`: the server's identifier for whoever asks for it (RFC 5001)."""

from __future__ import annotations

import socket

import dns.edns
import dns.message
import pytest

from tests.plugins.asking import refused
from tests.plugins.harness import answer

ASKING = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
HOSTS = "hosts {\n192.0.2.1 a.test\n}"


def identifiers(reply: dns.message.Message | None) -> list[bytes]:
    assert reply is not None
    return [option.to_wire() or b"" for option in reply.options if option.otype == dns.edns.OptionType.NSID]


@pytest.mark.parametrize(
    ("rule", "directive", "expected"),
    [
        ("words are separated by one blank", "nsid server   7", b"server 7"),
        ("quotes keep what is between them", 'nsid "server   7"', b"server   7"),
        ("without words it is the host's name", "nsid", socket.gethostname().encode()),
    ],
)
def test_the_identifier(rule: str, directive: str, expected: bytes) -> None:
    reply = answer(f". {{\n{directive}\n{HOSTS}\n}}", "a.test", options=[ASKING])
    assert identifiers(reply) == [expected], rule


def test_who_does_not_ask_is_not_told() -> None:
    corefile = f". {{\nnsid me\n{HOSTS}\n}}"
    assert identifiers(answer(corefile, "a.test", use_edns=0)) == []
    assert identifiers(answer(corefile, "a.test")) == []


def test_a_failure_is_told_by_whom() -> None:
    reply = answer(f". {{\nnsid me\n{HOSTS}\n}}", "nosuch.test", options=[ASKING])
    assert reply is not None
    assert (reply.rcode(), identifiers(reply)) == (dns.rcode.SERVFAIL, [b"me"])


def test_the_identifier_is_bounded() -> None:
    answer(f". {{\nnsid {'x' * 128}\n{HOSTS}\n}}", "a.test")
    assert "identifier of 129 octets (at most 128)" in refused(f". {{\nnsid {'x' * 129}\n{HOSTS}\n}}")
