"""`loadbalance`: orders of addresses (RFC 1794)."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import dnslib
import pytest
from dnslib import RR, DNSLabel
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.loadbalance import RoundRobin, Weighted, by_kind, parse_weights
from dnsd.plugins.textfile import TextFile, Unreadable
from dnsd.resolve.answer import ALWAYS, Answer
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.records import address, cname, record
from tests.plugins import harness
from tests.plugins.asking import Next, make_query, plugin, refused, run, warnings

NAME = (b"a", b"test")
QUERY = make_query("a.test")


def a(text: str, owner: tuple[bytes, ...] = NAME) -> RR:
    return address(owner, 60, ipaddress.ip_address(text).packed)


def mx(preference: int) -> RR:
    return record(NAME, Type.MX, 60, dnslib.MX(DNSLabel((b"mail",)), preference))


def texts(records: Sequence[RR]) -> list[str]:
    return [
        str(ipaddress.ip_address(bytes(one.rdata.data))) if one.rtype in (1, 28) else dnslib.QTYPE[one.rtype]
        for one in records
    ]


ALIAS = cname(NAME, 60, (b"b", b"test"))
TXT = record(NAME, Type.TXT, 60, dnslib.TXT("x"))
EIGHT = tuple(a(f"192.0.2.{i}") for i in range(8))
kinds = st.sampled_from([ALIAS, TXT, mx(1), mx(2), *EIGHT[:3], a("2001:db8::1")])


@given(st.lists(kinds, max_size=10), st.randoms(use_true_random=False))
def test_round_robin_loses_nothing_and_puts_kinds_in_order(records: list[RR], chance: random.Random) -> None:
    found = run(RoundRobin((), chance), QUERY, Next(Answer(answer=records, authority=records, additional=records)))
    for section in (found.answer, found.authority, found.additional):
        assert Counter(map(id, section)) == Counter(map(id, records))
        order = [{Type.CNAME: 0, Type.A: 2, Type.AAAA: 2, Type.MX: 3}.get(Type(one.rtype), 1) for one in section]
        assert order == sorted(order) or len(records) < 2


def test_round_robin_gives_each_address_the_first_place() -> None:
    subject = RoundRobin((), random.Random(1))
    first = Counter(texts(run(subject, QUERY, Next(Answer(answer=EIGHT))).answer)[0] for _ in range(400))
    assert set(first) == set(texts(EIGHT))


def test_a_kept_answer_is_rotated() -> None:
    found = run(plugin("loadbalance"), QUERY, Next(Answer(answer=EIGHT, validity=ALWAYS)))
    assert (found.rotate, found.validity) == (True, ALWAYS)


@pytest.mark.parametrize(
    ("rule", "type_", "given"),
    [
        ("errors", "A", Answer(Rcode.SERVFAIL, answer=EIGHT)),
        ("names that are not there", "A", Answer(Rcode.NXDOMAIN, answer=EIGHT)),
        ("zone transfers", "AXFR", Answer(answer=EIGHT)),
    ],
)
def test_what_is_not_touched(rule: str, type_: str, given: Answer) -> None:
    assert run(plugin("loadbalance"), make_query("a.test", type_, protocol="tcp"), Next(given)) is given, rule


@pytest.mark.parametrize("directive", ["loadbalance", "loadbalance round_robin"])
def test_round_robin_is_the_usual_policy(directive: str) -> None:
    assert type(plugin(directive)) is RoundRobin


# -- prefer


PREFER = "loadbalance {\nprefer 10.9.20.0/24 2001:db8::/32 192.168.1.0/24\n}"


@given(st.permutations([a("192.168.1.7"), a("203.0.113.1"), a("10.9.20.3"), a("2001:db8::1")]))
def test_preferred_networks_come_first_in_their_order(records: list[RR]) -> None:
    found = run(plugin(PREFER), QUERY, Next(Answer(answer=[ALIAS, *records], additional=records)))
    expected = ["10.9.20.3", "2001:db8::1", "192.168.1.7", "203.0.113.1"]
    assert texts(found.answer) == ["CNAME", *expected]
    assert texts(found.additional) == expected


def test_addresses_of_one_network_share_the_first_place() -> None:
    records = [a("203.0.113.1"), a("10.9.20.1"), a("10.9.20.2")]
    subject = plugin(PREFER)
    orders = {tuple(texts(run(subject, QUERY, Next(Answer(answer=records))).answer)) for _ in range(100)}
    assert orders == {("10.9.20.1", "10.9.20.2", "203.0.113.1"), ("10.9.20.2", "10.9.20.1", "203.0.113.1")}


@pytest.mark.parametrize(
    ("rule", "records", "keep"),
    [
        ("one order is right: it can be kept", [a("203.0.113.1"), a("10.9.20.1")], True),
        ("several are: it cannot", [a("10.9.20.2"), a("10.9.20.1")], False),
    ],
)
def test_a_preferred_order_is_not_rotated(rule: str, records: list[RR], keep: bool) -> None:
    found = run(plugin(PREFER), QUERY, Next(Answer(answer=records, validity=ALWAYS)))
    assert (found.rotate, found.validity.keep) == (False, keep), rule


# -- weighted


WEIGHTS = """\
# comment
a.test
192.0.2.1 3
192.0.2.2   1

B.test.
2001:db8::1 255
192.0.2.9 7
a.test
192.0.2.3 2
"""


def weighted(tmp_path: Path, text: str = WEIGHTS, seed: int = 1) -> Weighted:
    path = tmp_path / "weights"
    path.write_text(text)
    subject = Weighted(TextFile(str(path)), 30, lambda _: None, chance=random.Random(seed))
    subject.take(text)
    return subject


def test_a_weight_file_says_what_it_says() -> None:
    assert parse_weights(WEIGHTS, "weights") == {
        (b"a", b"test"): {bytes((192, 0, 2, 1)): 3, bytes((192, 0, 2, 2)): 1, bytes((192, 0, 2, 3)): 2},
        (b"b", b"test"): {ipaddress.ip_address("2001:db8::1").packed: 255, bytes((192, 0, 2, 9)): 7},
    }


def test_addresses_come_first_as_often_as_their_weights_say(tmp_path: Path) -> None:
    subject = weighted(tmp_path)
    given = Answer(answer=[a("192.0.2.1"), a("192.0.2.2"), a("192.0.2.3"), a("192.0.2.4")])
    first = Counter(texts(run(subject, QUERY, Next(given)).answer)[0] for _ in range(7000))
    for text, weight in (("192.0.2.1", 3), ("192.0.2.2", 1), ("192.0.2.3", 2), ("192.0.2.4", 1)):
        assert abs(first[text] / 1000 - weight) < 0.2, "the seed makes this the same on every run"


def test_only_the_first_place_is_drawn(tmp_path: Path) -> None:
    records = [ALIAS, *EIGHT]
    found = run(weighted(tmp_path), QUERY, Next(Answer(answer=records)))
    moved = [i for i, (before, after) in enumerate(zip(records, found.answer, strict=True)) if before is not after]
    assert len(moved) in (0, 2)
    assert not moved or moved[0] == 1


@pytest.mark.parametrize(
    ("rule", "type_", "records", "keep", "rotate"),
    [
        ("a name with weights is drawn anew each time", "A", [a("192.0.2.1"), a("192.0.2.2")], False, False),
        ("without weights a rotation does", "A", [a("192.0.2.1", (b"c",)), a("192.0.2.2", (b"c",))], True, True),
        ("other types are not weighted", "MX", [a("192.0.2.1"), a("192.0.2.2")], True, True),
    ],
)
def test_what_is_kept(rule: str, type_: str, records: list[RR], keep: bool, rotate: bool, tmp_path: Path) -> None:
    subject = weighted(tmp_path)
    found = run(subject, make_query("a.test", type_), Next(Answer(answer=records, validity=ALWAYS)))
    assert (found.validity.keep, found.rotate) == (keep, rotate), rule
    assert found.validity.keys == (subject.validity.keys if keep else frozenset())


def test_a_single_address_has_no_order(tmp_path: Path) -> None:
    answer = Answer(answer=[a("192.0.2.1")], validity=ALWAYS)
    assert run(weighted(tmp_path), make_query("a.test", "A"), Next(answer)) is answer


def test_new_weights_are_used_and_drop_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("a.test\n192.0.2.1 255\n")
    chain = harness.build(". {\nloadbalance weighted weights {\nreload 1ms\n}\n}", tmp_path)
    (subject,) = chain.instance.plugins
    assert isinstance(subject, Weighted)
    dropped: list[frozenset[tuple[str | bytes, ...]]] = []
    chain.clusters.listeners.append(dropped.append)

    async def scenario() -> None:
        await subject.start()
        path.write_text("a.test\n192.0.2.1 nonsense and more\n")
        await asyncio.sleep(0.02)
        path.write_text("a.test\n192.0.2.22 255\n")
        while not dropped:
            await asyncio.sleep(0.001)
        await subject.stop()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert subject.weights == {NAME: {bytes((192, 0, 2, 22)): 255}}
    assert dropped == [subject.validity.keys]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("192.0.2.1 3", "w:1: an address before the first name"),
        ("a.test\n192.0.2.1", "w:2: neither a name nor an address with its weight"),
        ("a.test\n192.0.2.1 0", "w:2: the weight '0' is not a number from 1 to 255"),
        ("a.test\n192.0.2.1 256", "w:2: the weight '256' is not a number from 1 to 255"),
        ("a.test\n192.0.2.1 x", "w:2: the weight 'x' is not a number from 1 to 255"),
        ("a.test\n192.0.2.1 1 2", "w:2: neither a name nor an address with its weight"),
        ("a..test", "w:1: empty label in name"),
    ],
)
def test_a_wrong_line_is_said(text: str, error: str) -> None:
    with pytest.raises(Unreadable) as found:
        parse_weights(text, "w")
    assert str(found.value).startswith(error)


def test_a_wrong_file_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("a.test\n192.0.2.1 0\n")
    assert f"{path}:2: the weight '0'" in refused(f". {{\nloadbalance weighted {path}\n}}")


def test_a_missing_file_may_come_later_if_somebody_looks(caplog: pytest.LogCaptureFixture) -> None:
    plugin("loadbalance weighted /nowhere/w {\nreload 10s\n}")
    assert warnings(caplog) == ["/nowhere/w: No such file or directory; looking again every 10 s"]
    assert "No such file" in refused(". {\nloadbalance weighted /nowhere/w {\nreload 0s\n}\n}")


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("loadbalance random", "'random' is not known here (one of round_robin, weighted)"),
        ("loadbalance weighted", "'loadbalance weighted' needs a weight file"),
        ("loadbalance round_robin file", "'file' is too much: 'round_robin' takes no arguments"),
        ("loadbalance {\nprefer\n}", "'prefer' needs at least 1 argument, not 0"),
        ("loadbalance {\nprefer here\n}", "'here' is not a network"),
        ("loadbalance {\nreload 5s\n}", "unknown option 'reload'"),
    ],
)
def test_what_is_wrong_is_said(directive: str, error: str) -> None:
    assert error in refused(f". {{\n{directive}\nwhoami\n}}")


def test_records_of_another_class_are_no_addresses() -> None:
    odd = RR(DNSLabel(NAME), Type.A, 3, 60, dnslib.RD(b"\1a\0\0\1"))
    assert by_kind([odd, EIGHT[0]]).others == [odd]
