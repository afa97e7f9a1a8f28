"""`any`: HINFO in the place of everything (RFC 8482 section 4.2)."""

from __future__ import annotations

import pytest

from dnsd.resolve.answer import ALWAYS
from tests.plugins.asking import refused, resolve
from tests.plugins.harness import answer, records

COREFILE = """. {
    any
    hosts {
        192.0.2.1 a.test
    }
}"""


@pytest.mark.parametrize("name", ["a.test.", "nosuch.test.", ".", "A.TEST."])
def test_any_is_answered_with_hinfo_whatever_the_name(name: str) -> None:
    reply = answer(COREFILE, name, "ANY")
    assert reply is not None
    assert records(reply.answer) == [(name, 8482, "HINFO", '"ANY obsoleted" "See RFC 8482"')]


def test_other_types_pass() -> None:
    reply = answer(COREFILE, "a.test", "A")
    assert reply is not None
    assert records(reply.answer) == [("a.test.", 3600, "A", "192.0.2.1")]


def test_the_answer_stands_as_long_as_the_configuration() -> None:
    assert resolve(COREFILE, "a.test", "ANY").validity == ALWAYS


@pytest.mark.parametrize("directive", ["any everything", "any {\n ttl 5\n}"])
def test_it_takes_nothing(directive: str) -> None:
    assert refused(f". {{\n{directive}\n}}").startswith("Corefile:")
