"""`header`: flags of queries and replies."""

from __future__ import annotations

import dns.flags
import pytest

from dnsd.resolve.answer import Answer
from dnsd.wire import codes
from tests.plugins.asking import Next, make_query, plugin, refused, run, warnings
from tests.plugins.harness import answer


def directive(*lines: str) -> str:
    return "header {\n" + "\n".join(lines) + "\n}"


@pytest.mark.parametrize(
    ("lines", "given", "expected"),
    [
        (["response set ra"], codes.AA, codes.AA | codes.RA),
        (["response clear aa"], codes.AA | codes.RA, codes.RA),
        (["response set aa ra"], 0, codes.AA | codes.RA),
        (["set ra"], 0, codes.RA),
        (["RESPONSE Set RA"], 0, codes.RA),
        (["response set ra", "response clear ra"], 0, 0),
        (["response clear ra", "response set ra"], 0, codes.RA),
        (["query set aa"], codes.TC, codes.TC),
    ],
    ids=[
        "set", "clear", "several flags", "without a selector it is the response", "letter case does not matter",
        "the last line wins", "the last line wins, the other way", "a query's flags are not the response's",
    ],
)  # fmt: skip
def test_flags_of_a_reply(lines: list[str], given: int, expected: int) -> None:
    assert run(plugin(directive(*lines)), make_query("a.test"), Next(Answer(flags=given))).flags == expected


@pytest.mark.parametrize(
    ("lines", "given", "expected"),
    [
        (["query set rd"], 0, codes.RD),
        (["query clear rd"], dns.flags.RD | dns.flags.CD, codes.CD),
        (["response set ra"], dns.flags.RD, codes.RD),
    ],
)
def test_flags_of_a_query(lines: list[str], given: int, expected: int) -> None:
    next_ = Next()
    run(plugin(directive(*lines)), make_query("a.test", flags=given), next_)
    assert [query.message.flags for query in next_.queries] == [expected]


@pytest.mark.parametrize("line", ["query clear rd", "response clear rd", "response set rd"])
@pytest.mark.parametrize("flags", [0, dns.flags.RD])
def test_a_reply_has_the_rd_of_its_query_whatever_is_configured(line: str, flags: int) -> None:
    """RFC 1035 section 4.1.1."""
    reply = answer(f". {{\n{directive(line)}\nwhoami\n}}", "a.test", flags=flags)
    assert reply is not None
    assert reply.flags & dns.flags.RD == flags


def test_rd_of_replies_is_said_to_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    plugin(directive("response clear rd"))
    assert warnings(caplog) == ["Corefile:3:16: a reply has the query's rd (RFC 1035 section 4.1.1): no effect"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("header", "says what to change in braces"),
        (directive("response set"), "at least one flag"),
        (directive("response"), "at least one flag"),
        (directive("response raise ra"), "'raise' is not known here"),
        (directive("answer set ra"), "'answer' is not known here"),
        (directive("response set zz"), "'zz' is no flag that can be changed (one of aa, ra, rd)"),
    ],
)
def test_what_is_wrong_is_said(text: str, error: str) -> None:
    assert error in refused(f". {{\n{text}\nwhoami\n}}")
