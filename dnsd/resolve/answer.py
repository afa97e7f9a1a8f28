"""An answer: its records, how long it stays right, and why it is what it is. Values only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec
from dnslib import RR
from msgspec.structs import replace

from dnsd.cluster.index import Key
from dnsd.wire import codes
from dnsd.wire.codes import Ede, Rcode
from dnsd.wire.reply import Sections, ede


class Validity(msgspec.Struct, frozen=True, gc=False):
    """How long an answer stays right: until a key that it read changes, until a deadline, or for one query only."""

    keys: frozenset[Key] = frozenset()
    """What was read of the cluster index, found or not found."""
    until: float = math.inf
    """Seconds on the monotonic clock."""
    ticking: float | None = None
    """Where set, TTLs count down from this moment (seconds on the monotonic clock)."""
    keep: bool = True
    """False where the answer depends on who asks, or on something that cannot be watched."""

    def steady(self) -> Validity:
        """This validity for an answer that has records of its own too, whose TTLs stand still.

        It is right until one of the others counts down, and is made anew then.
        """
        if self.ticking is None:
            return self
        return replace(self, ticking=None, until=min(self.until, self.ticking + 1.0))

    def __and__(self, other: Validity) -> Validity:
        """The validity of an answer made from two."""
        ticking = [moment for moment in (self.ticking, other.ticking) if moment is not None]
        return Validity(
            self.keys | other.keys,
            min(self.until, other.until),
            min(ticking) if ticking else None,
            self.keep and other.keep,
        )


ONCE = Validity(keep=False)
"""For this query only."""
ALWAYS = Validity()
"""As long as the configuration stands."""


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why an answer is what it is, in one sentence for whoever asks.

    `error` is told on the wire as an Extended DNS Error (RFC 8914) where the client sent OPT.
    """

    text: str
    error: Ede | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the chain says to a query. Plugins pass it back, changed or not."""

    rcode: int = Rcode.NOERROR
    flags: int = 0
    """AA, TC, RA and AD of the reply."""
    answer: Sequence[RR] = ()
    authority: Sequence[RR] = ()
    additional: Sequence[RR] = ()
    validity: Validity = ONCE
    reason: Reason | None = None
    rotate: bool = False
    """Whether address records are to be given in another order each time."""
    options: tuple[tuple[int, bytes], ...] = ()
    """EDNS options for clients that sent OPT."""
    forwarded: bool = False
    """Whether an upstream gave it, so that its TTLs say how long it may be kept."""
    cached: str = ""
    """Where `cache` holds this answer, `success` or `denial`: that is what a repetition of it is a hit of."""
    written: bool = True
    """False where no plugin answered and the server itself had to (a rcode for the metrics and nothing else)."""
    silent: bool = False
    """No reply at all (acl's `drop`)."""
    more: Iterable[Answer] = ()
    """Further messages of the reply, made as a client at a stream reads them (zone transfers, RFC 5936 section 2.2)."""

    @property
    def authoritative(self) -> bool:
        """Whether AA is set."""
        return bool(self.flags & codes.AA)

    def sections(self) -> Sections:
        """What goes on the wire."""
        options = self.options
        if self.reason is not None and self.reason.error is not None:
            options = (*options, ede(self.reason.error, self.reason.text))
        return Sections(self.rcode, self.flags, self.answer, self.authority, self.additional, options)


class Failure(Exception):
    """A query that could not be answered: one rcode, one Extended DNS Error, one sentence. Subclasses name causes."""

    rcode: Rcode = Rcode.SERVFAIL
    error: Ede = Ede.OTHER

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def answer(self) -> Answer:
        """The reply that the server gives in place of the plugin that failed."""
        return Answer(rcode=self.rcode, reason=Reason(self.text, self.error), written=False)


class NoPlugin(Failure):
    """The chain ended and nobody answered (spec.md section 5.2)."""


class NotServed(Failure):
    """No server block is for this name, or none takes its class."""

    rcode = Rcode.REFUSED
    error = Ede.NOT_AUTHORITATIVE


class BadVersion(Failure):
    """EDNS version above 0 (RFC 6891 section 6.1.3)."""

    rcode = Rcode.BADVERS


class Refused(Failure):
    """The server does not do what was asked, for anybody or for this client."""

    rcode = Rcode.REFUSED
    error = Ede.PROHIBITED
