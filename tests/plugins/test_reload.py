"""`reload`: how often the Corefile is looked at (spec.md section 6)."""

from __future__ import annotations

import pytest

from dnsd.corefile.syntax import CorefileError
from tests.plugins import harness

SAID = {
    "reload": (30.0, 15.0),
    "reload 10s": (10.0, 5.0),
    "reload 1m": (60.0, 15.0),
    "reload 10s 2s": (10.0, 2.0),
    "reload 10s 8s": (10.0, 5.0),
    "reload 2s 0s": (2.0, 0.0),
}


@pytest.mark.parametrize("directive", SAID)
def test_says_interval_and_jitter(directive: str) -> None:
    (built,) = harness.build(f".:53 {{\n{directive}\n whoami\n }}").instance.blocks
    assert built.context.server.reload == SAID[directive]


@pytest.mark.parametrize(
    "directive",
    [
        "reload 1s",
        "reload 10s 500ms",
        "reload 10",
        "reload soon",
        "reload 10s 5s 1s",
        "reload {\n a\n }",
        "reload\nreload",
    ],
)
def test_is_refused(directive: str) -> None:
    with pytest.raises(CorefileError):
        harness.build(f".:53 {{\n{directive}\n whoami\n }}")
