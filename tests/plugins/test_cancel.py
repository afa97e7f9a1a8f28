"""`cancel`: no query is worked on for longer than a client waits."""

from __future__ import annotations

import asyncio

import pytest

from dnsd.plugins.cancel import Cancel, TookTooLong
from dnsd.resolve.answer import Answer
from dnsd.resolve.query import Query
from dnsd.wire.codes import Rcode
from tests.plugins.asking import Next, make_query, plugin, refused, run


@pytest.mark.parametrize(("directive", "seconds"), [("cancel", 5.001), ("cancel 1s", 1.0), ("cancel 250ms", 0.25)])
def test_the_time_it_gives(directive: str, seconds: float) -> None:
    subject = plugin(directive)
    assert isinstance(subject, Cancel)
    assert subject.seconds == seconds


def test_an_answer_in_time_passes() -> None:
    given = Answer(Rcode.NXDOMAIN)
    assert run(plugin("cancel"), make_query("a.test"), Next(given)) is given


def test_what_takes_longer_is_ended_and_fails() -> None:
    ended = asyncio.Event()

    async def never(query: Query) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError(query)

    with pytest.raises(TookTooLong, match=r"no answer within 0\.001 s") as failure:
        asyncio.run(plugin("cancel 1ms").answer(make_query("a.test"), never))
    assert ended.is_set()
    assert failure.value.rcode == Rcode.SERVFAIL


def test_a_timeout_of_somebody_else_is_not_taken_for_ours() -> None:
    async def times_out(query: Query) -> Answer:
        raise TimeoutError(query)

    with pytest.raises(TimeoutError):
        asyncio.run(plugin("cancel").answer(make_query("a.test"), times_out))


@pytest.mark.parametrize("directive", ["cancel 0", "cancel soon", "cancel 1s 2s", "cancel {\n a\n}"])
def test_what_is_no_time_is_refused(directive: str) -> None:
    assert refused(f". {{\n{directive}\n}}").startswith("Corefile:")
