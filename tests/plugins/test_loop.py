"""`loop`: finds forwarding loops, refuses what would go round, and never ends the process (CVE-2026-26018)."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import dns.edns
import dns.message
import dns.rcode
import pytest

from dnsd.corefile.syntax import CorefileError
from dnsd.plugins import loop
from dnsd.plugins.loop import MAX_SEEN, Loop, Times
from dnsd.resolve.answer import Answer
from dnsd.resolve.query import Client, Query, from_message
from dnsd.wire.codes import Ede, Rcode, Type
from dnsd.wire.name import from_text
from dnsd.wire.query import Message, accept
from dnsd.wire.reply import write
from tests.observe.web import scrape, total
from tests.plugins import harness
from tests.process import dnsd, eventually, free_port
from tests.upstream import Upstream

ZONE = from_text("example.org")
QUICK = Times(answer=5.0, retry=0.0, patience=5.0, settle=0.0, recheck=0.0)
CLIENT = Client("127.0.0.1", 40000, "udp", "127.0.0.1", "dns://:53")

ZONES = Path(__file__).parent.parent / "conformance" / "data"


def to_query(data: bytes) -> Query:
    message = accept(data)
    assert isinstance(message, Message)
    return from_message(message, CLIENT)


@dataclass
class World:
    """A Loop whose probes go straight to its chain, and an upstream that a test can turn into a loop."""

    laps: int = 0
    """How often the upstream sends a query back here before it gives up."""
    silent: bool = False
    asked: list[Query] = field(default_factory=list)
    """What came to the upstream."""
    probes: int = 0

    def __post_init__(self) -> None:
        self.plugin = Loop(ZONE, ("127.0.0.1", 53), time.monotonic, self.ask, QUICK)

    async def ask(self, data: bytes, host: str, port: int) -> bytes:
        assert (host, port) == ("127.0.0.1", 53)
        self.probes += 1
        if self.silent:
            raise ConnectionRefusedError
        return await self.reply(data)

    async def reply(self, data: bytes) -> bytes:
        query = to_query(data)
        answer = await self.plugin.answer(query, self.upstream())
        return write(query.message, answer.sections(), tcp=False).to_wire(query.message.id, query.question.wire)

    def upstream(self) -> Callable[[Query], Awaitable[Answer]]:
        async def forward(query: Query) -> Answer:
            self.asked.append(query)
            laps = sum(1 for other in self.asked if other.name == query.name)
            if laps <= self.laps:
                return await self.plugin.answer(query, self.upstream())
            return Answer(Rcode.NXDOMAIN)

        return forward

    async def resolve(self, name: str = "www.example.org", type_: str = "A") -> Answer:
        return await self.plugin.answer(to_query(dns.message.make_query(name, type_).to_wire()), self.upstream())


def test_a_probe_that_does_not_come_back_ends_the_search_and_leaves_no_trace() -> None:
    world = World()
    asyncio.run(world.plugin.run())
    assert world.probes == 1
    assert not world.plugin.looping
    probe = world.asked[0]
    assert (probe.type, probe.name[2:]) == (Type.HINFO, ZONE)
    assert asyncio.run(world.resolve()).rcode == Rcode.NXDOMAIN
    # disabled: the same name is now a name like any other
    for _ in range(3):
        assert asyncio.run(world.plugin.answer(probe, world.upstream())).rcode == Rcode.NXDOMAIN


def test_names_of_probes_cannot_be_guessed_and_are_never_used_twice() -> None:
    worlds = [World(silent=True) for _ in range(2)]
    names = set()
    for world in worlds:
        sent: list[bytes] = []

        async def ask(data: bytes, host: str, port: int, sent: list[bytes] = sent) -> bytes:
            sent.append(data)
            if len(sent) < 3:
                raise ConnectionRefusedError
            return data

        world.plugin._ask = ask
        asyncio.run(world.plugin.run())
        names |= {to_query(data).name for data in sent}
    assert len(names) == 6
    assert len({name[1] for name in names}) == 2
    assert all(re.fullmatch(rb"[0-9a-f]{16}", name[0]) and re.fullmatch(rb"[0-9a-f]{32}", name[1]) for name in names)


async def run_until(task: asyncio.Task[None], holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            assert not task.done()
            await asyncio.sleep(0)


def test_a_probe_that_comes_back_closes_the_way_upstream_until_one_does_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, loop.log.name)

    async def run() -> None:
        world = World(laps=1)
        task = asyncio.create_task(world.plugin.run())
        await run_until(task, lambda: world.plugin.looping)
        answer = await world.resolve()
        assert answer.rcode == Rcode.REFUSED
        assert answer.reason is not None
        assert answer.reason.error == Ede.NO_REACHABLE_AUTHORITY
        assert not answer.validity.keep
        assert [query.name for query in world.asked if query.type != Type.HINFO] == []
        world.laps = 0
        await task
        assert (await world.resolve()).rcode == Rcode.NXDOMAIN

    asyncio.run(run())
    found, gone = [record for record in caplog.records if record.name == loop.log.name]
    assert found.levelname == "ERROR"
    assert re.match(r'Loop \(127\.0\.0\.1:40000 -> dns://:53\) detected for zone "example\.org\."', found.getMessage())
    assert "resolvConf" in found.getMessage()
    assert gone.levelname == "INFO"


def test_while_no_upstream_can_be_asked_the_search_goes_on() -> None:
    world = World()
    replies = iter([Rcode.SERVFAIL, Rcode.SERVFAIL, Rcode.NXDOMAIN])

    async def ask(data: bytes, host: str, port: int) -> bytes:
        world.probes += 1
        return data[:2] + bytes((0x80, next(replies))) + data[4:]

    world.plugin._ask = ask
    asyncio.run(world.plugin.run())
    assert world.probes == 3


def test_a_loop_is_cut_after_one_lap() -> None:
    async def run() -> None:
        world = World(laps=1000)
        task = asyncio.create_task(world.plugin.run())
        await run_until(task, lambda: world.probes >= 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert max(len(list(group)) for _, group in itertools.groupby(world.asked, lambda query: query.name)) == 1

    asyncio.run(run())


def test_a_worker_learns_from_the_answer_what_another_one_saw() -> None:
    async def run() -> None:
        seen, sender = World(laps=1), World()
        sender.plugin._secret, sender.plugin._marker = seen.plugin._secret, seen.plugin._marker
        sender.plugin._ask = seen.ask
        task = asyncio.create_task(sender.plugin.run())
        await run_until(task, lambda: sender.plugin.looping)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_where_nobody_answers_nothing_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    world = World(silent=True)
    world.plugin._times = Times(retry=0.0, patience=0.01, settle=0.0)
    asyncio.run(world.plugin.run())
    assert world.probes >= 1
    assert "is not known" in caplog.text
    assert asyncio.run(world.resolve()).rcode == Rcode.NXDOMAIN


def test_the_memory_of_probes_is_bounded() -> None:
    async def run() -> None:
        world = World()
        for number in range(MAX_SEEN + 1):
            nonce = f"{number:016x}.{world.plugin._secret.decode()}.example.org"
            await world.resolve(nonce, "HINFO")
        assert len(world.plugin._seen) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("{nonce}.{secret}.example.org", "A"),
        ("{nonce}.{secret}.example.com", "HINFO"),
        ("a.{nonce}.{secret}.example.org", "HINFO"),
        ("{nonce}.{other}.example.org", "HINFO"),
    ],
)
def test_only_our_own_probes_count(name: str, type_: str) -> None:
    async def run() -> None:
        world = World()
        asked = name.format(nonce="0" * 16, secret=world.plugin._secret.decode(), other="0" * 32)
        for _ in range(3):
            assert (await world.resolve(asked, type_)).rcode == Rcode.NXDOMAIN
        assert not world.plugin.looping

    asyncio.run(run())


def plugin_of(corefile: str) -> Loop | None:
    chain = harness.build(corefile)
    found = [plugin for plugin in chain.instance.plugins if plugin.name == "loop"]
    assert all(isinstance(plugin, Loop) for plugin in found)
    return found[0] if found else None  # type: ignore[return-value]


PROBED = {
    "the block's most general zone": ("example.org:53 org:53 {\n loop\n }", "org.", ("127.0.0.1", 53)),
    "its own port": ("a.example:1053 example:2053 {\n loop\n }", "example.", ("127.0.0.1", 2053)),
    "the address that it is bound to": (".:53 {\n bind 127.0.0.53\n loop\n }", ".", ("127.0.0.53", 53)),
}


@pytest.mark.parametrize("rule", PROBED)
def test_probes_go_to(rule: str) -> None:
    corefile, zone, listener = PROBED[rule]
    plugin = plugin_of(corefile)
    assert plugin is not None
    assert (plugin._zone, plugin._listener) == (from_text(zone), listener)


@pytest.mark.parametrize("corefile", [".:0 {\n loop\n }", ("a" * 60 + ".") * 4 + " {\n loop\n }"])
def test_where_no_probe_can_be_sent_there_is_no_plugin(corefile: str) -> None:
    assert plugin_of(corefile) is None


@pytest.mark.parametrize("directive", ["loop now", "loop {\n a\n }", "loop\nloop"])
def test_is_refused(directive: str) -> None:
    with pytest.raises(CorefileError):
        harness.build(f".:53 {{\n{directive}\n }}")


COREFILE = """
.:PORT {
    bind 127.0.0.1
    errors
    prometheus 127.0.0.1:%d
    hosts {
        10.0.0.1 www.example.org
        fallthrough
    }
    loop
    forward . %s
}
"""


def test_a_server_that_forwards_to_itself_goes_on_with_what_it_knows(tmp_path: Path) -> None:
    metrics = free_port()
    with dnsd(COREFILE % (metrics, "127.0.0.1:PORT"), tmp_path) as server:
        eventually(lambda: "[ERROR] plugin/loop: Loop (" in server.log, "the loop")
        assert server.texts("www.example.org") == ["10.0.0.1"]
        reply = server.ask("elsewhere.example", use_edns=0)
        assert reply.rcode() == dns.rcode.REFUSED
        (error,) = [option for option in reply.options if isinstance(option, dns.edns.EDEOption)]
        assert (error.code, error.text) == (22, "forwarding loop: the upstream asks this server again")
        assert total(scrape(metrics), "dnsd_loop_detected", zone=".") == 1
        assert "elsewhere.example" not in server.log
        assert server.stop() == 0


def test_two_servers_that_forward_to_each_other_find_out(tmp_path: Path) -> None:
    other = free_port()
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with dnsd(COREFILE % (free_port(), f"127.0.0.1:{other}"), here) as server:
        back = f"""
            .:{other} {{
                bind 127.0.0.1
                forward . 127.0.0.1:{server.port}
            }}
            .:PORT {{
                bind 127.0.0.1
                whoami
            }}"""
        with dnsd(back, there):
            eventually(lambda: "[ERROR] plugin/loop: Loop (" in server.log, "the loop")


def test_a_server_with_an_upstream_forwards(tmp_path: Path) -> None:
    metrics = free_port()
    with (
        Upstream(ZONES / "upstream.zone") as upstream,
        dnsd(COREFILE % (metrics, upstream.address), tmp_path) as server,
    ):
        eventually(lambda: any(" HINFO " in line for line in upstream.asked), "the probe")
        assert server.ask("www.example.com").rcode() == dns.rcode.NOERROR
        assert total(scrape(metrics), "dnsd_loop_detected") == 0
        assert "plugin/loop" not in server.log
