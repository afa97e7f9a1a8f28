"""An upstream: how to reach it, how it has been doing, and how long to wait for it. Knows no sockets and no clock."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Protocol

from dnsd.plugins.forward.settings import HealthCheck
from dnsd.plugins.forward.wheel import Wheel
from dnsd.resolve.histogram import Histogram
from dnsd.wire import codes
from dnsd.wire.codes import Class, Type
from dnsd.wire.name import to_wire
from dnsd.wire.query import HEADER

MIN_PATIENCE = 0.05
"""Seconds that an upstream always has before another one is asked too: a resolver that has to ask around takes this."""
MAX_PATIENCE = 1.0
"""Seconds after which another one is asked in any case: a stub resolver gives up after 5."""
FIRST_PATIENCE = 0.25
"""Seconds that an upstream has that has never answered yet."""
PROBE_TIMEOUT = 1.0
"""Seconds after which a probe that was not answered has failed (spec.md section 6.1)."""


class Asker(Protocol):
    """Who sends a question to an upstream, and is told what became of it."""

    tail: bytes
    """The query after its id."""
    question: bytes
    """Its question section, which the response has to repeat octet for octet."""

    def answered(self, attempt: Attempt, data: bytes) -> None:
        """A response arrived that has the id and the question of the attempt; the rest of it may be anything."""

    def failed(self, attempt: Attempt, error: str) -> None:
        """There will be no response, because of `error`."""

    def spoiled(self, attempt: Attempt, error: str) -> None:
        """A response over UDP could not be trusted, because of `error`."""

    def due(self, now: float) -> None:
        """The moment that the asker chose on the wheel has come."""


class Channel(Protocol):
    """One way to reach an upstream."""

    protocol: str
    """As metrics name it: `udp`, `tcp`, `tcp-tls` or `https`."""
    hits: int
    """Queries sent on a connection or socket that was open already."""
    misses: int
    """Queries for which one had to be opened."""

    def send(self, attempt: Attempt) -> None:
        """Send the attempt's query.

        Raises:
            OSError: it cannot be sent.
        """

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for this attempt any more."""

    def overdue(self, attempt: Attempt) -> None:
        """No response came in time, though one would still be taken."""


class Attempt:
    """One query sent to one upstream over one channel."""

    __slots__ = ("channel", "id", "late", "number", "owner", "place", "sent", "upstream")

    def __init__(self, owner: Asker, upstream: Upstream, channel: Channel, number: int, sent: float) -> None:
        self.owner = owner
        self.upstream = upstream
        self.channel = channel
        self.number = number
        """Counted from 1 in each question."""
        self.sent = sent
        self.late = False
        """Whether its time is over, though it would still be listened to."""
        self.id = b""
        """Set by the channel: the two octets of the message's id."""
        self.place: object = None
        """Set by the channel: where it keeps the attempt."""

    def __str__(self) -> str:
        return f"{self.upstream.name} attempt {self.number} {self.channel.protocol}"

    def asked(self, data: bytes) -> bool:
        """Whether this is a response to exactly the question that was sent (RFC 5452 section 9.1)."""
        return (
            len(data) > HEADER
            and data[2] >= 0x80
            and data[4:6] == b"\0\1"
            and data.startswith(self.owner.question, HEADER)
        )


def cause(error: OSError) -> str:
    """What went wrong, in the words that the reference has too: `connection refused`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) or not error.errno:
        return str(error)
    return os.strerror(error.errno).lower()


class Upstream:
    """A server that is asked."""

    def __init__(self, name: str, datagram: Channel | None, stream: Channel) -> None:
        self.name = name
        """Address and port."""
        self.datagram = datagram
        """None where it is reached over TLS or HTTPS."""
        self.stream = stream
        self.durations: dict[int, Histogram] = {}
        """Seconds until a response came, by its rcode."""
        self.probe: Probe | None = None
        """At work from the first failure to the next response."""
        self.failures = 0
        """Probes in a row that failed."""
        self.failed_probes = 0
        """Probes that ever failed."""
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def patience(self) -> float:
        """Seconds to wait for a response before somebody else is asked too: what it usually takes, and some.

        Mean and deviation are smoothed as TCP does (RFC 6298 section 2).
        """
        if self._mean is None:
            return FIRST_PATIENCE
        return min(max(self._mean + 4 * self._deviation, MIN_PATIENCE), MAX_PATIENCE)

    def responded(self, seconds: float, rcode: int) -> None:
        """A response came after `seconds`."""
        mean = self._mean
        if mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            difference = seconds - mean
            self._mean = mean + difference / 8
            self._deviation += (abs(difference) - self._deviation) / 4
        durations = self.durations.get(rcode)
        if durations is None:
            durations = self.durations[rcode] = Histogram()
        durations.add(seconds)


class Probe:
    """Asks an upstream that failed for NS records until it answers something, whatever that is."""

    def __init__(
        self,
        upstream: Upstream,
        settings: HealthCheck,
        channel: Channel,
        wheel: Wheel[Asker],
        clock: Callable[[], float],
    ) -> None:
        self.upstream = upstream
        self.question = to_wire(settings.domain) + bytes((0, Type.NS, 0, Class.IN))
        flags = codes.RD if settings.recursion else 0
        self.tail = flags.to_bytes(2, "big") + bytes((0, 1, 0, 0, 0, 0, 0, 0)) + self.question
        self._interval = settings.interval
        self._channel = channel
        self._wheel = wheel
        self._clock = clock
        self._attempt: Attempt | None = None

    def begin(self, now: float) -> None:
        """Send a probe."""
        attempt = self._attempt = Attempt(self, self.upstream, self._channel, 1, now)
        self._wheel.add(now + PROBE_TIMEOUT, self)
        try:
            self._channel.send(attempt)
        except OSError as error:
            self.failed(attempt, cause(error))

    def end(self) -> None:
        """Probe no more."""
        self._wheel.discard(self)
        if self._attempt is not None:
            self._channel.forget(self._attempt)
        self._attempt = None
        self.upstream.probe = None

    def answered(self, attempt: Attempt, data: bytes) -> None:  # noqa: ARG002  any answer is good
        """It answers: that is all there is to know."""
        self._attempt = None
        self.upstream.failures = 0
        self.end()

    def failed(self, attempt: Attempt, error: str) -> None:  # noqa: ARG002  Asker
        """It does not answer: probe again after a while."""
        self._attempt = None
        self.upstream.failures += 1
        self.upstream.failed_probes += 1
        self._wheel.add(self._clock() + self._interval, self)

    def spoiled(self, attempt: Attempt, error: str) -> None:
        """Somebody answers in its place."""
        self.failed(attempt, error)

    def due(self, now: float) -> None:
        """The time for an answer is over, or for the next probe has come."""
        if self._attempt is None:
            self.begin(now)
        else:
            self._channel.forget(self._attempt)
            self.failed(self._attempt, "i/o timeout")
