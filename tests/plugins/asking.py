"""What a chain answers before it becomes octets: for tests of validity, and of what plugins hand on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import dns.message
import pytest

from dnsd.corefile.syntax import CorefileError
from dnsd.resolve.answer import ALWAYS, Answer
from dnsd.resolve.plugin import Plugin
from dnsd.resolve.query import Client, Query, from_message
from dnsd.wire.query import Message, accept
from tests.plugins import harness

SERVER = "dns://:53"


def make_query(
    name: str,
    type_: str = "A",
    *,
    client: str = "127.0.0.1",
    port: int = 40000,
    protocol: str = "udp",
    local: str = "127.0.0.1",
    **options: object,
) -> Query:
    """A query through the accept gate; `options` go to `dns.message.make_query`."""
    wire = dns.message.make_query(name, type_, **options).to_wire()  # type: ignore[arg-type]
    message = accept(wire)
    assert isinstance(message, Message)
    return from_message(message, Client(client, port, protocol, local, SERVER))


def resolve(
    corefile: str,
    name: str,
    type_: str = "A",
    *,
    directory: Path | str = ".",
    client: str = "127.0.0.1",
    **options: object,
) -> Answer:
    """Build, start, ask once and stop."""

    async def run() -> Answer:
        chain = harness.build(corefile, directory)
        await harness.start(chain)
        try:
            (front,) = chain.instance.fronts.values()
            return await front.resolve(make_query(name, type_, client=client, **options))  # type: ignore[arg-type]
        finally:
            await chain.instance.stop()

    return asyncio.run(run())


def plugin(directive: str, directory: Path | str = ".") -> Plugin:
    """The plugin of a Corefile with this directive and no other."""
    (only,) = harness.build(f". {{\n{directive}\n}}", directory).instance.plugins
    return only


class Next:
    """What stands behind a plugin under test: notes the queries that reach it, and says what it is told to say."""

    def __init__(self, *answers: Answer | Callable[[Query], Answer]) -> None:
        self.answers = list(answers) or [Answer(validity=ALWAYS)]
        self.queries: list[Query] = []

    async def __call__(self, query: Query) -> Answer:
        """The next answer; the last one again and again."""
        self.queries.append(query)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, Answer) else answer(query)


def run(subject: Plugin, query: Query, next_: Next | None = None) -> Answer:
    """The answer of one plugin."""
    return asyncio.run(subject.answer(query, next_ or Next()))


def refused(corefile: str) -> str:
    """The error of a Corefile that cannot be used."""
    with pytest.raises(CorefileError) as error:
        harness.build(corefile)
    return str(error.value)


def samples(subject: Plugin) -> dict[tuple[str, ...], float]:
    """The plugin's metrics: name and label values to value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in subject.metrics()
        for sample in family.samples
    }


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged from WARNING up."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
