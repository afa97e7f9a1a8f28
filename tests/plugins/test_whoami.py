"""`whoami`: the client as the server sees it."""

from __future__ import annotations

import dns.flags
import pytest

from dnsd.resolve.answer import ONCE
from tests.plugins.asking import resolve
from tests.plugins.harness import answer, records

LONG = ".".join(["x" * 63, "x" * 63, "x" * 63, "x" * 58])


@pytest.mark.parametrize(
    ("client", "protocol", "name", "expected"),
    [
        (
            "192.0.2.7", "udp", "a.test.",
            [("_udp.a.test.", 0, "SRV", "0 0 40000 ."), ("a.test.", 0, "A", "192.0.2.7")],
        ),
        (
            "2001:db8::7", "tcp", "a.test.",
            [("_tcp.a.test.", 0, "SRV", "0 0 40000 ."), ("a.test.", 0, "AAAA", "2001:db8::7")],
        ),
        ("fe80::7%eth0", "udp", ".", [(".", 0, "AAAA", "fe80::7"), ("_udp.", 0, "SRV", "0 0 40000 .")]),
        ("192.0.2.7", "udp", f"{LONG}.", [(f"{LONG}.", 0, "A", "192.0.2.7")]),
    ],
    ids=["over UDP", "over TCP and IPv6", "at the root, with a scope", "no SRV where its name would be too long"],
)  # fmt: skip
def test_the_client_is_in_the_additional_section(
    client: str, protocol: str, name: str, expected: list[tuple[str, int, str, str]]
) -> None:
    reply = answer(". {\nwhoami\n}", name, "MX", client=client, protocol=protocol)
    assert reply is not None
    assert (reply.answer, reply.authority, reply.flags & dns.flags.AA) == ([], [], dns.flags.AA)
    assert records(reply.additional) == expected


def test_it_is_for_one_client_only() -> None:
    assert resolve(". {\nwhoami\n}", "a.test").validity == ONCE
