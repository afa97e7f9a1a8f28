"""Upstreams that are named by host names: looked up when the server starts, and again until there is an address."""

from __future__ import annotations

import asyncio
import logging

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from dnsd.plugins.forward import hosts
from dnsd.plugins.forward.settings import MAX_UPSTREAMS
from tests.plugins.forward.servers import Asked, Behaviour, Forwarding, Server, addresses, error_text, run
from tests.plugins.forward.test_forward import plugin_of
from tests.plugins.harness import Chain


def zone(**records: dict[str, list[str]]) -> Behaviour:
    """The behaviour of a name server with these records: `host=dict(A=[...])`."""

    def behave(asked: Asked) -> list[bytes]:
        reply = dns.message.make_response(asked.message)
        question = asked.message.question[0]
        type_ = dns.rdatatype.to_text(question.rdtype)
        texts = records.get(question.name.to_text().split(".")[0], {}).get(type_, [])
        if texts:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", type_, *texts))
        return [reply.to_wire()]

    return behave


async def ready(chain: Chain) -> None:
    for _ in range(500):
        if plugin_of(chain).ready:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the upstreams are still not known")


def names(chain: Chain) -> list[str]:
    return [upstream.name for upstream in plugin_of(chain).forwarders[0].engine.upstreams]


def test_every_address_of_a_name_is_an_upstream() -> None:
    async def test() -> None:
        behave = zone(dns={"A": ["127.0.0.1", "127.0.0.2"], "AAAA": ["::1"]})
        async with (
            Server(behave) as resolver,
            Server() as server,
            Forwarding(
                f"forward . 127.0.0.9 dns.example.org:{server.port} {{\n resolver {resolver.address}\n}}"
            ) as chain,
        ):
            await ready(chain)
            port = server.port
            first, *others = names(chain)
            assert first == "127.0.0.9:53"
            assert sorted(others) == [f"127.0.0.1:{port}", f"127.0.0.2:{port}", f"[::1]:{port}"]
            assert resolver.names == ["dns.example.org."] * 2

    run(test())


def test_queries_are_answered_then() -> None:
    async def test() -> None:
        async with (
            Server(zone(dns={"A": ["127.0.0.1"]})) as resolver,
            Server() as server,
            Forwarding(f"forward . dns.example.org:{server.port} {{\n resolver {resolver.address}\n}}") as chain,
        ):
            early = await chain.ask("www.example.com.", use_edns=0)
            assert error_text(early) == "14: the addresses of the upstreams are not known yet"
            assert addresses(early) == ["SERVFAIL"]
            await ready(chain)
            assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]

    run(test())


def test_a_name_without_an_address_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hosts, "RETRY", 0.01)
    caplog.set_level(logging.WARNING)

    async def test() -> None:
        async with (
            Server(zone()) as resolver,
            Forwarding(f"forward . dns.example.org {{\n resolver {resolver.address}\n}}") as chain,
        ):
            await asyncio.sleep(0.1)
            assert not plugin_of(chain).ready
            resolver.behave = zone(dns={"A": ["127.0.0.1"]})
            await ready(chain)
            assert names(chain) == ["127.0.0.1:53"]

    run(test())
    assert "the upstream dns.example.org has no address" in caplog.text


def test_a_stop_ends_the_search() -> None:
    async def test() -> None:
        async with Server(zone()) as resolver:
            async with Forwarding(f"forward . dns.example.org {{\n resolver {resolver.address}\n}}"):
                await asyncio.sleep(0.05)
            assert len(asyncio.all_tasks()) == 1

    run(test())


def test_no_more_than_the_limit_are_used() -> None:
    async def test() -> None:
        many = [f"127.0.0.{i}" for i in range(1, MAX_UPSTREAMS + 9)]
        async with (
            Server(zone(dns={"A": many})) as resolver,
            Forwarding(f"forward . dns.example.org {{\n resolver {resolver.address}\n}}") as chain,
        ):
            await ready(chain)
            assert len(names(chain)) == MAX_UPSTREAMS

    run(test())
