"""The timer wheel: never early, late by less than a tick, and empty in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.forward.wheel import Wheel

TICK = 0.02
moments = st.floats(0, 1000, allow_nan=False)


@given(st.lists(moments, max_size=30), st.lists(moments, max_size=30))
def test_each_item_is_due_once_never_early_and_at_the_next_look_after_a_tick(
    whens: list[float], looks: list[float]
) -> None:
    wheel: Wheel[int] = Wheel(TICK)
    for item, when in enumerate(whens):
        wheel.add(when, item)
    seen: dict[int, float] = {}
    before = -1.0
    for now in sorted(looks):
        for item in wheel.expired(now):
            assert item not in seen
            assert now >= whens[item]
            assert before < whens[item] + TICK + 1e-9
            seen[item] = now
        before = now
    assert len(wheel) == len(whens) - len(seen)
    assert sorted([*seen, *wheel.expired(2000)]) == list(range(len(whens)))
    assert len(wheel) == 0


def test_an_item_that_is_added_again_is_due_at_the_later_call_only() -> None:
    wheel: Wheel[str] = Wheel(TICK)
    wheel.add(1.0, "x")
    wheel.add(5.0, "x")
    assert wheel.expired(4.0) == []
    assert wheel.expired(5.1) == ["x"]


def test_an_item_that_is_due_in_the_past_is_due_at_the_next_look() -> None:
    wheel: Wheel[str] = Wheel(TICK)
    wheel.expired(100.0)
    wheel.add(3.0, "x")
    assert wheel.expired(100.0 + 2 * TICK) == ["x"]


def test_an_item_that_was_discarded_is_never_due() -> None:
    wheel: Wheel[str] = Wheel(TICK)
    wheel.add(1.0, "x")
    wheel.discard("x")
    wheel.discard("x")
    assert wheel.expired(9.0) == []


def test_cleared() -> None:
    wheel: Wheel[str] = Wheel(TICK)
    wheel.add(1.0, "x")
    wheel.clear()
    assert len(wheel) == 0
    assert wheel.expired(9.0) == []
