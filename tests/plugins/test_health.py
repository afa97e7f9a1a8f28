"""`health`: where /health is, and how long a server goes on after SIGTERM (spec.md section 6)."""

from __future__ import annotations

import pytest

from dnsd.corefile.syntax import CorefileError
from tests.plugins import harness

SAID = {
    "health": (":8080", 0.0),
    "health localhost:8091": ("localhost:8091", 0.0),
    "health [::1]:8091": ("[::1]:8091", 0.0),
    "health {\n lameduck 5s\n }": (":8080", 5.0),
    "health :8092 {\n lameduck 1m30s\n }": (":8092", 90.0),
    "health :1 {\n lameduck 5s\n }\n health :2": (":2", 0.0),
}


@pytest.mark.parametrize("directive", SAID)
def test_says(directive: str) -> None:
    (built,) = harness.build(f".:53 {{\n{directive}\n whoami\n }}").instance.blocks
    assert (built.context.server.health, built.context.server.lameduck) == SAID[directive]


@pytest.mark.parametrize(
    "directive",
    [
        "health 8080",
        "health localhost",
        "health ::1:8080",
        "health :http",
        "health :65536",
        "health :8080 :8081",
        "health {\n lameduck\n }",
        "health {\n lameduck 5\n }",
        "health {\n lameduck 5s 6s\n }",
        "health {\n limp 5s\n }",
    ],
)
def test_is_refused(directive: str) -> None:
    with pytest.raises(CorefileError):
        harness.build(f".:53 {{\n{directive}\n whoami\n }}")
