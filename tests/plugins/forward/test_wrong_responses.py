"""What an upstream, or somebody in its place, may send: nothing of it ends a query, blocks one, or answers one falsely.

CVE-2023-28452 (a forged response made the resolver give up), CVE-2023-30464, coredns#8287, RFC 5452 section 9.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import dns.edns
import dns.rrset
import pytest

from dnsd.plugins.forward.udp import MAX_STRAYS
from tests.plugins.forward.servers import (
    LOOPS,
    RAW,
    Asked,
    Forwarding,
    Server,
    addresses,
    error_text,
    honest,
    run,
    silent,
)

FAST = "read_timeout 200ms\n max_fails 0"
Wrong = Callable[[Asked], bytes]


def other_id(asked: Asked) -> bytes:
    (id_,) = struct.unpack_from("!H", asked.data)
    return struct.pack("!H", id_ ^ 1) + asked.answer("198.51.100.66")[2:]


def other_name(asked: Asked) -> bytes:
    return asked.answer("198.51.100.66").replace(b"\3www", b"\3xyz")


def other_spelling(asked: Asked) -> bytes:
    return asked.answer("198.51.100.66").replace(b"\3www", b"\3WWW")


def other_type(asked: Asked) -> bytes:
    data = bytearray(asked.answer("198.51.100.66"))
    at = data.index(b"\0\0\1\0\1")
    data[at + 1 : at + 3] = b"\0\x1c"
    return bytes(data)


def no_question(asked: Asked) -> bytes:
    return asked.data[:2] + b"\x81\x82" + bytes(8)


def two_questions(asked: Asked) -> bytes:
    data = asked.answer("198.51.100.66")
    return data[:4] + b"\0\2" + data[6:]


def a_query(asked: Asked) -> bytes:
    return asked.data


NO_ANSWER: dict[str, Wrong] = {
    "another id": other_id,
    "another name": other_name,
    "another spelling of the name": other_spelling,
    "another type": other_type,
    "no question": no_question,
    "two questions": two_questions,
    "a query": a_query,
    "nothing": lambda _: b"",
    "one octet": lambda _: b"\0",
    "the id alone": lambda asked: asked.data[:2],
    "a header": lambda asked: asked.data[:2] + b"\x81\x80" + bytes(8),
    "65,507 octets": lambda _: bytes(65_507),
}
"""Datagrams that are no answer to the question that was asked."""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("wrong", NO_ANSWER.values(), ids=NO_ANSWER)
def test_the_honest_answer_behind_it_is_taken(wrong: Wrong, loop: str) -> None:
    async def test() -> None:
        async with Server(lambda asked: [wrong(asked)] * 3 + [asked.answer()]) as server:
            async with Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain:
                assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]
            assert server.names == ["www.example.com."]

    run(test(), loop)


@pytest.mark.parametrize("wrong", NO_ANSWER.values(), ids=NO_ANSWER)
def test_alone_it_is_no_answer_and_the_next_query_is_answered(wrong: Wrong) -> None:
    async def test() -> None:
        lies = [True]
        async with (
            Server(lambda asked: [wrong(asked)] if lies[0] else [asked.answer()]) as server,
            Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain,
        ):
            reply = await chain.ask("www.example.com.", use_edns=0)
            assert addresses(reply) == ["SERVFAIL"]
            assert error_text(reply).startswith(f"22: {server.address} attempt 1 udp: i/o timeout")
            lies[0] = False
            assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]

    run(test())


def cut(asked: Asked) -> bytes:
    return asked.answer()[:-2]


def too_many_records(asked: Asked) -> bytes:
    data = asked.answer()
    return data[:6] + b"\xff\xff" + data[8:]


def pointer_loop(asked: Asked) -> bytes:
    data = asked.answer()
    at = data.index(b"\xc0\x0c")
    return data[:at] + struct.pack("!H", 0xC000 | at) + data[at + 2 :]


def longer_than_udp(asked: Asked) -> bytes:
    return asked.answer(count=255)[:6] + b"\3\xe8" + asked.answer(count=255)[8:] + bytes(40_000)


UNREADABLE: dict[str, Wrong] = {
    "cut off": cut,
    "fewer records than it says": too_many_records,
    "a name that points to itself": pointer_loop,
    "longer than anybody asked for": longer_than_udp,
}
"""Responses with the right id and question, and rubbish behind them."""


@pytest.mark.parametrize("wrong", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_asked_for_over_tcp(wrong: Wrong) -> None:
    async def test() -> None:
        async with (
            Server(lambda asked: [wrong(asked)] if asked.protocol == "udp" else [asked.answer()]) as server,
            Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain,
        ):
            assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]
            assert [asked.protocol for asked in server.asked] == ["udp", "tcp"]

    run(test())


@pytest.mark.parametrize("wrong", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_over_tcp_either_is_a_failure_that_says_so(wrong: Wrong) -> None:
    async def test() -> None:
        async with (
            Server(lambda asked: [wrong(asked)]) as server,
            Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain,
        ):
            reply = await chain.ask("www.example.com.", use_edns=0)
            assert addresses(reply) == ["SERVFAIL"]
            assert error_text(reply).startswith(f"23: {server.address} attempt 1 udp: unreadable response: ")

    run(test())


def test_the_longest_message_there_can_be_is_an_answer() -> None:
    def behave(asked: Asked) -> list[bytes]:
        data = asked.answer(count=200)
        return [data + bytes(65_535 - len(data))]

    async def test() -> None:
        async with Server(behave) as server, Forwarding(f"forward . {server.address}") as chain:
            reply = await chain.ask("www.example.com.", protocol="tcp")
            assert len(addresses(reply)) == 200

    run(test())


def test_a_chain_of_cnames_that_is_a_loop_is_not_followed() -> None:
    def behave(asked: Asked) -> list[bytes]:
        reply = dns.message.make_response(asked.message)
        for first, second in (("www", "a"), ("a", "b"), ("b", "www")):
            reply.answer.append(
                dns.rrset.from_text(f"{first}.example.com.", 60, "IN", "CNAME", f"{second}.example.com.")
            )
        return [reply.to_wire()]

    async def test() -> None:
        async with Server(behave) as server, Forwarding(f"forward . {server.address}") as chain:
            reply = await chain.ask("www.example.com.")
            assert reply is not None
            assert [str(rrset[0]) for rrset in reply.answer] == ["a.example.com.", "b.example.com.", "www.example.com."]
            assert server.names == ["www.example.com."]

    run(test())


def test_duplicates_that_come_late_answer_nothing() -> None:
    async def test() -> None:
        seen: list[bytes] = []

        def behave(asked: Asked) -> list[bytes]:
            seen.append(asked.answer("198.51.100.1" if len(seen) else "192.0.2.1"))
            return [*seen, *seen]

        async with Server(behave) as server, Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain:
            assert addresses(await chain.ask("first.example.com.")) == ["192.0.2.1"]
            for i in range(10):
                assert addresses(await chain.ask(f"{i}.example.com.")) == ["198.51.100.1"]

    run(test())


def test_a_flood_of_guesses_sends_the_query_over_tcp() -> None:
    def behave(asked: Asked) -> list[bytes]:
        return [other_id(asked)] * MAX_STRAYS if asked.protocol == "udp" else [asked.answer()]

    async def test() -> None:
        async with Server(behave) as server, Forwarding(f"forward . {server.address} {{\n max_fails 0\n}}") as chain:
            assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]
            assert [asked.protocol for asked in server.asked] == ["udp", "tcp"]

    run(test())


def test_one_guess_less_does_not() -> None:
    def behave(asked: Asked) -> list[bytes]:
        return [*[other_id(asked)] * (MAX_STRAYS - 1), asked.answer()]

    async def test() -> None:
        async with Server(behave) as server, Forwarding(f"forward . {server.address}") as chain:
            for _ in range(3):
                assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]
            assert {asked.protocol for asked in server.asked} == {"udp"}

    run(test())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_port_that_nobody_listens_on_is_known_at_once(loop: str) -> None:
    async def test() -> None:
        async with Server() as server:
            closed = server.address
        async with Forwarding(f"forward . {closed}") as chain:
            reply = await chain.ask("www.example.com.", use_edns=0)
            assert addresses(reply) == ["SERVFAIL"]
            refused = [f"{closed} attempt {i} udp: connection refused" for i in (1, 2)]
            assert error_text(reply) == f"23: {'; '.join(refused)}"  # no attempt waited for its time to be over

    run(test(), loop)


def test_a_port_that_nobody_listens_on_hands_over_to_the_next_upstream() -> None:
    async def test() -> None:
        async with Server() as server:
            closed = server.address
        async with (
            Server() as server,
            Forwarding(f"forward . {closed} {server.address} {{\n policy sequential\n}}") as chain,
        ):
            for i in range(20):
                assert addresses(await chain.ask(f"{i}.example.com.")) == ["192.0.2.1"]

    run(test())


class TestOverTcp:
    @pytest.mark.parametrize("wrong", NO_ANSWER.values(), ids=NO_ANSWER)
    def test_the_honest_answer_behind_it_is_taken(self, wrong: Wrong) -> None:
        async def test() -> None:
            async with (
                Server(lambda asked: [wrong(asked), asked.answer()]) as server,
                Forwarding(f"forward . {server.address}") as chain,
            ):
                assert addresses(await chain.ask("www.example.com.", protocol="tcp")) == ["192.0.2.1"]

        run(test())

    def test_a_message_that_never_ends_is_a_time_out(self) -> None:
        async def test() -> None:
            async with (
                Server(lambda _: [RAW + b"half a message"]) as server,
                Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain,
            ):
                reply = await chain.ask("www.example.com.", protocol="tcp", use_edns=0)
                assert error_text(reply).startswith(f"22: {server.address} attempt 1 tcp: i/o timeout")
                server.behave = honest
                assert addresses(await chain.ask("www.example.com.", protocol="tcp")) == ["192.0.2.1"]

        run(test())

    def test_a_connection_closed_without_an_answer(self) -> None:
        async def test() -> None:
            server = Server()

            def behave(asked: Asked) -> list[bytes]:
                server.connections[-1].close()
                return []

            server.behave = behave
            async with server, Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain:
                reply = await chain.ask("www.example.com.", protocol="tcp", use_edns=0)
                assert error_text(reply).startswith(f"23: {server.address} attempt 1 tcp: connection closed")
                assert len(server.connections) == 2

        run(test())


def test_many_queries_to_a_silent_upstream_all_end() -> None:
    async def test() -> None:
        async with (
            Server(silent) as server,
            Forwarding(f"forward . {server.address} {{\n {FAST}\n}}") as chain,
        ):
            replies = await asyncio.gather(*(chain.ask(f"{i}.example.com.") for i in range(500)))
            assert {addresses(reply)[0] for reply in replies} == {"SERVFAIL"}
            server.behave = honest
            assert addresses(await chain.ask("www.example.com.")) == ["192.0.2.1"]

    run(test())
