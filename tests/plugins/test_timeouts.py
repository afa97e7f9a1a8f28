"""`timeouts`: seconds that the server waits for clients over TCP."""

from __future__ import annotations

import pytest

from tests.plugins import harness
from tests.plugins.asking import refused, warnings


def timeouts(directive: str) -> tuple[float | None, ...]:
    (built,) = harness.build(f". {{\n{directive}\nwhoami\n}}").instance.blocks
    server = built.context.server
    return server.read_timeout, server.write_timeout, server.idle_timeout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("read 10s\nwrite 20s\nidle 1m", (10.0, 20.0, 60.0)),
        ("idle 90", (None, None, 90.0)),
        ("read 24h", (86_400.0, None, None)),
    ],
)
def test_each_is_noted_and_the_others_are_left_to_the_server(options: str, expected: tuple[float | None, ...]) -> None:
    assert timeouts(f"timeouts {{\n{options}\n}}") == expected


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("timeouts", "'timeouts' says what to change in braces"),
        ("timeouts {\nread 10ms\n}", "'10ms' is out of range (from 1s to 24h)"),
        ("timeouts {\nidle 25h\n}", "'25h' is out of range (from 1s to 24h)"),
        ("timeouts {\nread\n}", "'read' needs 1 argument, not 0"),
        ("timeouts {\nraed 1s\n}", "unknown option 'raed' (did you mean 'read'?)"),
        ("timeouts {\nmaxtcpqueries 0\n}", "'0' is not a whole number, 1 or more"),
        ("timeouts 5s {\nread 1s\n}", "'5s' is too much"),
    ],
)
def test_what_is_wrong_is_said(directive: str, error: str) -> None:
    assert error in refused(f". {{\n{directive}\nwhoami\n}}")


@pytest.mark.parametrize(("count", "warned"), [("-1", False), ("128", True)])
def test_a_limit_of_queries_is_read_and_said_to_have_no_effect(
    count: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    timeouts(f"timeouts {{\nmaxtcpqueries {count}\n}}")
    assert [text.endswith("no effect") for text in warnings(caplog)] == [True] * warned
