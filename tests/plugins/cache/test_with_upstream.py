"""The cache in a server, with an upstream: what a client sees over the wire."""

from __future__ import annotations

import time
from pathlib import Path

import dns.flags
import dns.message

from tests.process import dnsd
from tests.upstream import Upstream

ZONE = Path(__file__).parent.parent.parent / "conformance" / "data" / "upstream.zone"


def minimum_ttl(reply: dns.message.Message) -> int:
    return min(rrset.ttl for section in (reply.answer, reply.authority, reply.additional) for rrset in section)


def test_a_client_is_answered_once_from_the_upstream_and_then_from_the_cache(tmp_path: Path) -> None:
    with (
        Upstream(ZONE) as upstream,
        dnsd(f".:PORT {{\n bind 127.0.0.1\n forward . {upstream.address}\n cache 30\n}}\n", tmp_path) as server,
    ):
        name = "www.example.com."
        replies = [server.ask(name), server.ask("WWW.Example.COM."), server.ask(name), server.ask(name, tcp=True)]
        assert [query for query in upstream.asked if "www" in query.lower()] == ["www.example.com. A udp"]
        for reply in replies:
            assert [str(data) for rrset in reply.answer for data in rrset] == ["203.0.113.10"]
            assert reply.flags & dns.flags.AA
            assert 1 <= minimum_ttl(reply) <= 30
        assert replies[1].question[0].name.to_text() == "WWW.Example.COM."
        assert {rrset.ttl for rrset in (*replies[0].answer, *replies[0].authority, *replies[0].additional)} == {30}
        while minimum_ttl(server.ask(name)) == 30:  # a TTL counts down, whoever gives the answer
            time.sleep(0.05)
        assert len([query for query in upstream.asked if "www" in query.lower()]) == 1
