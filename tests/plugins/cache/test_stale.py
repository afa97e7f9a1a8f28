"""`serve_stale`: answers whose time is over (RFC 8767). An answer lives for 5 seconds here."""

from __future__ import annotations

import asyncio

import pytest

from dnsd.plugins.cache import MAX_REFRESHES
from dnsd.resolve.answer import ONCE, Answer
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Ede
from tests.plugins.cache.bench import Bench, address, denial, down, forwarded, run, servfail, text

OLD, NEW = address(5, "192.0.2.1"), address(5, "192.0.2.2")
TTL = 5


async def settled() -> None:
    """Let what runs in the background end."""
    for _ in range(20):
        await asyncio.sleep(0)


async def expired(bench: Bench, after: float = 1.0) -> None:
    """An answer that came, and whose time is over."""
    await bench.ask()
    bench.wait(TTL + after)


class TestImmediate:
    OPTIONS = "{ serve_stale 1h immediate }"

    @pytest.mark.parametrize("options", ["{ serve_stale }", "{ serve_stale 1h }", OPTIONS])
    def test_what_is_stale_is_given_and_fetched_anew(self, options: str) -> None:
        async def test() -> None:
            bench = Bench(options, OLD)
            await expired(bench)
            bench.upstream = NEW
            answer = await bench.ask()
            assert text(answer) == "NOERROR | 0 192.0.2.1"
            assert answer.reason is not None
            assert answer.reason.error == Ede.STALE_ANSWER
            assert answer.reason.text == "expired 1 s ago"
            assert answer.validity == ONCE
            assert answer.flags & codes.AA
            await settled()
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"
            assert bench.asked == 2
            assert bench.count("served_stale_total") == 1

        run(test())

    def test_for_as_long_as_the_option_says(self) -> None:
        async def test() -> None:
            bench = Bench("{ serve_stale 100s }", OLD)
            await expired(bench, 99.9)
            bench.upstream = servfail
            assert text(await bench.ask()) == "NOERROR | 0 192.0.2.1"
            await settled()
            bench.wait(0.1)
            assert text(await bench.ask()) == "SERVFAIL"

        run(test())

    def test_a_stale_denial_says_so(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, denial(ttl=5))
            await expired(bench)
            answer = await bench.ask()
            assert answer.reason is not None
            assert answer.reason.error == Ede.STALE_NXDOMAIN
            assert [record.ttl for record in answer.authority] == [0]

        run(test())

    def test_the_ttl_that_the_option_says(self) -> None:
        async def test() -> None:
            bench = Bench("{ serve_stale 1h immediate 30s }", OLD)
            await expired(bench)
            assert text(await bench.ask()) == "NOERROR | 30 192.0.2.1"

        run(test())

    def test_one_refresh_at_a_time_however_many_ask(self) -> None:
        async def test() -> None:
            gate = asyncio.Event()
            bench = Bench(self.OPTIONS, OLD)
            await expired(bench)
            bench.gate = gate.wait
            answers = await asyncio.gather(*(bench.ask() for _ in range(50)))
            assert {text(answer) for answer in answers} == {"NOERROR | 0 192.0.2.1"}
            await settled()
            assert bench.asked == 2
            gate.set()
            await settled()

        run(test())

    @pytest.mark.parametrize(("recheck", "asked"), [("", 4), ("30s 10s", 2)])
    def test_after_a_failure_no_refresh_before_the_recheck(self, recheck: str, asked: int) -> None:
        async def test() -> None:
            bench = Bench(f"{{ serve_stale 1h immediate {recheck} }}", OLD)
            await expired(bench)
            bench.upstream = down
            for _ in range(3):
                assert "192.0.2.1" in text(await bench.ask())
                await settled()
                bench.wait(3)
            assert bench.asked == asked

        run(test())

    def test_failures_are_never_stale(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, servfail)
            await expired(bench)
            bench.upstream = NEW
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"

        run(test())

    def test_no_more_refreshes_than_the_limit(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, OLD)
            names = [f"{i}.example.com." for i in range(MAX_REFRESHES + 10)]
            for name in names:
                await bench.ask(name)
            bench.wait(6)
            bench.gate = asyncio.Event().wait
            for name in names:
                assert text(await bench.ask(name)) == "NOERROR | 0 192.0.2.1"
            await settled()
            assert bench.asked == len(names) + MAX_REFRESHES
            await bench.cache.stop()

        run(test())


class TestVerify:
    OPTIONS = "{ serve_stale 1h verify }"

    def test_the_upstream_is_asked_first(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, OLD)
            await expired(bench)
            bench.upstream = NEW
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"
            assert bench.asked == 2

        run(test())

    @pytest.mark.parametrize(
        "upstream",
        [
            down,
            servfail,
            lambda query: forwarded(query, rcode="REFUSED"),
            lambda query: forwarded(query, rcode="NXDOMAIN"),
            address(flags=codes.TC),
        ],
        ids=["no answer", "SERVFAIL", "REFUSED", "NXDOMAIN without SOA", "truncated"],
    )
    def test_what_is_stale_is_better_than_a_failure(self, upstream: object) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, OLD)
            await expired(bench)
            bench.upstream = upstream  # type: ignore[assignment]
            for _ in range(2):
                assert text(await bench.ask()) == "NOERROR | 0 192.0.2.1"
            bench.upstream = NEW
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"

        run(test())

    def test_a_denial_is_an_answer(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, OLD)
            await expired(bench)
            bench.upstream = denial(ttl=5)
            assert text(await bench.ask()).startswith("NXDOMAIN | 5 ")
            bench.wait(6)
            bench.upstream = down
            assert text(await bench.ask()).startswith("NXDOMAIN | 0 ")

        run(test())

    def test_a_client_waits_no_longer_than_the_option_says_and_the_answer_is_kept_when_it_comes(self) -> None:
        async def test() -> None:
            gate = asyncio.Event()
            bench = Bench("{ serve_stale 1h verify 10ms }", OLD)
            await expired(bench)
            bench.upstream, bench.gate = NEW, gate.wait
            assert text(await bench.ask()) == "NOERROR | 0 192.0.2.1"
            gate.set()
            await settled()
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"
            assert bench.asked == 2

        run(test())

    def test_all_that_ask_wait_for_one_refresh(self) -> None:
        """coredns#8571: while a refresh is under way, what is stale is not given out without waiting for it."""

        async def test() -> None:
            gate = asyncio.Event()
            bench = Bench("{ serve_stale 1h verify 5s 30s 30s }", OLD)
            await expired(bench)
            bench.upstream, bench.gate = NEW, gate.wait
            waiting = [asyncio.create_task(bench.ask()) for _ in range(20)]
            await settled()
            gate.set()
            assert {text(answer) for answer in await asyncio.gather(*waiting)} == {"NOERROR | 5 192.0.2.2"}
            assert bench.asked == 2

        run(test())

    def test_after_a_failure_what_is_stale_is_given_at_once_until_the_recheck(self) -> None:
        async def test() -> None:
            bench = Bench("{ serve_stale 1h verify 1s 30s 10s }", OLD)
            await expired(bench)
            bench.upstream = down
            await bench.ask()
            bench.upstream = NEW
            bench.wait(9.9)
            assert text(await bench.ask()) == "NOERROR | 30 192.0.2.1"
            assert bench.asked == 2
            bench.wait(0.1)
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"

        run(test())

    def test_a_panic_costs_nobody_the_stale_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        def broken(query: Query) -> Answer:
            raise ZeroDivisionError

        async def test() -> None:
            bench = Bench(self.OPTIONS, OLD)
            await expired(bench)
            bench.upstream = broken
            assert text(await bench.ask()) == "NOERROR | 0 192.0.2.1"

        run(test())
        assert "panic while refreshing www.example.com." in caplog.text


class TestPreferPositive:
    OPTIONS = "{ serve_stale 1h verify; serve_stale_policy prefer_positive }"

    def test_stale_data_is_better_than_a_new_denial(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, OLD)
            await expired(bench)
            bench.upstream = denial(ttl=5)
            for _ in range(2):
                assert text(await bench.ask()) == "NOERROR | 0 192.0.2.1"
            bench.upstream = NEW
            assert text(await bench.ask()) == "NOERROR | 5 192.0.2.2"
            assert len(bench.cache.denial) == 0

        run(test())

    def test_until_it_is_too_old(self) -> None:
        async def test() -> None:
            bench = Bench(self.OPTIONS, OLD)
            await expired(bench)
            bench.upstream = denial(ttl=5)
            bench.wait(3600)
            assert text(await bench.ask()).startswith("NXDOMAIN")

        run(test())

    def test_without_it_the_denial_counts(self) -> None:
        async def test() -> None:
            bench = Bench("{ serve_stale 1h verify }", OLD)
            await expired(bench)
            bench.upstream = denial(ttl=5)
            assert text(await bench.ask()).startswith("NXDOMAIN")

        run(test())


def test_a_failure_that_is_kept_yields_to_data_that_is_still_good() -> None:
    async def test() -> None:
        bench = Bench("{ serve_stale 1h immediate }", OLD)
        await bench.ask(flags=0)
        bench.upstream = servfail
        bench.wait(6)
        await bench.ask()
        await settled()
        assert text(await bench.ask()) == "NOERROR | 0 192.0.2.1"

    run(test())
