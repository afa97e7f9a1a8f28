"""One face of a listener: a protocol and an address family, with its memo, its numbers and the way to an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from dnslib import RR
from msgspec.structs import replace

from dnsd.cluster.index import Key
from dnsd.plugins.forward.engine import Outcome
from dnsd.plugins.relay import Relay, relay_of
from dnsd.resolve.answer import Answer
from dnsd.resolve.front import Front
from dnsd.resolve.query import Client, from_message
from dnsd.serve.memo import ID, ROTATIONS, Memo
from dnsd.serve.tally import Labels, Series, Tally
from dnsd.wire.codes import Class, Type
from dnsd.wire.query import Message, accept
from dnsd.wire.reply import Sections, write
from dnsd.wire.response import Response
from dnsd.wire.size import uncompressed

DROPPED = "dropped"
"""The zone label of queries that no plugin saw, because no server block takes their name or their class."""
UNCOUNTED = ""
"""The zone label of queries that a server block without `prometheus` answered: metrics do not show them."""
COUNTED_TYPES = frozenset({1, 2, 5, 6, 12, 15, 16, 28, 33, 43, 46, 47, 48, 50, 64, 65, 251, 252, 255})
"""Types that metrics tell apart (spec.md section 7.1); a client can ask for 65,536 of them."""


class Face:
    """Turns the octets of a query into those of its reply."""

    def __init__(self, front: Front, server: str, protocol: str, family: int, clock: Callable[[], float]) -> None:
        self.front = front
        self.relay = relay_of(front) if protocol == "udp" else None
        """The short way to an upstream."""
        self.server = server
        """As metrics name the listener: `dns://:53`."""
        self.protocol = protocol
        self.family = family
        """4 or 6."""
        self.clock = clock
        self.tally = Tally()
        self.memo = Memo(self.tally)
        self._changes = 0
        self._known_labels: dict[Labels, Labels] = {}
        self._relayed: dict[tuple[Relay, bytes, int, bytes], Series] = {}
        """What is counted of queries by the short way: by type, rcode, and the octet of OPT that has DO."""

    def drop(self, keys: Iterable[Key]) -> None:
        """The cluster changed: forget what read these keys."""
        self._changes += 1
        self.memo.drop(keys)

    def use(self, front: Front) -> None:
        """Answer from another configuration from now on."""
        self._changes += 1
        self.front = front
        self.relay = relay_of(front) if self.protocol == "udp" else None
        self.memo.clear()
        self._relayed.clear()

    def relayed(self, relay: Relay, query: bytes, type_at: int, outcome: Outcome, started: float) -> bytes | None:
        """The reply to a query that took the short way; None where it has to take the other one, with its outcome."""
        reply = relay.reply(query, type_at, outcome, self.server)
        if reply is None or not isinstance(outcome, Response):
            return None
        kind = relay, query[type_at : type_at + 2], outcome.rcode, query[type_at + 11 : type_at + 12]
        series = self._relayed.get(kind)
        if series is None:
            series = self._relayed[kind] = self.tally.of(_relay_labels(*kind))
        series.add(len(query), outcome.layout.end, self.clock() - started)
        return query[:ID] + reply

    async def answer(self, data: bytes, client: Client, outcome: Outcome | None = None) -> bytes | None:
        """The reply to a query that the memo does not have, or None for silence; of several messages the first.

        `outcome` is what came of it upstream, where it was asked there already.
        """
        return next(await self.messages(data, client, outcome), None)

    async def messages(self, data: bytes, client: Client, outcome: Outcome | None = None) -> Iterator[bytes]:
        """The messages of a reply, each made when it is taken: none for silence, many for a zone transfer."""
        message = accept(data)
        if not isinstance(message, Message):
            return iter(() if message is None else (message,))
        started = self.clock()
        changes, front = self._changes, self.front
        query = from_message(message, client, outcome)
        answer = await front.resolve(query)
        labels = self._labels(message, answer)
        if answer.silent:
            self.tally.add(labels, len(data), 0, self.clock() - started)
            return iter(())
        tcp = self.protocol != "udp"
        sections = answer.sections()
        replies = tuple(write(message, order, tcp=tcp) for order in _orders(answer, sections))
        size = uncompressed(message.question, sections)
        self.tally.add(labels, len(data), size, self.clock() - started)
        current = changes == self._changes or (front is self.front and not answer.validity.keys)
        if answer.validity.keep and current:
            hit = labels._replace(cached=answer.cached) if answer.cached else labels
            hit = self._known_labels.setdefault(hit, hit)
            self.memo.put(data, message.question.wire, replies, answer.validity, hit, size)
        further = (write(message, part.sections(), tcp=tcp) for part in answer.more)
        return (reply.to_wire(message.id, message.question.wire) for reply in chain(replies[:1], further))

    def _labels(self, message: Message, answer: Answer) -> Labels:
        question, edns = message.question, message.edns
        block = self.front.block_for(question.name, question.type)
        if block is None or not block.plugins or (question.class_ != Class.IN and not self.front.any_class):
            zone = DROPPED
        else:
            zone = block.zone_text if block.counted else UNCOUNTED
        plugin = block.writer if block is not None and answer.written else ""
        type_ = question.type if question.type in COUNTED_TYPES else 0
        labels = Labels(zone, type_, answer.rcode, plugin, edns is not None and edns.do)
        return self._known_labels.setdefault(labels, labels)


def _relay_labels(relay: Relay, type_: bytes, rcode: int, do: bytes) -> Labels:
    block, number = relay.block, int.from_bytes(type_, "big")
    zone = block.zone_text if block.counted else UNCOUNTED
    return Labels(zone, number if number in COUNTED_TYPES else 0, rcode, block.writer, do > b"\0")


def _orders(answer: Answer, sections: Sections) -> Iterator[Sections]:
    """The sections in each of the orders that a kept answer steps through; the first is the one it came in."""
    yield sections
    if answer.rotate and answer.validity.keep and len(sections.answer) > 1:
        for order in rotations(sections.answer):
            yield replace(sections, answer=order)


def rotations(records: Sequence[RR]) -> Iterator[Sequence[RR]]:
    """Up to ROTATIONS - 1 more orders of `records`: each begins its run of addresses with another one."""
    first = next((i for i, record in enumerate(records) if record.rtype in (Type.A, Type.AAAA)), len(records))
    last = first
    while last < len(records) and records[last].rtype in (Type.A, Type.AAAA):
        last += 1
    run = records[first:last]
    count = min(len(run), ROTATIONS)
    for i in range(1, count):
        at = i * len(run) // count
        yield [*records[:first], *run[at:], *run[:at], *records[last:]]
