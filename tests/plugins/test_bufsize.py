"""`bufsize`: no reply over UDP and no query to an upstream needs IP fragments (RFC 9715)."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest

from dnsd.resolve.answer import Answer
from dnsd.wire import codes
from dnsd.wire.records import address
from tests.plugins.asking import Next, make_query, plugin, refused, run
from tests.plugins.harness import answer

MANY = "hosts {\n" + "\n".join(f"192.0.2.{i} many.test" for i in range(250)) + "\n}"


@pytest.mark.parametrize(
    ("directive", "announced", "seen"),
    [("bufsize", 4096, 1232), ("bufsize 600", 4096, 600), ("bufsize 600", 512, 512), ("bufsize 4096", 1232, 1232)],
)
def test_the_plugins_behind_see_the_lower_of_two_sizes(directive: str, announced: int, seen: int) -> None:
    next_ = Next()
    run(plugin(directive), make_query("a.test", payload=announced), next_)
    assert [query.edns and query.edns.size for query in next_.queries] == [seen]


def test_who_sends_no_opt_is_not_affected() -> None:
    next_ = Next()
    query = make_query("a.test", use_edns=False)
    run(plugin("bufsize"), query, next_)
    assert next_.queries == [query]


@pytest.mark.parametrize(
    ("rule", "directive", "protocol", "payload", "most", "truncated"),
    [
        ("a long answer is cut at the limit", "bufsize 600", "udp", 4096, 600, True),
        ("a client that takes less gets less", "bufsize 1232", "udp", 700, 700, True),
        ("what fits is whole", "bufsize 4096", "udp", 4096, 4096, False),
        ("TCP has no fragments to avoid", "bufsize 600", "tcp", 4096, 65535, False),
    ],
)
def test_replies_fit(rule: str, directive: str, protocol: str, payload: int, most: int, truncated: bool) -> None:
    reply = answer(f". {{\n{directive}\n{MANY}\n}}", "many.test", protocol=protocol, payload=payload)
    assert reply is not None
    count = sum(map(len, reply.answer))
    assert bool(reply.flags & dns.flags.TC) is truncated, rule
    assert 0 < count <= 250
    assert (count == 250) is not truncated
    size = 12 + len(b"\x04many\x04test\x00") + 4 + 16 * count + 11
    assert size <= most
    assert not truncated or size + 16 > most, "no more would have fit"


def test_the_sections_of_a_cut_answer_stay_in_order() -> None:
    records = tuple(address((b"a", b"test"), 60, bytes((192, 0, 2, i))) for i in range(30))
    given = Answer(0, codes.AA, records, records, records)
    cut = run(plugin("bufsize 512"), make_query("a.test", payload=4096), Next(given))
    assert cut.flags == codes.AA | codes.TC
    assert (tuple(cut.answer), tuple(cut.authority), tuple(cut.additional)) == (records[:29], (), ())


@pytest.mark.parametrize("size", ["511", "4097", "-1", "big"])
def test_sizes_have_bounds(size: str) -> None:
    assert "is not a whole number from 512 to 4096" in refused(f". {{\nbufsize {size}\nwhoami\n}}")
