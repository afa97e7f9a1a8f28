"""The engine's rules: who is asked when, what is an answer, and when a query is given up. No sockets, no waiting."""

from __future__ import annotations

from dataclasses import replace

import dns.flags
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.forward.engine import DEADLINE, Route
from dnsd.plugins.forward.failures import NoHealthyUpstream, UpstreamTimeout, UpstreamUnreachable
from dnsd.plugins.forward.settings import HealthCheck, Policy, Stanza
from dnsd.plugins.forward.upstream import FIRST_PATIENCE, MAX_PATIENCE, MIN_PATIENCE, PROBE_TIMEOUT, Upstream
from dnsd.wire.codes import Ede, Rcode
from dnsd.wire.response import Response
from tests.plugins.forward.scripted import QUESTION, TAIL, Channel, Desk, order_of, response

STANZA = Stanza((), (), policy=Policy.SEQUENTIAL)
QUIET = replace(STANZA, health=HealthCheck(max_fails=0))
"""Without probes, so that nothing but queries is sent."""


class TestOneUpstream:
    def test_its_response_is_the_answer(self) -> None:
        desk = Desk(STANZA)
        client = desk.ask()
        desk.answer(desk.queries[0][0], address="192.0.2.7")
        assert client.text == "192.0.2.7"
        assert len(desk.engine) == len(desk.engine.wheel) == 0

    @pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NXDOMAIN", "FORMERR", "NOTIMP"])
    def test_so_is_an_error_of_its_own(self, rcode: str) -> None:
        desk = Desk(STANZA)
        client = desk.ask()
        desk.answer(desk.queries[0][0], rcode)
        assert isinstance(client.outcome, Response)
        assert client.outcome.rcode == Rcode[rcode]

    def test_silent_it_is_asked_twice_and_given_up_before_the_client_does(self) -> None:
        desk = Desk(QUIET)
        client = desk.ask()
        desk.wait(MAX_PATIENCE + 0.1)
        assert desk.counts == [2]
        desk.wait(2.8)
        assert client.text == "nothing yet"
        desk.wait(0.2)
        assert isinstance(client.outcome, UpstreamTimeout)
        assert client.outcome.error == Ede.NO_REACHABLE_AUTHORITY
        assert client.text == "192.0.2.1:53 attempt 1 udp: i/o timeout; 192.0.2.1:53 attempt 2 udp: i/o timeout"
        assert desk.udp[0].forgotten == desk.queries[0]
        assert len(desk.engine) == len(desk.engine.wheel) == 0

    def test_slow_it_may_answer_either_attempt_until_the_end(self) -> None:
        for late in (0, 1):
            desk = Desk(QUIET)
            client = desk.ask()
            desk.wait(3.9)
            desk.answer(desk.queries[0][late])
            assert client.text == "192.0.2.1"

    def test_refusing_it_fails_at_once_and_says_why(self) -> None:
        desk = Desk(QUIET)
        desk.udp[0].refuses = True
        client = desk.ask()
        assert isinstance(client.outcome, UpstreamUnreachable)
        assert client.outcome.error == Ede.NETWORK_ERROR
        assert client.text.endswith("192.0.2.1:53 attempt 2 udp: connection refused")

    def test_a_client_that_is_gone_is_not_told(self) -> None:
        desk = Desk(STANZA)
        client = desk.ask()
        client.gone = True
        desk.answer(desk.queries[0][0])
        assert client.outcome is None


class TestManyUpstreams:
    def test_a_dead_one_costs_its_patience_and_not_its_time_out(self) -> None:
        desk = Desk(STANZA, 2)
        client = desk.ask()
        desk.wait(FIRST_PATIENCE + 0.05)
        assert desk.counts == [1, 1]
        desk.answer(desk.queries[1][0])
        assert client.text == "192.0.2.1"

    def test_it_is_then_found_to_be_dead_and_asked_last(self) -> None:
        desk = Desk(STANZA, 2)
        desk.ask()
        desk.wait(FIRST_PATIENCE + 0.05)
        desk.answer(desk.queries[1][0])
        desk.wait(2.0)
        assert len(desk.probes(0)) == 1
        assert order_of(desk, 3) == [1, 1, 1]
        assert len(desk.engine) == 0

    def test_a_slow_one_that_answers_after_the_hedge_stays_well(self) -> None:
        desk = Desk(STANZA, 2)
        desk.ask()
        desk.wait(FIRST_PATIENCE + 0.05)
        desk.answer(desk.queries[1][0])
        desk.answer(desk.queries[0][0])
        desk.wait(3.0)
        assert desk.probes(0) == []
        assert order_of(desk, 1) == [0]
        assert len(desk.engine.wheel) == 0

    def test_both_answers_are_taken_once(self) -> None:
        desk = Desk(STANZA, 2)
        client = desk.ask()
        desk.wait(FIRST_PATIENCE + 0.05)
        desk.answer(desk.queries[0][0], address="192.0.2.10")
        desk.answer(desk.queries[1][0], address="192.0.2.20")
        assert client.text == "192.0.2.10"

    def test_one_that_fails_hands_over_at_once(self) -> None:
        desk = Desk(QUIET, 3)
        desk.udp[0].refuses = desk.udp[1].refuses = True
        desk.ask()
        assert desk.counts == [0, 0, 1]

    def test_one_whose_attempt_fails_later_hands_over_too(self) -> None:
        desk = Desk(QUIET, 2)
        desk.ask()
        attempt = desk.queries[0][0]
        attempt.owner.failed(attempt, "connection refused")
        assert desk.counts == [1, 1]

    @pytest.mark.parametrize(
        ("upstreams", "limit", "attempts"), [(1, 0, 2), (2, 0, 4), (3, 0, 6), (3, 2, 2), (1, 9, 2)]
    )
    def test_attempts_are_limited(self, upstreams: int, limit: int, attempts: int) -> None:
        desk = Desk(replace(QUIET, max_attempts=limit), upstreams)
        for channel in desk.udp:
            channel.refuses = True
        client = desk.ask()
        assert client.text.count("refused") == attempts

    @given(st.lists(st.floats(0.0, 1.5), max_size=12))
    def test_a_query_is_over_within_the_deadline_whatever_happens(self, events: list[float]) -> None:
        desk = Desk(STANZA, 3)
        client = desk.ask()
        for i, pause in enumerate(events):
            desk.wait(pause)
            waiting = [attempt for channel in desk.udp for attempt in channel.sent if attempt.owner.tail == TAIL]
            alive = [attempt for attempt in waiting if attempt in getattr(attempt.owner, "attempts", ())]
            if alive and i % 2:
                alive[0].owner.failed(alive[0], "gone")
        desk.wait(max(0.0, 1000.0 + DEADLINE + 0.05 - desk.now))
        assert client.done()
        assert len(desk.engine) == 0


class TestPatience:
    def test_it_is_learned(self) -> None:
        upstream = Upstream("x", Channel("udp"), Channel("tcp"))
        assert upstream.patience == FIRST_PATIENCE
        for _ in range(50):
            upstream.responded(0.1, 0)
        assert 0.1 <= upstream.patience < 0.12

    @given(st.lists(st.floats(0, 60), min_size=1))
    def test_it_has_bounds(self, seconds: list[float]) -> None:
        upstream = Upstream("x", Channel("udp"), Channel("tcp"))
        for value in seconds:
            upstream.responded(value, 0)
        assert MIN_PATIENCE <= upstream.patience <= MAX_PATIENCE


class TestCoalescing:
    def test_identical_queries_in_flight_are_asked_once(self) -> None:
        desk = Desk(STANZA)
        clients = [desk.ask() for _ in range(100)]
        assert desk.counts == [1]
        desk.answer(desk.queries[0][0])
        assert {client.text for client in clients} == {"192.0.2.1"}

    def test_they_fail_together(self) -> None:
        desk = Desk(QUIET)
        clients = [desk.ask() for _ in range(3)]
        desk.wait(4.1)
        assert all(isinstance(client.outcome, UpstreamTimeout) for client in clients)

    def test_one_that_comes_after_the_answer_is_asked_anew(self) -> None:
        desk = Desk(STANZA)
        desk.ask()
        desk.answer(desk.queries[0][0])
        desk.ask()
        assert desk.counts == [2]

    @pytest.mark.parametrize(
        "other",
        [TAIL.replace(b"www", b"WWW"), b"\1\x10" + TAIL[2:], TAIL[:-3] + b"\x1c\0\1", TAIL[:-1] + b"\3"],
        ids=["another spelling", "CD set", "another type", "another class"],
    )
    def test_others_are_asked_apart(self, other: bytes) -> None:
        desk = Desk(STANZA)
        desk.ask()
        desk.ask(tail=other, question=other[10:])
        assert len(desk.udp[0].sent) == 2

    def test_over_tcp_they_are_apart_from_those_over_udp(self) -> None:
        desk = Desk(STANZA)
        desk.ask()
        desk.ask(Route.STREAM)
        assert len(desk.tcp[0].sent) == len(desk.udp[0].sent) == 1


class TestTruncation:
    def test_a_client_over_udp_is_told(self) -> None:
        desk = Desk(STANZA)
        client = desk.ask(Route.DATAGRAM)
        desk.answer(desk.queries[0][0], flags=dns.flags.TC)
        assert isinstance(client.outcome, Response)
        assert client.outcome.flags & dns.flags.TC

    def test_who_wants_the_whole_answer_gets_it_over_tcp(self) -> None:
        desk = Desk(STANZA)
        client = desk.ask(Route.WHOLE)
        desk.answer(desk.queries[0][0], flags=dns.flags.TC)
        assert client.text == "nothing yet"
        desk.answer(desk.tcp[0].sent[0], address="192.0.2.9")
        assert client.text == "192.0.2.9"

    @pytest.mark.parametrize("silent", [True, False])
    def test_or_the_truncated_one_where_tcp_does_not_work(self, silent: bool) -> None:
        desk = Desk(QUIET)
        desk.tcp[0].refuses = not silent
        client = desk.ask(Route.WHOLE)
        desk.answer(desk.queries[0][0], flags=dns.flags.TC)
        desk.wait(4.1)
        assert isinstance(client.outcome, Response)
        assert client.outcome.flags & dns.flags.TC


class TestWrongResponses:
    def test_one_that_cannot_be_read_is_asked_for_over_tcp(self) -> None:
        desk = Desk(STANZA)
        client = desk.ask()
        attempt = desk.queries[0][0]
        attempt.owner.answered(attempt, response(attempt)[:-3])
        assert client.text == "nothing yet"
        desk.answer(desk.tcp[0].sent[0])
        assert client.text == "192.0.2.1"

    def test_over_tcp_too_it_is_the_upstreams_failure(self) -> None:
        desk = Desk(QUIET, 2)
        client = desk.ask(Route.STREAM)
        attempt = desk.tcp[0].sent[0]
        attempt.owner.answered(attempt, response(attempt)[:-3])
        desk.answer(desk.tcp[1].sent[0])
        assert client.text == "192.0.2.1"

    def test_the_failure_names_it(self) -> None:
        desk = Desk(QUIET)
        desk.tcp[0].refuses = True
        client = desk.ask()
        attempt = desk.queries[0][0]
        attempt.owner.answered(attempt, response(attempt)[:-3])
        assert client.text.startswith("192.0.2.1:53 attempt 1 udp: unreadable response: ")


class TestFailover:
    STANZA = replace(QUIET, failover=frozenset({Rcode.SERVFAIL, Rcode.REFUSED}))

    def test_the_next_one_is_asked(self) -> None:
        desk = Desk(self.STANZA, 2)
        client = desk.ask()
        desk.answer(desk.queries[0][0], "SERVFAIL")
        desk.answer(desk.queries[1][0])
        assert client.text == "192.0.2.1"

    def test_the_last_response_is_the_answer_where_all_were_tried(self) -> None:
        desk = Desk(self.STANZA, 2)
        client = desk.ask()
        desk.answer(desk.queries[0][0], "SERVFAIL")
        desk.answer(desk.queries[1][0], "REFUSED")
        assert isinstance(client.outcome, Response)
        assert client.outcome.rcode == Rcode.REFUSED
        assert desk.counts == [1, 1]

    def test_a_response_is_better_than_none(self) -> None:
        desk = Desk(self.STANZA, 2)
        client = desk.ask()
        desk.answer(desk.queries[0][0], "SERVFAIL")
        desk.wait(DEADLINE + 0.1)
        assert isinstance(client.outcome, Response)
        assert client.outcome.rcode == Rcode.SERVFAIL

    def test_other_rcodes_are_answers(self) -> None:
        desk = Desk(self.STANZA, 2)
        client = desk.ask()
        desk.answer(desk.queries[0][0], "NXDOMAIN")
        assert client.done()


class TestPolicy:
    def test_sequential_asks_the_first(self) -> None:
        assert order_of(Desk(STANZA, 3), 4) == [0, 0, 0, 0]

    def test_round_robin_takes_turns(self) -> None:
        order = order_of(Desk(replace(STANZA, policy=Policy.ROUND_ROBIN), 3), 6)
        assert order[:3] == order[3:]
        assert sorted(order[:3]) == [0, 1, 2]

    def test_random_asks_each_at_times(self) -> None:
        order = order_of(Desk(replace(STANZA, policy=Policy.RANDOM), 3), 300)
        assert all(order.count(i) > 50 for i in range(3))


class TestHealth:
    def test_a_failure_is_probed_at_once_and_then_twice_a_second(self) -> None:
        desk = Desk(STANZA)
        desk.udp[0].refuses = True
        desk.ask()
        assert desk.upstreams[0].failed_probes == 1
        desk.wait(2.05)
        assert desk.upstreams[0].failed_probes == 4

    def test_a_silent_probe_fails_after_a_second(self) -> None:
        desk = Desk(STANZA)
        desk.ask()
        desk.wait(2.05)
        assert len(desk.probes()) == 1
        desk.wait(PROBE_TIMEOUT)
        assert desk.upstreams[0].failures == 1
        desk.wait(0.55)
        assert len(desk.probes()) == 2

    def test_any_answer_makes_it_well(self) -> None:
        desk = Desk(STANZA)
        desk.ask()
        desk.wait(2.1)
        (probe,) = desk.probes()
        probe.owner.answered(probe, b"anything")
        assert desk.upstreams[0].probe is None
        desk.answer(desk.queries[0][1])
        desk.wait(5.0)
        assert len(desk.probes()) == 1

    def test_it_is_down_after_more_failures_than_allowed_and_not_asked(self) -> None:
        desk = Desk(STANZA, 2)
        desk.udp[0].refuses = True
        desk.ask()
        desk.answer(desk.queries[1][0])
        desk.wait(1.2)
        assert desk.upstreams[0].failures == 3
        desk.ask()
        desk.wait(5.0)
        assert desk.counts[1] > 1
        desk.udp[0].refuses = False
        desk.wait(1.0)
        (probe,) = desk.probes(0)
        probe.owner.answered(probe, b"")
        assert order_of(desk, 1) == [0]

    def test_where_all_are_down_somebody_is_asked_anyway(self) -> None:
        desk = self.all_down(STANZA)
        client = desk.ask()
        assert desk.engine.broken == 1
        assert sum(desk.counts) == 1
        desk.answer(next(sent for sent in desk.queries if sent)[0])
        assert client.text == "192.0.2.1"

    def test_or_the_query_fails_at_once_where_the_stanza_says_so(self) -> None:
        desk = self.all_down(replace(STANZA, fail_fast=True))
        with pytest.raises(NoHealthyUpstream, match=r"192\.0\.2\.1:53, 192\.0\.2\.2:53"):
            desk.ask()
        assert desk.counts == [0, 0]
        assert len(desk.engine) == 0

    def test_without_max_fails_nothing_is_probed(self) -> None:
        desk = Desk(QUIET, 2)
        desk.udp[0].refuses = True
        for _ in range(5):
            desk.ask()
            desk.answer(desk.queries[1][-1])
        desk.wait(3.0)
        assert desk.probes(0) == []
        assert len(desk.engine.wheel) == 0

    def test_probes_ask_for_what_the_stanza_says(self) -> None:
        health = HealthCheck(0.1, recursion=False, domain=(b"example", b"org"))
        desk = Desk(replace(STANZA, health=health))
        desk.ask()
        desk.wait(2.05)
        assert desk.probes()[0].owner.tail == b"\0\0\0\1\0\0\0\0\0\0\7example\3org\0\0\2\0\1"

    def test_probes_go_over_tcp_where_queries_do(self) -> None:
        desk = Desk(replace(STANZA, force_tcp=True))
        desk.ask(Route.STREAM)
        desk.wait(2.1)
        assert [attempt.owner.question == QUESTION for attempt in desk.tcp[0].sent] == [True, True, False]

    def test_nothing_is_probed_after_the_end(self) -> None:
        desk = Desk(STANZA)
        desk.ask()
        desk.wait(2.1)
        desk.engine.stop()
        desk.wait(5.0)
        assert len(desk.probes()) == 1

    @staticmethod
    def all_down(stanza: Stanza) -> Desk:
        desk = Desk(stanza, 2)
        for channel in desk.udp:
            channel.refuses = True
        desk.ask()
        desk.wait(1.2)
        assert [upstream.failures for upstream in desk.upstreams] == [3, 3]
        for channel in desk.udp:
            channel.refuses = False
        return desk


class TestReadTimeout:
    def test_the_next_upstream_is_asked_after_it(self) -> None:
        desk = Desk(replace(QUIET, read_timeout=0.5), 3)
        desk.ask()
        desk.wait(FIRST_PATIENCE + 0.03)
        assert desk.counts == [1, 1, 0]
        desk.wait(0.53)
        assert desk.counts == [1, 1, 1]

    def test_a_connection_that_gave_no_answer_in_time_is_told(self) -> None:
        desk = Desk(QUIET)
        desk.ask(Route.STREAM)
        desk.wait(2.1)
        assert desk.tcp[0].late == desk.tcp[0].sent[:1]
