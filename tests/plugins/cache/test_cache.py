"""What is kept, for how long, and what a hit looks like. spec.md section 6.2 and 1.3, RFC 2308, RFC 9520."""

from __future__ import annotations

import asyncio
from typing import Any

import dns.flags
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.cache import FAILURE_SECONDS, MAX_FAILURES
from dnsd.plugins.cache.entries import MAX_ENTRY, MAX_RECORDS
from dnsd.plugins.cache.settings import MIN_CAPACITY
from dnsd.resolve.answer import ALWAYS, Answer, Failure, Validity
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Ede, Rcode
from dnsd.wire.records import address as address_record
from tests.plugins.cache.bench import (
    SOA,
    Bench,
    Down,
    Upstream,
    address,
    denial,
    down,
    forwarded,
    lasts,
    run,
    servfail,
    text,
)


class TestLifetime:
    @pytest.mark.parametrize(
        ("options", "ttl", "lifetime"),
        [
            ("", 60, 60),
            ("", 0, 5),
            ("", 3, 5),
            ("", 86400, 3600),
            ("", 0x7FFFFFFF, 3600),
            ("30", 3600, 30),
            ("30", 10, 10),
            ("3", 3600, 3),
            ("{ success 5000 100 }", 3600, 100),
            ("{ success 5000 100 50 }", 3, 50),
            ("{ success 5000 100 0 }", 3, 3),
            ("{ denial 5000 7 }", 60, 60),
        ],
    )
    def test_of_data(self, options: str, ttl: int, lifetime: int) -> None:
        async def test() -> None:
            bench = Bench(options, address(ttl))
            assert text(await bench.ask()) == f"NOERROR | {lifetime} 192.0.2.1"
            bench.wait(lifetime - 0.001)
            assert text(await bench.ask()) == "NOERROR | 1 192.0.2.1"
            assert bench.asked == 1
            bench.wait(0.001)
            await bench.ask()
            assert bench.asked == 2

        run(test())

    @pytest.mark.parametrize(
        ("options", "upstream", "lifetime"),
        [
            ("", denial("NXDOMAIN"), 300),
            ("", denial("NOERROR"), 300),
            ("", denial("NXDOMAIN", 3600), 300),
            ("", denial("NXDOMAIN", 100), 100),
            ("", denial("NXDOMAIN", 3600, SOA.replace("300", "7200")), 1800),
            ("", denial("NXDOMAIN", 3600, SOA.replace("300", "0")), 5),
            ("30", denial("NXDOMAIN"), 30),
            ("{ denial 5000 7 }", denial("NOERROR"), 7),
            ("{ denial 5000 900 400 }", denial("NXDOMAIN"), 400),
            ("{ success 5000 7 }", denial("NXDOMAIN"), 300),
        ],
    )
    def test_of_a_denial_which_the_soa_bounds(self, options: str, upstream: Upstream, lifetime: int) -> None:
        async def test() -> None:
            bench = Bench(options, upstream)
            first = await bench.ask()
            assert [record.ttl for record in first.authority] == [lifetime]
            bench.wait(lifetime - 1)
            assert [record.ttl for record in (await bench.ask()).authority] == [1]
            assert bench.asked == 1
            bench.wait(1)
            await bench.ask()
            assert bench.asked == 2

        run(test())

    def test_of_a_failure(self) -> None:
        async def test() -> None:
            bench = Bench(upstream=servfail)
            for wait in (0.0, 4.9):
                bench.wait(wait)
                assert text(await bench.ask()) == "SERVFAIL"
            assert bench.asked == 1
            bench.wait(0.1)
            await bench.ask()
            assert bench.asked == 2

        run(test())

    @pytest.mark.parametrize(("option", "asked"), [("servfail 60s", 1), ("servfail 0", 2)])
    def test_of_a_failure_as_the_option_says(self, option: str, asked: int) -> None:
        async def test() -> None:
            bench = Bench(f"{{ {option} }}", servfail)
            await bench.ask()
            bench.wait(50)
            await bench.ask()
            assert bench.asked == asked

        run(test())

    def test_is_the_least_of_all_sections_and_every_record_shows_it(self) -> None:
        def upstream(query: Query) -> Answer:
            return forwarded(
                query,
                "500 CNAME web.example.com.",
                "web.example.com. 400 A 192.0.2.1",
                authority=("example.com. 90 NS ns.example.com.",),
                additional=("ns.example.com. 700 A 192.0.2.53",),
            )

        async def test() -> None:
            bench = Bench(upstream=upstream)
            assert text(await bench.ask()).count("| 90 ") == 4
            bench.wait(30.5)
            assert text(await bench.ask()).count("| 60 ") == 4

        run(test())

    @given(st.integers(0, 10_000), st.lists(st.floats(0, 100), max_size=8))
    def test_a_ttl_counts_down_by_whole_seconds_and_is_never_0(self, ttl: int, waits: list[float]) -> None:
        async def test() -> None:
            bench = Bench(upstream=address(ttl))
            first = await bench.ask()
            stored, lifetime = bench.now, first.answer[0].ttl
            for wait in waits:
                bench.wait(wait)
                answer = await bench.ask()
                if bench.asked > 1:
                    assert bench.now >= stored + lifetime
                    break
                assert answer.answer[0].ttl == lifetime - int(bench.now - stored) >= 1
                assert answer.validity.until == stored + lifetime
                ticking = answer.validity.ticking
                assert ticking is not None
                assert bench.now - 1 < ticking <= bench.now

        run(test())

    def test_keepttl_shows_the_ttl_that_it_came_with(self) -> None:
        async def test() -> None:
            bench = Bench("{ keepttl }")
            await bench.ask()
            bench.wait(59)
            answer = await bench.ask()
            assert text(answer) == "NOERROR | 60 192.0.2.1"
            assert answer.validity == Validity(until=1060.0)
            bench.wait(1)
            await bench.ask()
            assert bench.asked == 2

        run(test())


NOT_KEPT: dict[str, Upstream] = {
    "truncated": address(flags=codes.AA | codes.TC),
    "REFUSED": lambda query: forwarded(query, rcode="REFUSED"),
    "FORMERR": lambda query: forwarded(query, rcode="FORMERR"),
    "NXDOMAIN without SOA": lambda query: forwarded(query, rcode="NXDOMAIN"),
    "NODATA without SOA": forwarded,
    "a CNAME that leads nowhere": lambda query: forwarded(query, "60 CNAME web.example.com."),
    "another name": lambda query: forwarded(query.asking((b"xyz", b"example", b"com")), "60 A 192.0.2.1"),
    "another type": lambda query: forwarded(query.asking(query.name, 28), "60 AAAA 2001:db8::1"),
    "more octets than an entry may have": lambda query: forwarded(
        query, *(f'60 TXT "{"x" * 250}"' for _ in range(MAX_ENTRY // 250 + 1)), "60 A 192.0.2.1"
    ),
}


@pytest.mark.parametrize("upstream", NOT_KEPT.values(), ids=NOT_KEPT)
def test_not_kept(upstream: Upstream) -> None:
    async def test() -> None:
        bench = Bench(upstream=upstream)
        first, _ = await bench.ask(), await bench.ask()
        assert bench.asked == 2
        assert not first.validity.keep
        assert len(bench.cache.success) + len(bench.cache.denial) == 0

    run(test())


KEPT: dict[str, tuple[str, Upstream]] = {
    "data": ("success", address()),
    "a CNAME with what it leads to": (
        "success",
        lambda query: forwarded(query, "60 CNAME web.example.com.", "web.example.com. 60 A 192.0.2.1"),
    ),
    "a referral": ("success", lambda query: forwarded(query, authority=("example.com. 60 NS ns.example.com.",))),
    "NXDOMAIN": ("denial", denial()),
    "NODATA": ("denial", denial("NOERROR")),
    "a CNAME to a name without data": (
        "denial",
        lambda query: forwarded(query, "60 CNAME web.example.com.", authority=(f"example.com. 60 SOA {SOA}",)),
    ),
    "SERVFAIL": ("denial", servfail),
    "NOTIMP": ("denial", lambda query: forwarded(query, rcode="NOTIMP")),
}


@pytest.mark.parametrize(("kind", "upstream"), KEPT.values(), ids=KEPT)
def test_kept(kind: str, upstream: Upstream) -> None:
    async def test() -> None:
        bench = Bench(upstream=upstream)
        first, second = await bench.ask(), await bench.ask()
        assert bench.asked == 1
        assert text(first) == text(second)
        assert second.cached == kind
        assert bench.count("entries", type=kind) == bench.count("hits_total", type=kind) == 1

    run(test())


def test_all_records_of_any() -> None:
    async def test() -> None:
        bench = Bench(upstream=lambda query: forwarded(query, "60 A 192.0.2.1", '60 TXT "x"'))
        await bench.ask(type_="ANY")
        await bench.ask(type_="ANY")
        assert bench.asked == 1

    run(test())


@pytest.mark.parametrize("type_", ["AXFR", "IXFR"])
def test_zone_transfers_pass(type_: str) -> None:
    async def test() -> None:
        answer = Answer()
        bench = Bench(upstream=lambda _: answer)
        assert await bench.ask(type_=type_) is answer
        assert bench.count("requests_total") == 0

    run(test())


class TestKey:
    """CVE-2024-0874, coredns#8272: whatever changes the answer is part of the key, and nothing else is."""

    @pytest.mark.parametrize(
        "other",
        [
            {"name": "web.example.com."},
            {"type_": "AAAA"},
            {"rdclass": "CH"},
            {"flags": dns.flags.RD | dns.flags.CD},
            {"use_edns": 0, "want_dnssec": True},
        ],
        ids=["name", "type", "class", "CD", "DO"],
    )
    def test_apart(self, other: dict[str, Any]) -> None:
        async def test() -> None:
            bench = Bench()
            await bench.ask()
            await bench.ask(**other)
            assert bench.asked == 2

        run(test())

    @pytest.mark.parametrize(
        "other",
        [
            {"name": "WWW.Example.com."},
            {"flags": 0},
            {"flags": dns.flags.RD | dns.flags.AD},
            {"use_edns": 0, "payload": 4096},
            {"protocol": "tcp"},
            {"client": "192.0.2.99"},
        ],
        ids=["letter case", "RD", "AD", "payload size", "transport", "client"],
    )
    def test_together(self, other: dict[str, Any]) -> None:
        async def test() -> None:
            bench = Bench()
            await bench.ask()
            await bench.ask(**other)
            assert bench.asked == 1

        run(test())

    @given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
    def test_types_whose_octets_are_letters_are_not_mixed_up(self, first: int, second: int) -> None:
        async def test() -> None:
            bench = Bench(upstream=denial())
            await bench.ask(type_=f"TYPE{first}")
            await bench.ask(type_=f"TYPE{second}")
            assert bench.asked == (1 if first == second and first not in (251, 252) else 2)

        run(test())


class TestFlags:
    @pytest.mark.parametrize("flags", [0, codes.AA, codes.RA, codes.AA | codes.RA])
    def test_the_first_answer_has_the_upstreams_and_a_hit_has_aa(self, flags: int) -> None:
        async def test() -> None:
            bench = Bench(upstream=address(flags=flags))
            first, second = await bench.ask(), await bench.ask()
            assert first.flags == flags
            assert second.flags == flags | codes.AA
            assert second.validity.keep
            assert not first.validity.keep  # most names are asked once

        run(test())

    @pytest.mark.parametrize(
        ("options", "ad"),
        [
            ({}, False),
            ({"flags": dns.flags.RD | dns.flags.AD}, True),
            ({"use_edns": 0, "want_dnssec": True}, True),
            ({"use_edns": 0}, False),
        ],
    )
    def test_ad_is_for_those_who_asked_for_it(self, options: dict[str, Any], ad: bool) -> None:
        async def test() -> None:
            bench = Bench(upstream=address(flags=codes.AA | codes.AD))
            for _ in range(2):
                assert bool((await bench.ask(**options)).flags & codes.AD) is ad
            await bench.ask(use_edns=0, want_dnssec=True)
            assert (await bench.ask(flags=dns.flags.RD | dns.flags.AD)).flags & codes.AD

        run(test())


class TestOwnNames:
    """What is not an upstream's is never kept, and shows the TTLs that it would have in a cache."""

    @staticmethod
    def own(ttl: int, rcode: int = Rcode.NOERROR) -> Answer:
        records = (address_record((b"web", b"shop"), ttl, bytes(4)),)
        return Answer(rcode, codes.AA, records, validity=ALWAYS)

    @pytest.mark.parametrize(("options", "ttl", "shown"), [("30", 300, 30), ("30", 0, 5), ("", 40, 40), ("30", 30, 30)])
    def test_capped_and_not_kept(self, options: str, ttl: int, shown: int) -> None:
        async def test() -> None:
            bench = Bench(options, lambda _: self.own(ttl))
            for _ in range(2):
                answer = await bench.ask()
                assert text(answer) == f"NOERROR | {shown} 0.0.0.0"
                assert answer.validity == ALWAYS
                assert answer.cached == ""
            assert bench.asked == 2

        run(test())

    def test_what_needs_no_change_is_not_changed(self) -> None:
        async def test() -> None:
            answer = self.own(30)
            bench = Bench("30", lambda _: answer)
            assert await bench.ask() is answer

        run(test())


class TestNamesLookedUpInAClusterFirst:
    """A name that the cluster did not have, and an upstream did: kept until the cluster may have it."""

    KEY = ("address", bytes(4))

    def test_a_hit_depends_on_what_was_looked_up(self) -> None:
        async def test() -> None:
            bench = Bench(upstream=address(keys=frozenset({self.KEY})))
            await bench.cache.start()
            first, second = await bench.ask(), await bench.ask()
            assert bench.asked == 1
            assert first.validity.keys == second.validity.keys == {self.KEY}

        run(test())

    def test_and_is_none_after_a_change(self) -> None:
        async def test() -> None:
            bench = Bench(upstream=address(keys=frozenset({self.KEY})))
            await bench.cache.start()
            await bench.ask()
            bench.clusters.changed(frozenset({("address", b"else")}))
            await bench.ask()
            assert bench.asked == 1
            bench.clusters.changed(frozenset({self.KEY}))
            await bench.ask()
            assert bench.asked == 2
            assert bench.cache.success._readers.keys() == {self.KEY}

        run(test())

    def test_a_change_while_the_upstream_was_asked(self) -> None:
        async def test() -> None:
            async def change() -> None:
                bench.clusters.changed(frozenset({self.KEY}))

            bench = Bench(upstream=address(keys=frozenset({self.KEY})), gate=change)
            await bench.cache.start()
            first = await bench.ask()
            assert not first.validity.keep
            await bench.ask()
            assert bench.asked == 2

        run(test())

    def test_nobody_is_told_after_the_end(self) -> None:
        async def test() -> None:
            bench = Bench()
            await bench.cache.start()
            await bench.cache.stop()
            assert bench.clusters.listeners == []

        run(test())


class TestZones:
    def test_only_names_in_the_zones_that_are_named(self) -> None:
        async def test() -> None:
            bench = Bench("example.com")
            for name in ("www.example.com.", "www.example.org.", "myexample.com."):
                await bench.ask(name)
                await bench.ask(name)
            assert bench.asked == 5

        run(test())

    @pytest.mark.parametrize(
        ("option", "upstream", "asked"),
        [
            ("disable success", address(300), 2),
            ("disable success example.com", address(300), 2),
            ("disable success example.org", address(300), 1),
            ("disable denial", address(300), 1),
            ("disable denial example.org example.com", denial(), 2),
            ("disable success", denial(), 1),
        ],
    )
    def test_disabled(self, option: str, upstream: Upstream, asked: int) -> None:
        async def test() -> None:
            bench = Bench(f"30 {{ {option} }}", upstream)
            answers = [await bench.ask() for _ in range(2)]
            assert bench.asked == asked
            for answer in answers:
                assert "| 30 " in text(answer)  # the cap is for everybody

        run(test())


class TestBounds:
    def test_no_more_answers_than_the_capacity_and_the_oldest_goes(self) -> None:
        async def test() -> None:
            bench = Bench(f"{{ success {MIN_CAPACITY} }}")
            for i in range(MIN_CAPACITY):
                await bench.ask(f"{i}.example.com.")
            await bench.ask("0.example.com.")
            await bench.ask("one-more.example.com.")
            assert len(bench.cache.success) == MIN_CAPACITY
            assert bench.count("evictions_total", type="success") == 1
            asked = bench.asked
            await bench.ask("0.example.com.")
            assert bench.asked == asked
            await bench.ask("1.example.com.")
            assert bench.asked == asked + 1

        run(test())

    def test_answers_that_are_no_octets_any_more_are_limited_by_records(self) -> None:
        def upstream(count: int) -> Upstream:
            records = [address_record((b"www", b"example", b"com"), 60, bytes(4))] * count
            return lambda _: Answer(0, codes.AA, records, forwarded=True)

        async def test() -> None:
            for count, asked in ((MAX_RECORDS, 1), (MAX_RECORDS + 1, 2)):
                bench = Bench(upstream=upstream(count))
                await bench.ask()
                bench.wait(10)
                assert text(await bench.ask()).count("| 50 " if asked == 1 else "| 60 ") == count
                assert bench.asked == asked

        run(test())

    def test_the_two_kinds_do_not_displace_each_other(self) -> None:
        async def test() -> None:
            bench = Bench(f"{{ denial {MIN_CAPACITY} }}")
            await bench.ask()
            bench.upstream = denial()
            for i in range(MIN_CAPACITY + 100):
                await bench.ask(f"{i}.example.com.")
            assert len(bench.cache.denial) == MIN_CAPACITY
            asked = bench.asked
            await bench.ask()
            assert bench.asked == asked

        run(test())


class TestOneKindForAnother:
    def test_a_denial_takes_the_place_of_data_and_data_that_of_a_denial(self) -> None:
        async def test() -> None:
            bench = Bench(upstream=address(5))
            await bench.ask()
            bench.wait(5)
            bench.upstream = denial(ttl=5)
            assert text(await bench.ask()).startswith("NXDOMAIN")
            bench.wait(5)
            bench.upstream = address(5, "192.0.2.2")
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"
            assert (len(bench.cache.success), len(bench.cache.denial)) == (1, 0)

        run(test())


class TestFailures:
    """RFC 9520: a question whose upstreams failed is not sent again at once."""

    def test_for_a_second(self) -> None:
        async def test() -> None:
            bench = Bench(upstream=down)
            for wait in (0.0, FAILURE_SECONDS - 0.01):
                bench.wait(wait)
                with pytest.raises(Down, match="attempt 1 udp: i/o timeout"):
                    await bench.ask()
            assert bench.asked == 1
            bench.wait(0.01)
            bench.upstream = address()
            assert text(await bench.ask()) == "NOERROR | 60 192.0.2.1"

        run(test())

    def test_not_where_failures_are_not_kept(self) -> None:
        async def test() -> None:
            bench = Bench("{ servfail 0 }", down)
            for _ in range(2):
                with pytest.raises(Down):
                    await bench.ask()
            assert bench.asked == 2

        run(test())

    def test_not_those_of_our_own(self) -> None:
        class Busy(Failure):
            rcode = Rcode.REFUSED
            error = Ede.OTHER

        def busy(query: Query) -> Answer:
            raise Busy("concurrent queries exceeded maximum 1")

        async def test() -> None:
            bench = Bench(upstream=busy)
            for _ in range(2):
                with pytest.raises(Busy):
                    await bench.ask()
            assert bench.asked == 2

        run(test())

    def test_no_more_than_the_limit_are_remembered(self) -> None:
        async def test() -> None:
            bench = Bench(upstream=down)
            for i in range(MAX_FAILURES + 50):
                with pytest.raises(Down):
                    await bench.ask(f"{i}.example.com.")
            assert len(bench.cache._failures) == MAX_FAILURES

        run(test())


class TestPrefetch:
    """`prefetch 3 1m 20%`: asked for three times, and less than 20 of 100 seconds left."""

    OPTIONS = "{ prefetch 3 1m 20% }"

    @staticmethod
    async def popular(bench: Bench, queries: int) -> None:
        for _ in range(queries + 1):
            await bench.ask()
            bench.wait(20)

    def test_a_popular_answer_is_fetched_anew_before_its_time_is_over(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, address(100))
            await self.popular(bench, 3)
            bench.upstream = address(100, "192.0.2.2")
            assert text(await bench.ask()) == "NOERROR | 20 192.0.2.1"
            await asyncio.sleep(0)
            assert bench.asked == 2
            assert bench.count("prefetch_total") == 1
            assert text(await bench.ask()) == "NOERROR | 100 192.0.2.2"

        run(test())

    def test_one_that_is_not_popular_is_not(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, address(100))
            await bench.ask()
            bench.wait(85)
            await bench.ask()
            await bench.ask()
            await asyncio.sleep(0)
            assert bench.asked == 1

        run(test())

    def test_nor_one_with_time_left(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, address(100))
            await self.popular(bench, 2)
            bench.wait(19)
            await bench.ask()
            await asyncio.sleep(0)
            assert bench.asked == 1

        run(test())

    def test_nor_one_that_nobody_asked_for_in_between(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, address(1000))
            for _ in range(3):
                await bench.ask()
            bench.wait(900)
            await bench.ask()
            await asyncio.sleep(0)
            assert bench.asked == 1

        run(test())

    def test_queries_count_until_it_is_popular_and_then_the_server_may_repeat_it_until_it_is_time(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, address(100))
            until = [lasts(await bench.ask(), bench.now) for _ in range(4)]
            assert until == [None, None, None, 60.0]
            bench.wait(50)
            assert lasts(await bench.ask(), bench.now) == 30.0
            bench.wait(30)
            assert lasts(await bench.ask(), bench.now) == 1.0

        run(test())

    def test_it_stays_popular(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, address(100))
            await self.popular(bench, 3)
            for _ in range(3):
                await bench.ask()
                await asyncio.sleep(0)
                bench.wait(85)
            assert bench.asked == 4

        run(test())

    def test_once_at_a_time_and_not_again_right_after_a_failure(self) -> None:
        async def test() -> None:
            gate = asyncio.Event()
            bench = Bench(self.OPTIONS, address(100))
            await self.popular(bench, 3)
            bench.gate, bench.upstream = gate.wait, down
            for _ in range(5):
                assert text(await bench.ask()) == "NOERROR | 20 192.0.2.1"
                await asyncio.sleep(0)
            assert bench.asked == 2
            gate.set()
            await asyncio.sleep(0.01)
            await bench.ask()
            await asyncio.sleep(0.01)
            assert bench.asked == 2
            bench.wait(1.0)
            await bench.ask()
            await asyncio.sleep(0.01)
            assert bench.asked == 3

        run(test())

    def test_a_stop_ends_it(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, address(100))
            await self.popular(bench, 3)
            bench.gate = asyncio.Event().wait
            await bench.ask()
            await asyncio.sleep(0)
            await bench.cache.stop()
            assert len(asyncio.all_tasks()) == 1

        run(test())


class TestMetrics:
    def test_requests_hits_and_misses(self) -> None:
        async def test() -> None:
            bench = Bench()
            for _ in range(3):
                await bench.ask()
            bench.upstream = denial()
            for _ in range(2):
                await bench.ask("nosuch.example.com.")
            assert bench.count("requests_total") == 5
            assert bench.count("misses_total") == 2
            assert bench.count("hits_total", type="success") == 2
            assert bench.count("hits_total", type="denial") == 1
            assert bench.count("entries", type="success") == bench.count("entries", type="denial") == 1

        run(test())

    def test_answers_to_another_question_are_dropped(self) -> None:
        async def test() -> None:
            bench = Bench(upstream=NOT_KEPT["another name"])
            await bench.ask()
            assert bench.count("drops_total") == 1

        run(test())
