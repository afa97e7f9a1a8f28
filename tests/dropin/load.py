"""Clients that ask many questions a second and keep account of every one; nothing is ever asked twice.

    with Load(questions, choose=lambda: port) as load:
        ...                     # whatever must not cost a client its answer
    load.lost, load.wrong       # both empty

UDP goes in flows, as through kube-proxy: a flow is one client port, its server is chosen when it begins, and it stays
with that server although others begin elsewhere by now. TCP takes a connection a question.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from tests.process import DEADLINE
from tests.wire.queries import query

RATE = 3000
"""UDP queries a second, all clients together: what a busy cluster asks one server."""
TCP_RATE = 50
"""Connections a second."""
FLOWS = 48
"""Client ports at a time."""
FLOW_SECONDS = 0.4
"""After which a flow asks no more, and another one takes its place."""
TURN = 0.002
"""Seconds between two rounds of sending."""


class Question(NamedTuple):
    """What is asked, and what every reply to it must be."""

    name: str
    rcode: int = 0
    answers: int = 1
    """Records in the answer section."""


class Flow:
    """One client port."""

    def __init__(self, port: int, now: float) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)  # noqa: FBT003  the library's signature
        self.socket.connect(("127.0.0.1", port))
        self.port = port
        self.ends = now + FLOW_SECONDS
        self.open: dict[int, Question] = {}
        """Questions without a reply, by message id."""


class Load:
    """See the top of the module. `choose` gives the port of the server for a new flow or connection."""

    def __init__(self, questions: Sequence[Question], choose: Callable[[], int], *, tcp: bool = True) -> None:
        self.sent = 0
        self.lost: list[str] = []
        """Questions that never got a reply, and why."""
        self.wrong: list[str] = []
        """Replies that are not what they must be."""
        self._questions = itertools.cycle(questions)
        self._choose = choose
        self._stop = threading.Event()
        self._flows: list[Flow] = []
        self._leaving: list[Flow] = []
        self._threads = [threading.Thread(target=self._udp)]
        if tcp:
            self._threads.append(threading.Thread(target=self._tcp, args=(itertools.cycle(questions),)))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    # -- UDP

    def _udp(self) -> None:
        began = time.monotonic()
        turn = itertools.count()
        while not self._stop.is_set():
            now = time.monotonic()
            self._renew(now)
            due = int((now - began) * RATE) - self.sent
            if due > FLOWS:  # this thread is late: that is made up for by nobody
                began += (due - FLOWS) / RATE
                due = FLOWS
            for _ in range(due):
                self._ask(self._flows[next(turn) % FLOWS])
            self._receive(TURN)
        self._leaving += self._flows
        end = time.monotonic() + DEADLINE
        while any(flow.open for flow in self._leaving) and time.monotonic() < end:
            self._receive(0.1)
        for flow in self._leaving:
            self.lost += [f"{question.name} at port {flow.port}" for question in flow.open.values()]
            flow.socket.close()

    def _renew(self, now: float) -> None:
        self._leaving += [flow for flow in self._flows if now >= flow.ends]
        self._flows = [flow for flow in self._flows if now < flow.ends]
        while len(self._flows) < FLOWS:
            # spread over time, so that not all of them end together
            flow = Flow(self._choose(), now)
            flow.ends -= FLOW_SECONDS * len(self._flows) / FLOWS / 2
            self._flows.append(flow)
        for flow in [flow for flow in self._leaving if not flow.open]:
            self._leaving.remove(flow)
            flow.socket.close()

    def _ask(self, flow: Flow) -> None:
        question = next(self._questions)
        self.sent += 1
        id_ = self.sent & 0xFFFF
        flow.open[id_] = question
        try:
            flow.socket.send(query(question.name, id_=id_))
        except OSError as error:  # nobody listens there any more
            self.lost.append(f"{question.name} at port {flow.port}: {error}")
            del flow.open[id_]

    def _receive(self, seconds: float) -> None:
        flows = {flow.socket: flow for flow in (*self._flows, *self._leaving)}
        readable, _, _ = select.select(list(flows), [], [], seconds)
        for sock in readable:
            flow = flows[sock]
            while True:
                try:
                    reply = sock.recv(4096)
                except BlockingIOError:
                    break
                except OSError as error:
                    self.lost += [f"{question.name} at port {flow.port}: {error}" for question in flow.open.values()]
                    flow.open.clear()
                    flow.ends = 0.0
                    break
                self._check(flow.open.pop(struct.unpack_from("!H", reply)[0]), reply)

    def _check(self, question: Question, reply: bytes) -> None:
        flags, _, answers = struct.unpack_from("!3H", reply, 2)
        if (flags & 15, answers) != (question.rcode, question.answers):
            self.wrong.append(f"{question.name}: rcode {flags & 15}, {answers} records")

    # -- TCP

    def _tcp(self, questions: itertools.cycle[Question]) -> None:
        while not self._stop.wait(1 / TCP_RATE):
            question, port = next(questions), self._choose()
            try:
                reply = _over_tcp(query(question.name), port)
            except OSError as error:
                self.lost.append(f"{question.name} at port {port} over TCP: {error}")
            else:
                self._check(question, reply)


def _over_tcp(wire: bytes, port: int) -> bytes:
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), DEADLINE)) as sock:
        sock.sendall(struct.pack("!H", len(wire)) + wire)
        with sock.makefile("rb") as stream:
            prefix = stream.read(2)
            reply = stream.read(struct.unpack("!H", prefix)[0]) if len(prefix) == 2 else b""
    if len(reply) < 12:
        raise ConnectionError("the connection ended without a reply")
    return reply
