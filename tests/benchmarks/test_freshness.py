"""The way from a change to its answer is timed from the change on, and only if the answer really changed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import dns.message
import dns.rrset
import pytest

from benchmarks.client import client
from benchmarks.experiments.changes import Change, delay
from benchmarks.manifests import Object
from benchmarks.processes import BenchmarkError

OWNER = "created.shop.svc.cluster.local."
CHANGE = Change({"kind": "Service"}, OWNER, "10.111.0.1")


class Responder:
    """A server with one name, that has the address which somebody sets."""

    def __init__(self) -> None:
        self.address = "10.96.0.1"
        self.asked = 0
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            message, asker = self._socket.recvfrom(512)
            if not message:
                return
            self.asked += 1
            reply = dns.message.make_response(dns.message.from_wire(message))
            reply.answer.append(dns.rrset.from_text(OWNER, 30, "IN", "A", self.address))
            self._socket.sendto(reply.to_wire(), asker)

    def close(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def responder() -> Iterator[Responder]:
    made = Responder()
    yield made
    made.close()


def test_a_change_is_asked_for_until_the_answer_has_it(responder: Responder) -> None:
    begun = time.monotonic()

    def apply(_item: Object) -> float:
        written = time.monotonic()
        asked = responder.asked
        threading.Thread(target=_change_after, args=(responder, asked + 5)).start()
        return written

    with client(responder.port) as asking:
        seconds = delay(asking, apply, CHANGE)
    assert 0 < seconds <= time.monotonic() - begun
    assert responder.asked >= 6


def _change_after(responder: Responder, asked: int) -> None:
    while responder.asked < asked:
        time.sleep(0.001)
    responder.address = CHANGE.address


def test_an_answer_that_never_follows_is_an_error(responder: Responder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.experiments.changes.LATE_SECONDS", 0.05)
    with client(responder.port) as asking, pytest.raises(BenchmarkError, match="did not become"):
        delay(asking, lambda _: time.monotonic(), CHANGE)


def test_an_answer_that_was_there_before_is_an_error(responder: Responder) -> None:
    responder.address = CHANGE.address
    with client(responder.port) as asking, pytest.raises(BenchmarkError, match="before the change"):
        delay(asking, lambda _: time.monotonic(), CHANGE)
