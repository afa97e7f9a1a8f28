"""A face between two configurations, and between a query and a change that overtakes it."""

from __future__ import annotations

import asyncio

from dnsd.resolve.answer import ALWAYS, Answer, Validity
from dnsd.resolve.front import Block, Front
from dnsd.resolve.plugin import Next, Plugin
from dnsd.resolve.query import Client, Query
from dnsd.serve.face import Face
from dnsd.wire import records
from tests.wire.queries import query

KEY = ("service", "shop", "web")


class Waits(Plugin):
    """Answers with an address once it may."""

    name = "waits"

    def __init__(self, number: int, validity: Validity) -> None:
        self.number = number
        self.validity = validity
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def answer(self, query: Query, next_: Next) -> Answer:  # noqa: ARG002  the plugin contract
        self.asked.set()
        await self.may.wait()
        address = records.address(query.question.asked, 5, bytes([10, 0, 0, self.number]))
        return Answer(answer=(address,), validity=self.validity)


def face(plugin: Plugin) -> Face:
    return Face(Front([Block((), (plugin,))]), "dns://:53", "udp", 4, lambda: 0.0)


async def ask(asked: Face) -> bytes | None:
    return await asked.answer(query("a.test"), Client("10.0.0.1", 1024, "udp"))


def test_an_answer_overtaken_by_a_change_is_given_and_not_remembered() -> None:
    """What it read may be what changed, and the change cannot drop what is not there yet."""

    async def run() -> None:
        plugin = Waits(1, Validity(frozenset({KEY})))
        asked = face(plugin)
        asking = asyncio.create_task(ask(asked))
        await plugin.asked.wait()
        asked.drop({KEY})
        plugin.may.set()
        assert await asking is not None
        assert len(asked.memo) == 0
        await ask(asked)
        assert len(asked.memo) == 1

    asyncio.run(run())


def test_an_answer_that_reads_nothing_of_the_cluster_is_not_overtaken() -> None:
    async def run() -> None:
        plugin = Waits(1, ALWAYS)
        asked = face(plugin)
        asking = asyncio.create_task(ask(asked))
        await plugin.asked.wait()
        asked.drop({KEY})
        plugin.may.set()
        await asking
        assert len(asked.memo) == 1

    asyncio.run(run())


def test_an_answer_of_the_old_configuration_is_not_remembered_by_the_new_one() -> None:
    async def run() -> None:
        old, new = Waits(1, ALWAYS), Waits(2, ALWAYS)
        asked = face(old)
        asking = asyncio.create_task(ask(asked))
        await old.asked.wait()
        asked.use(Front([Block((), (new,))]))
        old.may.set()
        new.may.set()
        reply = await asking
        assert reply is not None
        assert reply.endswith(bytes([10, 0, 0, 1])), "who asked the old one gets its answer"
        assert len(asked.memo) == 0
        reply = await ask(asked)
        assert reply is not None
        assert reply.endswith(bytes([10, 0, 0, 2]))

    asyncio.run(run())


def test_changing_the_configuration_forgets_every_answer() -> None:
    async def run() -> None:
        plugin = Waits(1, ALWAYS)
        plugin.may.set()
        asked = face(plugin)
        await ask(asked)
        assert len(asked.memo) == 1
        asked.use(asked.front)
        assert len(asked.memo) == 0

    asyncio.run(run())
