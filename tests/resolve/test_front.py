"""The front door: which server block answers, and what is said where none does or one fails. spec.md section 1.2."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dnsd.resolve.answer import Answer, NoPlugin, Refused
from dnsd.resolve.front import Block, Front
from dnsd.resolve.plugin import Next, Plugin
from dnsd.resolve.query import Client, Query, from_message
from dnsd.wire import name as names
from dnsd.wire.codes import AA, Class, Opcode, Rcode, Type
from dnsd.wire.query import Message, accept
from tests.wire.queries import opt, query


class Says(Plugin):
    """Answers everything, with its block's zone as the reason."""

    name = "says"

    def __init__(self, zone: str) -> None:
        self.zone = zone

    async def answer(self, query: Query, next_: Next) -> Answer:
        if self.zone == "broken.test":
            raise ValueError("a bug")
        if self.zone == "refusing.test":
            raise Refused("not for you")
        if self.zone == "passing.test":
            return await next_(query)
        return Answer(flags=AA, options=((65_001, self.zone.encode()),))


class Chaos(Says):
    name = "chaos"


class Transfer(Says):
    name = "transfer"


def block(zone: str, *kinds: type[Says]) -> Block:
    return Block(names.from_text(zone), tuple(kind(zone) for kind in kinds))


def ask(front: Front, name: str, type_: int = 1, *, class_: int = 1, edns: bytes | None = None) -> Answer:
    message = accept(query(name, type_, class_=class_, edns=edns))
    assert isinstance(message, Message)
    return asyncio.run(front.resolve(from_message(message, Client("10.0.0.1", 1024, "udp"))))


def answered_by(answer: Answer) -> str:
    return answer.options[0][1].decode() if answer.options else Rcode(answer.rcode).name


FRONT = Front([block(zone, Says) for zone in ("test", "b.test", "a.b.test", "other", "broken.test", "refusing.test")])

ROUTES = [
    # name, type, which block answers
    ("test", Type.A, "test"),
    ("x.test", Type.A, "test"),
    ("b.test", Type.A, "b.test"),
    ("B.TEST", Type.A, "b.test"),
    ("x.y.b.test", Type.A, "b.test"),
    ("a.b.test", Type.A, "a.b.test"),
    ("xb.test", Type.A, "test"),
    ("atest", Type.A, "REFUSED"),
    ("", Type.A, "REFUSED"),
    ("example.org", Type.A, "REFUSED"),
    ("b.test", Type.DS, "test"),
    ("a.b.test", Type.DS, "b.test"),
    ("x.a.b.test", Type.DS, "a.b.test"),
    ("other", Type.DS, "other"),
    ("test", Type.AXFR, "REFUSED"),
    ("test", Type.IXFR, "REFUSED"),
    ("broken.test", Type.A, "SERVFAIL"),
    ("refusing.test", Type.A, "REFUSED"),
]


@pytest.mark.parametrize(("name", "type_", "who"), ROUTES)
def test_the_block_with_the_longest_zone_answers(name: str, type_: int, who: str) -> None:
    assert answered_by(ask(FRONT, name, type_)) == who


def test_the_root_takes_what_nobody_else_does() -> None:
    front = Front([block("test", Says), block(".", Says)])
    assert [answered_by(ask(front, name)) for name in ("a.test", "example.org", "")] == ["test", ".", "."]


def test_a_block_without_plugins_refuses() -> None:
    assert ask(Front([block("test")]), "a.test").rcode == Rcode.REFUSED


def test_a_chain_that_ends_fails() -> None:
    answer = ask(Front([block("passing.test", Says)]), "passing.test")
    assert answer.rcode == NoPlugin.rcode == Rcode.SERVFAIL
    assert not answer.written


def test_transfers_are_for_blocks_that_allow_them() -> None:
    assert answered_by(ask(Front([block("test", Transfer)]), "test", Type.AXFR)) == "test"


@pytest.mark.parametrize("class_", [Class.CH, Class.NONE, Class.ANY])
def test_other_classes_are_for_listeners_with_a_plugin_that_looks_at_them(class_: int) -> None:
    assert ask(FRONT, "a.test", class_=class_).rcode == Rcode.REFUSED
    front = Front([block("test", Says), block("bind", Chaos)])
    assert answered_by(ask(front, "a.test", class_=class_)) == "test"


def test_the_class_is_looked_at_before_the_version_of_edns() -> None:
    assert ask(FRONT, "a.test", class_=Class.CH, edns=opt(version=1)).rcode == Rcode.REFUSED
    assert ask(FRONT, "a.test", edns=opt(version=1)).rcode == Rcode.BADVERS
    assert ask(FRONT, "example.org", edns=opt(version=1)).rcode == Rcode.BADVERS


def test_a_plugin_that_fails_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    front = Front([block("broken.test", Says)])
    with caplog.at_level(logging.ERROR, "dnsd"):
        for _ in range(2):
            assert ask(front, "a.broken.test").rcode == Rcode.SERVFAIL
    assert front.panics == 2
    assert all("a.broken.test." in record.getMessage() and record.exc_info for record in caplog.records)


def test_opcodes_other_than_query_never_get_here() -> None:
    assert isinstance(accept(query("a.test", flags=Opcode.NOTIFY << 11)), bytes)
