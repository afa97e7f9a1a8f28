"""`ready`: where /ready is, and whether it may go back (spec.md sections 3.3 and 6)."""

from __future__ import annotations

import pytest

from dnsd.corefile.syntax import CorefileError
from tests.plugins import harness

SAID = {
    "ready": (":8181", False),
    "ready localhost:1234": ("localhost:1234", False),
    "ready {\n monitor until-ready\n }": (":8181", False),
    "ready {\n monitor continuously\n }": (":8181", True),
    "ready :1 {\n monitor continuously\n monitor until-ready\n }": (":1", False),
}


@pytest.mark.parametrize("directive", SAID)
def test_says(directive: str) -> None:
    (built,) = harness.build(f".:53 {{\n{directive}\n whoami\n }}").instance.blocks
    assert (built.context.server.ready, built.context.server.ready_continuously) == SAID[directive]


@pytest.mark.parametrize(
    "directive",
    [
        "ready bla",
        "ready :1 :2",
        "ready\nready",
        "ready {\n monitor\n }",
        "ready {\n monitor sometimes\n }",
        "ready {\n monitor continuously too\n }",
        "ready {\n monitro continuously\n }",
    ],
)
def test_is_refused(directive: str) -> None:
    with pytest.raises(CorefileError):
        harness.build(f".:53 {{\n{directive}\n whoami\n }}")
