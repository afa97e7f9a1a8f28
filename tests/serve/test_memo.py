"""The memo by itself: what shares an entry, what is dropped, how much it takes, how TTLs count down."""

from __future__ import annotations

import math
import struct

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.cluster.index import Key
from dnsd.resolve.answer import Validity
from dnsd.serve.memo import MAX_KEY, MEMO_OCTETS, ROTATIONS, Memo, memo_key
from dnsd.serve.tally import Labels, Tally
from dnsd.wire import records
from dnsd.wire.query import Message, accept
from dnsd.wire.reply import Sections, write
from tests.wire.queries import opt, query

LABELS = Labels("cluster.local.", 1, 0, "kubernetes", do=False)
NAME = "web.shop.svc.cluster.local"
FOREVER = Validity()


def remember(memo: Memo, data: bytes, validity: Validity = FOREVER, *, ttl: int = 5, orders: int = 1) -> None:
    """Put an answer of one address (or one a rotation) for a query."""
    message = accept(data)
    assert isinstance(message, Message)
    owner = message.question.asked
    replies = tuple(
        write(message, Sections(0, 0, [records.address(owner, ttl, bytes([10, 0, 0, i]))]), tcp=False)
        for i in range(orders)
    )
    memo.put(data, message.question.wire, replies, validity, LABELS, replies[0].size)


def reply(memo: Memo, data: bytes, now: float = 0.0) -> dns.message.Message | None:
    """What a hit gives."""
    entry = memo.find(data, now)
    if entry is None:
        return None
    return dns.message.from_wire(entry.reply(data))


def cookie(data: bytes) -> bytes:
    return query(NAME, edns=opt(options=((10, data),)))


SAME = {
    "another id": (query(NAME), query(NAME, id_=0x4241)),
    "another spelling": (query(NAME), query(NAME.upper())),
    "another client cookie": (cookie(b"abcdefgh"), cookie(b"ABCDEFGH")),
    "another cookie of any octets": (cookie(bytes(8)), cookie(b"\xff" * 8)),
    "another spelling of a name of type HTTPS": (query(NAME, 65), query(NAME.upper(), 65)),
}

DIFFERENT = {
    "type 65 and type 97, which is its lower case": (query(NAME, 65), query(NAME, 97)),
    "types whose high octets are letters": (query(NAME, 0x4100), query(NAME, 0x6100)),
    "classes that are letters": (query(NAME, class_=65), query(NAME, class_=97)),
    "EDNS sizes that are letters": (query(NAME, edns=opt(0x4141)), query(NAME, edns=opt(0x6161))),
    "RD": (query(NAME), query(NAME, flags=0)),
    "CD": (query(NAME), query(NAME, flags=0x0110)),
    "flags whose octet is a letter": (query(NAME, flags=0x0141), query(NAME, flags=0x0161)),
    "DO": (query(NAME, edns=opt()), query(NAME, edns=opt(flags=0x8000))),
    "OPT": (query(NAME), query(NAME, edns=opt())),
    "a cookie and none": (query(NAME, edns=opt()), cookie(bytes(8))),
    "padding in other letters": (
        query(NAME, edns=opt(options=((12, b"a" * 8),))),
        query(NAME, edns=opt(options=((12, b"A" * 8),))),
    ),
    "names": (query(NAME), query(f"x{NAME}")),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_shares_the_answer(one: bytes, other: bytes) -> None:
    memo = Memo(Tally())
    remember(memo, one)
    assert memo.find(other, 0.0) is not None
    memo = Memo(Tally())
    remember(memo, other)
    assert memo.find(one, 0.0) is not None


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_does_not_share_the_answer(one: bytes, other: bytes) -> None:
    for first, second in ((one, other), (other, one)):
        memo = Memo(Tally())
        remember(memo, first)
        assert memo.find(first, 0.0) is not None
        assert memo.find(second, 0.0) is None
        assert memo.get(second[2:].lower()) is None


@given(st.binary(min_size=12, max_size=80), st.binary(min_size=12, max_size=80))
def test_queries_that_share_a_key_differ_in_id_case_and_cookie_only(one: bytes, other: bytes) -> None:
    if memo_key(one) == memo_key(other):
        assert one[2:].lower() == other[2:].lower() or one[-12:-8] == other[-12:-8] == b"\0\x0a\0\x08"


def test_a_query_longer_than_any_stub_sends_is_not_remembered() -> None:
    memo = Memo(Tally())
    longest = query(NAME, edns=opt(options=((12, bytes(MAX_KEY - len(query(NAME, edns=opt())) - 4)),)))
    assert len(longest) == MAX_KEY
    remember(memo, longest)
    assert memo.find(longest, 0.0) is not None
    longer = query(NAME, edns=opt(options=((12, bytes(MAX_KEY - len(query(NAME, edns=opt())) - 3)),)))
    remember(memo, longer)
    assert memo.find(longer, 0.0) is None
    assert len(memo) == 1


@given(st.integers(0, 0xFFFF), st.lists(st.booleans(), min_size=len(NAME), max_size=len(NAME)))
def test_id_and_spelling_come_back_octet_for_octet(id_: int, upper: list[bool]) -> None:
    memo = Memo(Tally())
    remember(memo, query(NAME))
    asked = "".join(letter.upper() if up else letter for letter, up in zip(NAME, upper, strict=True))
    data = query(asked, id_=id_)
    entry = memo.find(data, 0.0)
    assert entry is not None
    assert entry.reply(data)[: len(data)] == data[:2] + b"\x81\x00\0\1\0\1\0\0\0\0" + data[12:]


def test_an_answer_for_one_query_only_is_not_remembered() -> None:
    memo = Memo(Tally())
    remember(memo, query(NAME), Validity(keep=False))
    assert len(memo) == 0


def test_a_hit_gives_the_next_rotation() -> None:
    memo = Memo(Tally())
    remember(memo, query(NAME), orders=ROTATIONS)
    seen = []
    for _ in range(2 * ROTATIONS):
        found = reply(memo, query(NAME))
        assert found is not None
        seen.append(found.answer[0][0].to_text())
    assert seen[:ROTATIONS] == seen[ROTATIONS:]
    assert sorted(seen[:ROTATIONS]) == [f"10.0.0.{i}" for i in range(ROTATIONS)]


# -- dropping


def test_a_change_drops_what_read_it_and_nothing_else() -> None:
    memo = Memo(Tally())
    web: Key = ("service", "shop", "web")
    db: Key = ("service", "shop", "db")
    shop: Key = ("namespace", "shop")
    for name, keys in (("a", {web, shop}), ("b", {db, shop}), ("c", {shop}), ("d", set())):
        remember(memo, query(name), Validity(frozenset(keys)))
    memo.drop([web])
    assert [name for name in "abcd" if memo.find(query(name), 0.0)] == ["b", "c", "d"]
    memo.drop([("service", "shop", "other"), web])
    assert len(memo) == 3
    memo.drop([shop])
    assert [name for name in "abcd" if memo.find(query(name), 0.0)] == ["d"]
    assert memo.young.readers == {}


def test_what_was_dropped_had_its_hits_counted() -> None:
    tally = Tally()
    memo = Memo(tally)
    remember(memo, query(NAME), Validity(frozenset({("serial",)})))
    for _ in range(3):
        reply(memo, query(NAME))
    memo.drop([("serial",)])
    assert tally.series[LABELS].count == 3
    memo.settle()
    assert tally.series[LABELS].count == 3, "once and no more"


def test_clearing_forgets_everything() -> None:
    memo = Memo(Tally())
    for i in range(10):
        remember(memo, query(f"n{i}"), Validity(frozenset({("namespace", str(i))})))
    memo.clear()
    assert (len(memo), memo.octets, memo.young.readers) == (0, 0, {})


def test_an_answer_given_anew_takes_the_place_of_the_old_one() -> None:
    memo = Memo(Tally())
    remember(memo, query(NAME), Validity(frozenset({("namespace", "old")})))
    remember(memo, query(NAME), Validity(frozenset({("namespace", "new")})), ttl=7)
    memo.drop([("namespace", "old")])
    found = reply(memo, query(NAME))
    assert found is not None
    assert found.answer[0].ttl == 7
    assert len(memo) == 1


# -- bounds


def test_octets_are_bounded() -> None:
    """Whatever is asked, both generations together stay within the limit; here with the real one, by large answers."""
    memo = Memo(Tally(), octets=200_000)
    for i in range(2_000):
        remember(memo, query(f"name-{i}.example"), Validity(frozenset({("service", "shop", str(i))})))
        assert memo.octets <= 200_000
    assert memo.octets > 100_000
    assert Memo(Tally())._half * 2 == MEMO_OCTETS


def test_a_flood_of_names_does_not_push_out_what_is_hot() -> None:
    memo = Memo(Tally(), octets=100_000)
    remember(memo, query(NAME))
    for i in range(3_000):
        remember(memo, query(f"flood-{i}.example"))
        if i % 20 == 0:
            assert memo.find(query(NAME), 0.0) is not None, "asked often, so it is still there"
    assert memo.find(query("flood-0.example"), 0.0) is None


def test_what_nobody_asks_for_goes() -> None:
    memo = Memo(Tally(), octets=50_000)
    remember(memo, query(NAME))
    for i in range(500):
        remember(memo, query(f"flood-{i}.example"))
    assert memo.find(query(NAME), 0.0) is None


def test_the_old_generation_is_dropped_from_as_well() -> None:
    memo = Memo(Tally(), octets=20_000)
    key: Key = ("service", "shop", "web")
    remember(memo, query(NAME), Validity(frozenset({key})))
    i = 0
    while memo.get(query(NAME)[2:].lower()) is not None:
        remember(memo, query(f"n{i}"))
        i += 1
    memo.drop([key])
    assert memo.find(query(NAME), 0.0) is None


# -- time


def test_ttls_count_down_in_whole_seconds_and_end() -> None:
    memo = Memo(Tally())
    remember(memo, query(NAME), Validity(until=110.0, ticking=100.0), ttl=10)
    for now, ttl in ((100.0, 10), (100.9, 10), (101.0, 9), (101.1, 9), (104.5, 6), (109.99, 1)):
        found = reply(memo, query(NAME), now)
        assert found is not None
        assert found.answer[0].ttl == ttl
    assert reply(memo, query(NAME), 110.0) is None
    assert len(memo) == 0


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=50))
def test_a_ttl_that_is_looked_at_often_does_not_last_longer(steps: list[float]) -> None:
    memo = Memo(Tally())
    remember(memo, query(NAME), Validity(until=math.inf, ticking=50.0), ttl=1000)
    now = 50.0
    for step in steps:
        now += step
        found = reply(memo, query(NAME), now)
        assert found is not None
        assert found.answer[0].ttl == 1000 - math.floor(now - 50.0)


def test_a_ttl_never_goes_below_zero() -> None:
    memo = Memo(Tally())
    remember(memo, query(NAME), Validity(until=math.inf, ticking=0.0), ttl=2)
    found = reply(memo, query(NAME), 5.0)
    assert found is not None
    assert found.answer[0].ttl == 0


def test_a_hit_may_be_given_only_until_its_next_tick() -> None:
    """The listeners look at `valid_until` alone before they give an answer."""
    memo = Memo(Tally())
    remember(memo, query(NAME), Validity(until=110.0, ticking=100.0), ttl=10)
    entry = memo.find(query(NAME), 103.2)
    assert entry is not None
    assert entry.valid_until == 104.0
    remember(memo, query("other"), Validity(until=110.0))
    other = memo.find(query("other"), 103.2)
    assert other is not None
    assert other.valid_until == 110.0
    assert struct.unpack_from("!I", entry.replies[0], entry.ttls[0]) == (7,)
