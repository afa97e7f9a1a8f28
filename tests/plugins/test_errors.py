"""`errors`: a line for each failure, or one for many (spec.md section 6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile.read import duration
from dnsd.corefile.syntax import CorefileError, Position, Word
from dnsd.plugins import errors
from dnsd.plugins.errors import MAX_PATTERN, Errors, duration_text
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.query import Client, Query, question
from dnsd.wire.name import from_text
from dnsd.wire.query import Message
from tests.plugins import harness
from tests.process import dnsd, eventually, free_port

ASKED = question(from_text("www.example.org"), 1)
QUERY = Query(Message(1, 0, ASKED, None, 33), ASKED, None, Client("127.0.0.1", 1, "udp"))


@dataclass
class Clock:
    """Timers that run when a test says so."""

    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def later(self, seconds: float, then: Callable[[], None]) -> Clock:
        self.timers.append((seconds, then))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def ring(self) -> None:
        timers, self.timers = self.timers, []
        for _, then in timers:
            then()


@dataclass
class Failing:
    """The plugin, on timers of its own, with a chain behind it that fails."""

    plugin: Errors
    clock: Clock

    def fail(self, *texts: str) -> None:
        for text in texts:

            async def behind(_: Query, text: str = text) -> Answer:
                raise Failure(text)

            with pytest.raises(Failure):
                asyncio.run(self.plugin.answer(QUERY, behind))


def failing(options: str = "") -> Failing:
    chain = harness.build(f".:53 {{\n errors {{\n{options}\n}}\n }}")
    (built,) = chain.instance.plugins
    assert isinstance(built, Errors)
    clock = Clock()
    return Failing(Errors(built._consolidations, clock.later), clock)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.fixture(autouse=True)
def _every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, errors.log.name)


def test_a_failure_is_a_line_with_rcode_name_type_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    failing().fail("connection refused")
    assert lines(caplog) == [("ERROR", "2 www.example.org. A: connection refused")]


def test_an_answer_is_no_failure_whatever_its_rcode(caplog: pytest.LogCaptureFixture) -> None:
    async def behind(_: Query) -> Answer:
        return Answer(rcode=2)

    assert asyncio.run(failing().plugin.answer(QUERY, behind)).rcode == 2
    assert lines(caplog) == []


def test_errors_that_match_are_told_in_one_line_when_the_time_from_the_first_one_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = failing('consolidate 5m ".* timeout$"')
    made.fail("read timeout", "other", "write timeout")
    assert [seconds for seconds, _ in made.clock.timers] == [300.0]
    assert lines(caplog) == [("ERROR", "2 www.example.org. A: other")]
    made.clock.ring()
    assert lines(caplog)[1:] == [("ERROR", "2 errors like '.* timeout$' occurred in last 5m0s")]


def test_the_next_error_starts_a_new_time(caplog: pytest.LogCaptureFixture) -> None:
    made = failing("consolidate 30s timeout")
    made.fail("timeout")
    made.clock.ring()
    made.fail("timeout", "timeout")
    assert len(made.clock.timers) == 1
    made.clock.ring()
    assert [text for _, text in lines(caplog)] == [
        "1 errors like 'timeout' occurred in last 30s",
        "2 errors like 'timeout' occurred in last 30s",
    ]


@pytest.mark.parametrize("level", ["warning", "error", "info", "debug"])
def test_the_line_has_the_level_that_is_asked_for(level: str, caplog: pytest.LogCaptureFixture) -> None:
    made = failing(f"consolidate 1s timeout {level}")
    made.fail("timeout")
    made.clock.ring()
    assert [name for name, _ in lines(caplog)] == [level.upper()]


def test_an_error_counts_for_the_first_expression_that_it_matches(caplog: pytest.LogCaptureFixture) -> None:
    made = failing("consolidate 1s timeout info\nconsolidate 2s read warning")
    made.fail("read timeout", "read")
    made.clock.ring()
    assert lines(caplog) == [
        ("INFO", "1 errors like 'timeout' occurred in last 1s"),
        ("WARNING", "1 errors like 'read' occurred in last 2s"),
    ]


@pytest.mark.parametrize(
    ("count", "summary"), [(1, []), (3, [("INFO", "3 errors like 'timeout' occurred in last 1s")])]
)
def test_show_first_tells_the_first_at_once_and_sums_up_where_there_were_more(
    count: int, summary: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    made = failing("consolidate 1s timeout info show_first")
    made.fail(*["timeout"] * count)
    assert lines(caplog) == [("INFO", "2 www.example.org. A: timeout")]
    made.clock.ring()
    assert lines(caplog)[1:] == summary


def test_what_is_being_counted_is_told_at_the_end_and_no_timer_is_left(caplog: pytest.LogCaptureFixture) -> None:
    made = failing("consolidate 1h timeout")
    made.fail("timeout")
    asyncio.run(made.plugin.stop())
    assert made.clock.timers == []
    assert lines(caplog) == [("ERROR", "1 errors like 'timeout' occurred in last 1h0m0s")]


@pytest.mark.parametrize(
    "options",
    [
        "consolidate",
        "consolidate 1s",
        "consolidate soon timeout",
        "consolidate 1s (",
        "consolidate 1s timeout loud",
        "consolidate 1s timeout info show_first more",
        f"consolidate 1s {'a' * (MAX_PATTERN + 1)}",
        "stacktrace always",
        "colour blue",
    ],
)
def test_is_refused(options: str) -> None:
    with pytest.raises(CorefileError):
        failing(options)


@pytest.mark.parametrize("directive", ["errors loud", "errors stdout stderr", "errors\nerrors"])
def test_a_directive_is_refused(directive: str) -> None:
    with pytest.raises(CorefileError):
        harness.build(f".:53 {{\n{directive}\n }}")


@pytest.mark.parametrize(
    "directive", ["errors stdout", "errors {\n stacktrace\n }", f"errors {{\nconsolidate 1s {'a' * MAX_PATTERN}\n}}"]
)
def test_a_directive_is_taken(directive: str) -> None:
    harness.build(f".:53 {{\n{directive}\n }}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.3, "300ms"),
        (0.0000015, "1.5µs"),
        (2e-9, "2ns"),
        (2.5, "2.5s"),
        (30, "30s"),
        (90, "1m30s"),
        (5400, "1h30m0s"),
    ],
)
def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.integers(1, 10**15))
def test_a_duration_as_written_is_read_as_it_was(nanoseconds: int) -> None:
    read = duration(Word(duration_text(nanoseconds / 1e9), Position("", 1, 1)))
    assert read == pytest.approx(nanoseconds / 1e9, rel=1e-8)


def test_a_server_tells_one_line_for_many_errors(tmp_path: Path) -> None:
    corefile = f""".:PORT {{
        bind 127.0.0.1
        errors {{
            consolidate 1s "connection refused" warning
        }}
        forward . 127.0.0.1:{free_port()}
    }}"""
    with dnsd(corefile, tmp_path) as server:
        for name in "abc":
            assert server.ask(f"{name}.example.org").rcode() == 2
        line = "errors like 'connection refused' occurred in last 1s"
        eventually(lambda: line in server.log, "the line that sums up")
        assert "[WARNING] plugin/errors: " in server.log
        assert "a.example.org" not in server.log
