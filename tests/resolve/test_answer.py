"""Validity: an answer made from two is as good as the worse of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dnsd.resolve.answer import ALWAYS, ONCE, Answer, Failure, NotServed, Reason, Refused, Validity
from dnsd.wire.codes import Ede, Option, Rcode

moments = st.floats(0, 1e9)
validities = st.builds(
    Validity,
    st.frozensets(st.sampled_from([("namespace", "a"), ("service", "a", "b"), ("serial",)])),
    moments | st.just(math.inf),
    st.none() | moments,
    st.booleans(),
)


@given(validities, validities)
def test_both_must_hold(one: Validity, other: Validity) -> None:
    both = one & other
    assert both == other & one
    assert both.keys == one.keys | other.keys
    assert both.until == min(one.until, other.until)
    assert both.keep == (one.keep and other.keep)
    assert both.ticking in (one.ticking, other.ticking)
    assert (both.ticking is None) == (one.ticking is other.ticking is None)


@given(validities, validities, validities)
def test_order_and_grouping_do_not_matter(a: Validity, b: Validity, c: Validity) -> None:
    assert (a & b) & c == a & (b & c)


@given(validities)
def test_always_adds_nothing_and_once_wins(validity: Validity) -> None:
    assert validity & ALWAYS == validity
    assert not (validity & ONCE).keep


def test_a_reason_with_a_cause_is_told_as_an_extended_error() -> None:
    told = Answer(reason=Reason("the cluster has not been listed yet", Ede.NOT_READY), options=((Option.NSID, b"a"),))
    assert [code for code, _ in told.sections().options] == [Option.NSID, Option.EDE]
    assert Answer(reason=Reason("for whoever explains")).sections().options == ()


def test_a_failure_has_one_rcode_and_one_reason() -> None:
    for failure, rcode in (
        (Failure("a"), Rcode.SERVFAIL),
        (NotServed("b"), Rcode.REFUSED),
        (Refused("c"), Rcode.REFUSED),
    ):
        answer = failure.answer()
        assert (answer.rcode, answer.validity.keep, answer.written) == (rcode, False, False)
        assert answer.reason is not None
        assert answer.reason.text == str(failure)


def test_records_of_our_own_beside_those_that_count_down_are_made_anew_at_the_next_tick() -> None:
    ticking = Validity(frozenset({("namespace", "shop")}), until=130.0, ticking=100.5)
    assert ticking.steady() == Validity(frozenset({("namespace", "shop")}), until=101.5)
    assert Validity(until=101.0, ticking=100.5).steady() == Validity(until=101.0)
    assert ALWAYS.steady() is ALWAYS
