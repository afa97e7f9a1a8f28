"""The memo is never noticed: after any changes and queries, a server that remembers answers says what a fresh one does.

Queries go through the real sockets, UDP in batches and TCP, and each is asked twice: the second reply is a hit.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import time
from collections import deque
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dnsd.resolve.query import Client
from dnsd.serve.face import Face
from dnsd.wire.query import HEADER
from tests.cluster.asking import cluster
from tests.cluster.worlds import Json, filled, identity, names, objects, parsed, worlds
from tests.serve.serving import Serving, serving
from tests.wire.queries import opt, query

KINDS = {"Namespace": 0, "Service": 1, "EndpointSlice": 2, "Pod": 3}
A, PTR, SRV = 1, 12, 33
AGAIN = 16
"""Questions that are asked again after every change."""
TYPES = (1, 1, 1, 28, 33, 33, 16, 5, 12, 6, 2, 65, 97, 255, 64)
"""A, AAAA, SRV, TXT, CNAME, PTR, SOA, NS; then types whose octets are letters (65 HTTPS, 97), ANY and SVCB."""

edns = st.none() | st.builds(
    opt,
    st.sampled_from([0, 100, 512, 513, 1232, 4096, 0x4141, 0x6161, 65535]),
    flags=st.sampled_from([0, 0x8000, 0x4000]),
    options=st.sampled_from(
        [
            (),
            ((10, b"ABCDabcd"),),
            ((10, b"abcdABCD"),),
            ((10, b"ABCDabcd" + b"S" * 16),),
            ((3, b""),),
            ((12, b"Aa" * 20),),
            ((12, b"aA" * 20),),
            ((3, b""), (10, b"zzzzzzzz")),
            ((8, b"\0\1\x18\0\x0a\0\0"),),
        ]
    ),
    version=st.sampled_from([0, 0, 0, 0, 1]),
)
flags = st.sampled_from([0, 0x0100, 0x0110, 0x0120, 0x0140, 0x0130])


def spelled(name: str, seed: int) -> str:
    """The name in some mixture of upper and lower case."""
    rng = random.Random(seed)
    return "".join(rng.choice((letter.lower(), letter.upper())) for letter in name)


def fields(reply: bytes) -> tuple[Any, ...]:
    """What a reply says, whatever its id and the order of addresses; the serial of a negative answer is its day's."""
    message = dns.message.from_wire(reply)
    truncated = bool(message.flags & dns.flags.TC)
    sections = []
    for section in (message.answer, message.authority, message.additional):
        rows = []
        for rrset in section:
            for data in rrset:
                text = data.to_text()
                if rrset.rdtype == dns.rdatatype.SOA and section is message.authority:
                    text = " ".join([*text.split()[:2], "SERIAL", *text.split()[3:]])
                type_ = dns.rdatatype.to_text(rrset.rdtype)
                address = rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
                rows.append((rrset.name.to_text(), rrset.ttl, type_, "" if truncated and address else text))
        sections.append(sorted(rows))
    question = [(q.name.to_text(), q.rdtype, q.rdclass) for q in message.question]
    options = [(option.otype, option.to_wire()) for option in message.options]
    return message.flags, message.rcode(), message.edns, message.payload, message.ednsflags, question, options, sections


class Honest(RuleBasedStateMachine):
    """A server that remembers, and each of its answers against one that does not."""

    options = "pods verified\nttl 5"
    more = "loadbalance"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = contextlib.AsyncExitStack()
        self.now = 1000.0
        self.id = 0
        self.asked: deque[tuple[bytes, bool]] = deque(maxlen=AGAIN)

    @initialize(world=worlds())
    def begin(self, world: dict[tuple[str, str, str], Json]) -> None:
        self.world = dict(world)
        served = cluster(self.options, filled(world), more=f"bind 127.0.0.1\n{self.more}")
        self.serving: Serving = self.runner.run(self.stack.enter_async_context(serving(served)))
        (self.front,) = served.instance.fronts.values()

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @rule(item=objects)
    def put(self, item: Json) -> None:
        self.now += 1
        self.world[identity(item)] = item
        self.serving.index.put(parsed(item), self.now)
        self.ask_again()

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if self.world:
            kind, namespace, name = data.draw(st.sampled_from(sorted(self.world)))
            self.now += 1
            del self.world[kind, namespace, name]
            kinds = {type_.__name__: type_ for type_ in self.serving.index.kinds}
            self.serving.index.delete(kinds[kind], namespace, name, self.now)
            self.ask_again()

    @rule(
        data=st.data(),
        type_=st.sampled_from(TYPES),
        flags=flags,
        edns=edns,
        class_=st.sampled_from([1, 1, 1, 1, 3]),
        tcp=st.booleans(),
        seeds=st.lists(st.integers(0, 3), min_size=1, max_size=2),
    )
    def ask(
        self,
        data: st.DataObject,
        type_: int,
        flags: int,
        edns: bytes | None,
        class_: int,
        tcp: bool,
        seeds: list[int],
    ) -> None:
        for name in data.draw(st.lists(names(self.world), min_size=1, max_size=4)):
            kind = PTR if name.endswith("arpa.") and type_ in (A, SRV) else type_
            for seed in (*seeds, seeds[0]):
                self.id = (self.id + 0x1357) & 0xFFFF
                wire = query(spelled(name, seed), kind, id_=self.id, flags=flags, class_=class_, edns=edns)
                self.runner.run(self.check(wire, tcp=tcp))
            self.asked.append((wire, tcp))

    def ask_again(self) -> None:
        """What was asked before the change and may be remembered."""
        for wire, tcp in self.asked:
            self.runner.run(self.check(wire, tcp=tcp))

    async def check(self, wire: bytes, *, tcp: bool) -> None:
        protocol = "tcp" if tcp else "udp"
        fresh = Face(self.front, "dns://127.0.0.1:0", protocol, 4, time.monotonic)
        expected = await fresh.answer(wire, Client("127.0.0.1", 40_000, protocol, "127.0.0.1", fresh.server))
        assert expected is not None
        given = await (self.serving.ask_tcp(wire) if tcp else self.serving.ask_udp(wire))
        end = wire.index(b"\0", HEADER) + 5
        assert given[:2] == wire[:2]
        assert given[HEADER:end] == wire[HEADER:end]
        assert fields(given) == fields(expected)
        assert len(given) == len(expected)

    @invariant()
    def bookkeeping_is_exact(self) -> None:
        for face in self.serving.faces if hasattr(self, "serving") else ():
            for generation in (face.memo.young, face.memo._old):
                assert generation.octets == sum(entry.cost for entry in generation.entries.values())
                readers = {key: set(generation.readers_of(key)) for key in generation.readers}
                expected: dict[Any, set[bytes]] = {}
                for entry in generation.entries.values():
                    for key in entry.keys:
                        expected.setdefault(key, set()).add(entry.key)
                assert readers == expected


class HonestWithOtherOptions(Honest):
    """The same where services without endpoints are not there, pods are taken at their word, and nothing rotates."""

    options = "pods insecure\nignore empty_service\nendpoint_pod_names\nfallthrough in-addr.arpa"
    more = ""


TestHonest = Honest.TestCase
TestHonest.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestHonestWithOtherOptions = HonestWithOtherOptions.TestCase
TestHonestWithOtherOptions.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)


def test_ids_are_not_part_of_what_is_remembered() -> None:
    """A later query with another id and spelling is a hit, and has both echoed octet for octet."""

    async def run() -> None:
        item = {"kind": "Namespace", "metadata": {"name": "shop"}}
        async with serving(cluster("", filled({identity(item): item}), more="bind 127.0.0.1")) as served:
            for id_ in (0, 0x4142, 0xFFFF):
                wire = query(spelled("shop.svc.cluster.local", id_), id_=id_)
                reply = await served.ask_udp(wire)
                assert struct.unpack_from("!H", reply) == (id_,)
                assert reply[HEADER : len(wire)] == wire[HEADER:]
            (entry,) = served.faces[0].memo.young.entries.values()
            assert entry.hits == 2

    asyncio.run(run())
