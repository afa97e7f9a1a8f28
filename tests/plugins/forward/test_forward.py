"""The plugin as its users see it: what it takes, what it sends, what comes back. Real upstreams on 127.0.0.1."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import pytest
from prometheus_client.metrics_core import Metric

from dnsd.plugins.forward import Forward
from dnsd.plugins.forward.forwarder import MAX_CONCURRENT, UDP_SIZE
from dnsd.resolve.answer import ONCE, Answer
from dnsd.resolve.plugin import Plugin
from tests.plugins.asking import make_query
from tests.plugins.forward.servers import LOOPS, Asked, Forwarding, Server, addresses, error_text, honest, run, silent
from tests.plugins.harness import Chain


def plugin_of(chain: Chain) -> Forward:
    (plugin,) = [plugin for plugin in chain.instance.plugins if isinstance(plugin, Forward)]
    return plugin


def sample(plugin: Plugin, name: str, **labels: str) -> float | None:
    """The value of a metric."""
    families: list[Metric] = list(plugin.metrics())
    return next((s.value for family in families for s in family.samples if s.name == name and s.labels == labels), None)


class TestWhatIsForwarded:
    def test_the_first_stanza_that_takes_the_name(self) -> None:
        async def test() -> None:
            async with (
                Server(lambda asked: [asked.answer("192.0.2.1")]) as one,
                Server(lambda asked: [asked.answer("192.0.2.2")]) as two,
                Forwarding(
                    f"forward Lab.example.com {one.address} {{\n except x.lab.example.com\n}}",
                    f"forward example.com {two.address} {{\n except none.example.com y.example.com\n}}",
                ) as chain,
            ):
                for name, expected in {
                    "lab.example.com.": "192.0.2.1",
                    "WWW.LAB.example.com.": "192.0.2.1",
                    "x.lab.example.com.": "192.0.2.2",
                    "a.x.lab.example.com.": "192.0.2.2",
                    "xlab.example.com.": "192.0.2.2",
                    "example.com.": "192.0.2.2",
                    "none.example.com.": "SERVFAIL",
                    "a.y.example.com.": "SERVFAIL",
                    "com.": "SERVFAIL",
                    "myexample.com.": "SERVFAIL",
                }.items():
                    assert addresses(await chain.ask(name)) == [expected], name

        run(test())

    def test_the_first_reverse_zone_of_a_cidr(self) -> None:
        async def test() -> None:
            async with Server() as server, Forwarding(f"forward 10.96.0.0/12 {server.address}") as chain:
                assert addresses(await chain.ask("1.0.96.10.in-addr.arpa.")) == ["192.0.2.1"]
                assert addresses(await chain.ask("1.0.97.10.in-addr.arpa.")) == ["SERVFAIL"]

        run(test())

    @pytest.mark.parametrize("class_", ["IN", "CH", "HS", "CLASS4711"])
    def test_every_class(self, class_: str) -> None:
        async def test() -> None:
            async with Server() as server, Forwarding(f"forward . {server.address}") as chain:
                reply = await chain.ask("www.example.com.", rdclass=class_)
                assert reply is not None
                assert reply.rcode() == dns.rcode.NOERROR
                assert dns.rdataclass.to_text(server.asked[0].message.question[0].rdclass) == class_

        run(test())


class TestWhatIsSent:
    @staticmethod
    def sent(*lines: str, **options: Any) -> Asked:
        """What the upstream receives for a query for wWw.example.com."""

        async def test() -> Asked:
            async with Server() as server, Forwarding(f"forward . {server.address}", *lines) as chain:
                await chain.ask("wWw.example.com.", **options)
                return server.asked[0]

        return run(test())

    def test_the_name_in_its_spelling(self) -> None:
        assert self.sent().name == "wWw.example.com."

    @pytest.mark.parametrize("flags", ["", "RD", "CD", "AD", "RD CD AD"])
    def test_rd_ad_and_cd(self, flags: str) -> None:
        assert self.sent(flags=dns.flags.from_text(flags)).message.flags == dns.flags.from_text(flags)

    @pytest.mark.parametrize("flags", ["RA", "AA", "TC"])
    def test_no_flag_of_responses(self, flags: str) -> None:
        assert self.sent(flags=dns.flags.from_text(flags)).message.flags == 0

    def test_ad_where_there_is_a_cache(self) -> None:
        assert self.sent("cache", flags=dns.flags.RD).message.flags == dns.flags.RD | dns.flags.AD

    def test_no_opt_where_the_client_sent_none(self) -> None:
        assert self.sent(use_edns=False).message.edns == -1

    @pytest.mark.parametrize("payload", [0, 512, 4096, 65535])
    def test_a_payload_size_of_our_own(self, payload: int) -> None:
        message = self.sent(use_edns=0, payload=payload).message
        assert (message.edns, message.payload) == (0, UDP_SIZE)

    @pytest.mark.parametrize("do", [True, False])
    def test_do(self, do: bool) -> None:
        assert bool(self.sent(use_edns=0, want_dnssec=do).message.ednsflags & dns.flags.DO) is do

    def test_no_option_of_the_client(self) -> None:
        cookie, subnet = (
            dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"clientid"),
            dns.edns.ECSOption("192.0.2.0", 24),
        )
        assert self.sent(use_edns=0, options=[cookie, subnet]).message.options == ()

    @pytest.mark.parametrize("own", [[], [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(8))]])
    def test_the_options_that_a_plugin_added_and_none_of_the_clients(self, own: list[dns.edns.Option]) -> None:
        async def test() -> None:
            async with (
                Server() as server,
                Forwarding("rewrite edns0 local set 0xfff0 0xabcd", f"forward . {server.address}") as chain,
            ):
                assert addresses(await chain.ask("example.org", options=own, use_edns=0)) == ["192.0.2.1"]
                (asked,) = server.asked
                assert [(int(option.otype), option.to_wire()) for option in asked.message.options] == [
                    (0xFFF0, b"\xab\xcd")
                ]

        run(test())


class TestWhatComesBack:
    @pytest.mark.parametrize("loop", LOOPS)
    @pytest.mark.parametrize("protocol", ["udp", "tcp"])
    def test_over_the_clients_transport(self, protocol: str, loop: str) -> None:
        async def test() -> None:
            async with Server() as server, Forwarding(f"forward . {server.address}") as chain:
                assert addresses(await chain.ask("www.example.com.", protocol=protocol)) == ["192.0.2.1"]
                assert [asked.protocol for asked in server.asked] == [protocol]

        run(test(), loop)

    @pytest.mark.parametrize("flags", ["", "AA", "AD", "AA AD"])
    def test_flags_of_the_upstream(self, flags: str) -> None:
        async def test() -> None:
            async with (
                Server(lambda asked: [asked.answer(flags=dns.flags.from_text(flags))]) as server,
                Forwarding(f"forward . {server.address}") as chain,
            ):
                reply = await chain.ask("www.example.com.", flags=dns.flags.RD | dns.flags.CD)
                assert reply is not None
                assert dns.flags.to_text(reply.flags & ~dns.flags.AA & ~dns.flags.AD) == "QR RD RA CD"
                assert reply.flags & (dns.flags.AA | dns.flags.AD) == dns.flags.from_text(flags)

        run(test())

    def test_extended_errors_of_the_upstream_and_no_other_option(self) -> None:
        def behave(asked: Asked) -> list[bytes]:
            reply = dns.message.make_response(asked.message)
            error = dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, "bad signature")
            reply.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"clientidserverid"), error])
            return [reply.to_wire()]

        async def test() -> None:
            async with Server(behave) as server, Forwarding(f"forward . {server.address}") as chain:
                reply = await chain.ask("www.example.com.", use_edns=0)
                assert error_text(reply) == "6: bad signature"
                assert reply is not None
                assert len(reply.options) == 1

        run(test())

    def test_it_may_not_be_kept_without_a_cache(self) -> None:
        async def test() -> Answer:
            async with Server() as server, Forwarding(f"forward . {server.address}") as chain:
                (front,) = chain.instance.fronts.values()
                return await front.resolve(make_query("www.example.com."))

        answer = run(test())
        assert answer.validity == ONCE
        assert answer.forwarded


class TestTruncation:
    """UDP responses of 512 octets without EDNS, of 1,232 with; the upstream has 100 addresses, some 1,600 octets."""

    @staticmethod
    def long(asked: Asked) -> list[bytes]:
        if asked.protocol == "udp":
            return [asked.answer(count=20, flags=dns.flags.TC)]
        return [asked.answer(count=100)]

    @pytest.mark.parametrize(
        ("option", "protocol", "payload", "asked", "count", "truncated"),
        [
            ("", "udp", None, ["udp"], 20, True),
            ("", "udp", 1232, ["udp"], 20, True),
            ("", "udp", 4096, ["udp", "tcp"], 100, False),
            ("", "tcp", None, ["tcp"], 100, False),
            ("force_tcp", "udp", 4096, ["tcp"], 100, False),
            ("force_tcp", "udp", None, ["tcp"], 29, True),
            ("prefer_udp", "tcp", None, ["udp", "tcp"], 100, False),
            ("prefer_udp\n force_tcp", "tcp", None, ["tcp"], 100, False),
        ],
    )
    def test_who_gets_what(
        self, option: str, protocol: str, payload: int | None, asked: list[str], count: int, truncated: bool
    ) -> None:
        async def test() -> None:
            async with (
                Server(self.long) as server,
                Forwarding(
                    f"forward . {server.address} {{\n {option}\n}}" if option else f"forward . {server.address}"
                ) as chain,
            ):
                options: dict[str, Any] = {} if payload is None else {"use_edns": 0, "payload": payload}
                reply = await chain.ask("www.example.com.", protocol=protocol, **options)
                assert reply is not None
                assert [query.protocol for query in server.asked] == asked
                assert len(addresses(reply)) == count
                assert bool(reply.flags & dns.flags.TC) is truncated

        run(test())


class TestNext:
    @staticmethod
    def asked(option: str, rcode: str, *, data: bool = True) -> tuple[list[str], int]:
        """The answer, and how often the second stanza's upstream was asked; the first one responds with `rcode`."""

        def first(asked: Asked) -> list[bytes]:
            reply = asked.answer(rcode=rcode)
            return [reply if data else reply[:6] + bytes(6) + asked.data[12:]]

        async def test() -> tuple[list[str], int]:
            async with (
                Server(first) as one,
                Server(lambda asked: [asked.answer("192.0.2.2")]) as two,
                Forwarding(f"forward . {one.address} {{\n {option}\n}}", f"forward . {two.address}") as chain,
            ):
                return addresses(await chain.ask("www.example.com.", use_edns=False)), len(two.asked)

        return run(test())

    @pytest.mark.parametrize(
        ("option", "rcode", "data", "expected"),
        [
            ("next NXDOMAIN", "NXDOMAIN", True, "192.0.2.2"),
            ("next REFUSED servfail", "SERVFAIL", True, "192.0.2.2"),
            ("next NXDOMAIN", "REFUSED", True, "REFUSED"),
            ("next_on_nodata", "NOERROR", False, "192.0.2.2"),
            ("next_on_nodata", "NOERROR", True, "192.0.2.1"),
            ("next_on_nodata", "NXDOMAIN", False, "NXDOMAIN"),
            ("next NXDOMAIN", "NOERROR", False, "NOERROR"),
        ],
    )
    def test_which_responses_pass(self, option: str, rcode: str, data: bool, expected: str) -> None:
        found, count = self.asked(option, rcode, data=data)
        assert found == [expected]
        assert count == (expected == "192.0.2.2")

    def test_the_last_response_is_the_answer(self) -> None:
        async def test() -> None:
            async with (
                Server(lambda asked: [asked.answer(rcode="NXDOMAIN")]) as one,
                Server(lambda asked: [asked.answer(rcode="REFUSED")]) as two,
                Forwarding(
                    f"forward . {one.address} {{\n next NXDOMAIN\n}}",
                    f"forward other.org {two.address}",
                    f"forward . {two.address} {{\n next REFUSED\n}}",
                ) as chain,
            ):
                assert addresses(await chain.ask("www.example.com.")) == ["REFUSED"]
                assert len(two.asked) == 1

        run(test())


class TestConcurrency:
    def test_identical_queries_are_asked_once(self) -> None:
        async def test() -> None:
            async with Server() as server, Forwarding(f"forward . {server.address}") as chain:
                replies = await asyncio.gather(*(chain.ask("www.example.com.", id=i) for i in range(50)))
                assert len(server.asked) == 1
                assert [reply.id for reply in replies if reply is not None] == list(range(50))
                assert {addresses(reply)[0] for reply in replies} == {"192.0.2.1"}

        run(test())

    def test_a_client_that_goes_away_takes_no_other_with_it(self) -> None:
        async def test() -> None:
            async with (
                Server(silent) as server,
                Forwarding(f"forward . {server.address} {{\n read_timeout 300ms\n}}") as chain,
            ):
                gone, stays = (asyncio.create_task(chain.ask("www.example.com.")) for _ in range(2))
                await asyncio.sleep(0.05)
                gone.cancel()
                server.behave = honest
                assert addresses(await stays) in (["192.0.2.1"], ["SERVFAIL"])
                assert plugin_of(chain).forwarders[0].waiting == 0

        run(test())

    def test_max_concurrent_refuses_what_is_above_it(self) -> None:
        async def test() -> None:
            async with (
                Server(silent) as server,
                Forwarding(f"forward . {server.address} {{\n max_concurrent 3\n read_timeout 300ms\n}}") as chain,
            ):
                waiting = [asyncio.create_task(chain.ask(f"{i}.example.com.")) for i in range(3)]
                await asyncio.sleep(0)
                reply = await chain.ask("one-too-many.example.com.", use_edns=0)
                assert addresses(reply) == ["REFUSED"]
                assert error_text(reply) == "0: concurrent queries exceeded maximum 3"
                assert [addresses(reply) for reply in await asyncio.gather(*waiting)] == [["SERVFAIL"]] * 3
                server.behave = honest
                assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]
                assert sample(plugin_of(chain), "coredns_forward_max_concurrent_rejects_total") == 1

        run(test())

    def test_without_it_there_is_a_limit_too(self) -> None:
        async def test() -> None:
            async with (
                Server(silent) as server,
                Forwarding(f"forward . {server.address} {{\n read_timeout 500ms\n}}") as chain,
            ):
                (forwarder,) = plugin_of(chain).forwarders
                query = make_query("www.example.com.")
                waiting = [asyncio.create_task(forwarder.answer(query)) for _ in range(MAX_CONCURRENT)]
                await asyncio.sleep(0)
                assert forwarder.waiting == MAX_CONCURRENT
                assert addresses(await chain.ask("www.example.com.")) == ["REFUSED"]
                await asyncio.gather(*waiting, return_exceptions=True)
                assert forwarder.waiting == 0

        run(test())

    @pytest.mark.parametrize("loop", LOOPS)
    def test_a_stop_lets_queries_finish(self, loop: str) -> None:
        async def test() -> None:
            async with Server(silent) as server:
                forwarding = Forwarding(f"forward . {server.address} {{\n read_timeout 300ms\n}}")
                chain = await forwarding.__aenter__()
                waiting = asyncio.create_task(chain.ask("www.example.com."))
                await asyncio.sleep(0.05)
                assert len(server.asked) == 1
                await chain.instance.stop()
                assert waiting.done()
                assert addresses(waiting.result()) == ["SERVFAIL"]

        run(test(), loop)


class TestUpstreams:
    def test_a_file_names_them(self, tmp_path: Path) -> None:
        (tmp_path / "resolv.conf").write_text("search a b\n# nameserver 192.0.2.9\nnameserver 127.0.0.53\noptions x\n")

        async def test() -> None:
            async with Forwarding("forward . resolv.conf", folder=str(tmp_path)) as chain:
                (forwarder,) = plugin_of(chain).forwarders
                assert [upstream.name for upstream in forwarder.engine.upstreams] == ["127.0.0.53:53"]

        run(test())

    def test_a_source_address(self) -> None:
        async def test() -> None:
            async with (
                Server() as server,
                Forwarding(f"forward . {server.address} {{\n source_address 127.0.0.3\n}}") as chain,
            ):
                for protocol in ("udp", "tcp"):
                    await chain.ask("www.example.com.", protocol=protocol)
                assert {asked.peer[0] for asked in server.asked} == {"127.0.0.3"}

        run(test())

    def test_a_source_address_that_is_not_ours_is_a_failure(self) -> None:
        async def test() -> None:
            async with (
                Server() as server,
                Forwarding(f"forward . {server.address} {{\n source_address 192.0.2.77\n}}") as chain,
            ):
                reply = await chain.ask("www.example.com.", use_edns=0)
                assert error_text(reply).startswith(
                    f"23: {server.address} attempt 1 udp: cannot assign requested address"
                )

        run(test())


class TestMetrics:
    def test_what_upstreams_did(self) -> None:
        async def test() -> None:
            async with Server() as server, Forwarding(f"forward . {server.address}") as chain:
                plugin = plugin_of(chain)
                assert sample(plugin, "coredns_forward_healthcheck_broken_total") == 0
                for i in range(5):
                    await chain.ask(f"{i}.example.com.")
                await chain.ask("www.example.com.", protocol="tcp")
                server.behave = lambda asked: [asked.answer(rcode="NXDOMAIN")]
                await chain.ask("nosuch.example.com.", protocol="tcp")
                to = {"proxy_name": "forward", "to": server.address}
                count = "coredns_proxy_request_duration_seconds_count"
                assert sample(plugin, count, **to, rcode="NOERROR") == 6
                assert sample(plugin, count, **to, rcode="NXDOMAIN") == 1
                bucket = count.replace("count", "bucket")
                assert sample(plugin, bucket, **to, rcode="NOERROR", le="8.192") == 6
                assert sample(plugin, "coredns_proxy_conn_cache_misses_total", **to, proto="tcp") == 1
                assert sample(plugin, "coredns_proxy_conn_cache_hits_total", **to, proto="tcp") == 1
                udp = [
                    sample(plugin, f"coredns_proxy_conn_cache_{name}_total", **to, proto="udp") or 0
                    for name in ("hits", "misses")
                ]
                assert sum(udp) == 5

        run(test())

    def test_failed_probes_and_upstreams_that_are_all_down(self) -> None:
        async def test() -> None:
            async with Server() as server:
                closed = server.address
            async with Forwarding(f"forward . {closed} {{\n health_check 10ms\n}}") as chain:
                plugin = plugin_of(chain)
                for _ in range(100):
                    await chain.ask("www.example.com.")
                    await asyncio.sleep(0.02)
                    if sample(plugin, "coredns_forward_healthcheck_broken_total"):
                        break
                assert sample(plugin, "coredns_forward_healthcheck_broken_total")
                failures = sample(plugin, "coredns_proxy_healthcheck_failures_total", proxy_name="forward", to=closed)
                assert failures is not None
                assert failures > 2

        run(test())
