"""What a cache holds: whole answers, each for exactly one question. Knows no query, and no clock.

An answer is kept as the octets that the upstream sent. It is only ever given to the question that it came for, with all
its sections: nothing that an upstream says besides - in authority, in additional - becomes the answer to another
question, which is how caches are poisoned.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import cachetools
import msgspec
from dnslib import RR

from dnsd.cluster.index import Key
from dnsd.resolve.answer import Answer
from dnsd.wire import codes
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.records import MAX_TTL
from dnsd.wire.response import Response, read, unchanged

Sections: TypeAlias = tuple[Sequence[RR], Sequence[RR], Sequence[RR]]
"""Answer, authority and additional."""
Body: TypeAlias = Response | Sections
"""What an upstream sent; sections, where that was changed on its way here, or no upstream was asked."""

_NOERROR, _SERVFAIL, _NXDOMAIN, _NOTIMP = map(int, (Rcode.NOERROR, Rcode.SERVFAIL, Rcode.NXDOMAIN, Rcode.NOTIMP))
_NS, _SOA, _ANY = map(int, (Type.NS, Type.SOA, Type.ANY))
MAX_ENTRY = 4096
"""Octets of an answer that is kept: few are longer, and only so does a bound on entries bound memory."""
MAX_RECORDS = 64
"""Records of an answer that is kept though it is no upstream's octets any more: at about 64 octets each, MAX_ENTRY."""


class Kind(enum.Enum):
    """What an answer says, as far as a cache cares."""

    SUCCESS = "success"
    """Data, or a referral."""
    DENIAL = "denial"
    """That there is none: NXDOMAIN or NODATA, with the SOA record that says for how long (RFC 2308)."""
    ERROR = "error"
    """SERVFAIL or NOTIMP."""
    OTHER = "other"
    """Nothing to be remembered."""


def body_of(answer: Answer) -> Body:
    """What `answer` has in its sections."""
    sections = answer.answer, answer.authority, answer.additional
    return unchanged(*sections) or sections


def kind_of(rcode: int, flags: int, body: Body, type_: int) -> Kind:
    """What an answer says to a question for records of `type_`. spec.md section 6.2."""
    if rcode in (_SERVFAIL, _NOTIMP):
        return Kind.ERROR
    if flags & codes.TC or rcode not in (_NOERROR, _NXDOMAIN):
        return Kind.OTHER
    data, authority = _types(body)
    if rcode == _NXDOMAIN:
        return Kind.DENIAL if _SOA in authority else Kind.OTHER
    if type_ in data or (data and type_ == _ANY):
        return Kind.SUCCESS
    if _SOA in authority:
        return Kind.DENIAL
    return Kind.SUCCESS if _NS in authority and not data else Kind.OTHER


def _types(body: Body) -> tuple[Sequence[int], Sequence[int]]:
    """The types of the records in answer and authority, which stay packed."""
    if isinstance(body, Response):
        answers, authorities, _ = body.layout.counts
        return body.layout.types[:answers], body.layout.types[answers : answers + authorities]
    return [record.rtype for record in body[0]], [record.rtype for record in body[1]]


def least_ttl(body: Body, kind: Kind) -> int:
    """The least TTL of all records in seconds, MAX_TTL where there is none.

    For a denial, no more than the MINIMUM of the SOA record (RFC 2308 section 5).
    """
    if isinstance(body, Response):
        least, minimum = body.layout.minimum_ttl, body.layout.soa_minimum
    else:
        least = min((int(record.ttl) for section in body for record in section), default=MAX_TTL)
        minimum = min((int(record.rdata.times[4]) for record in body[1] if record.rtype == _SOA), default=None)
    return least if kind is not Kind.DENIAL or minimum is None else min(least, minimum)


def timed(body: Body, ttl: int) -> Sections:
    """The sections with `ttl` seconds in every record; lists that need no change are the same ones."""
    if isinstance(body, Response):
        response = body.with_ttl(ttl)
        return response.answer, response.authority, response.additional
    return _timed(body[0], ttl), _timed(body[1], ttl), _timed(body[2], ttl)


def _timed(section: Sequence[RR], ttl: int) -> Sequence[RR]:
    if all(record.ttl == ttl for record in section):
        return section
    return [RR(record.rname, record.rtype, record.rclass, ttl, record.rdata) for record in section]


def small(body: Body) -> bool:
    """Whether it is short enough to be kept."""
    if isinstance(body, Response):
        return len(body.data) <= MAX_ENTRY
    return sum(map(len, body)) <= MAX_RECORDS


class Entry(msgspec.Struct, gc=False):
    """An answer that is kept: of an upstream's, the octets and little more, which garbage collection does not see."""

    kind: Kind
    ttl: int
    """Seconds that it lives, and that its records show when it comes."""
    stored: float
    """When it came: seconds on the monotonic clock."""
    rcode: int
    flags: int
    content: bytes | Sections
    """The message that the upstream sent, read again when it is asked for; or what became of it on its way here."""
    options: tuple[tuple[int, bytes], ...]
    keys: frozenset[Key]
    """What was read of a cluster before an upstream was asked."""
    hits: int = 0
    """Queries in a row without a gap, as `touch` counts them."""
    asked: float = 0.0
    """When the last of them came."""
    recheck: float = 0.0
    """No refresh before this moment: one failed."""

    @property
    def body(self) -> Body:
        """What is kept."""
        return read(self.content) if isinstance(self.content, bytes) else self.content

    def touch(self, now: float, gap: float) -> None:
        """Count a query, and begin anew if the last one was `gap` seconds ago or more."""
        self.hits = self.hits + 1 if now < self.asked + gap else 1
        self.asked = now

    @property
    def end(self) -> float:
        """When its time is over."""
        return self.stored + self.ttl

    def age(self, now: float) -> int:
        """Whole seconds since it came."""
        return math.floor(now - self.stored)

    def fresh(self, now: float) -> bool:
        """Whether its time is not over."""
        return now < self.end


class Entries(cachetools.FIFOCache[bytes, Entry]):
    """Entries of one kind by question. The one that was not asked for longest goes when there is no room.

    `use` says when one is asked for: cachetools' own LRU cache takes a query for each look, and twice the time.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.evictions = 0
        self._readers: dict[Key, set[bytes]] = {}

    def use(self, key: bytes, entry: Entry) -> None:
        """An entry is asked for."""
        self[key] = entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an entry."""
        if key in self:
            self.drop(key)
        self[key] = entry
        for looked_up in entry.keys:
            self._readers.setdefault(looked_up, set()).add(key)

    def drop(self, key: bytes) -> None:
        """Keep it no more."""
        entry = self.pop(key, None)
        if entry is not None:
            self._forget(key, entry)

    def popitem(self) -> tuple[bytes, Entry]:
        """Make room."""
        key, entry = super().popitem()
        self._forget(key, entry)
        self.evictions += 1
        return key, entry

    def changed(self, keys: Iterable[Key]) -> None:
        """A cluster changed: drop what read one of these keys."""
        for looked_up in keys:
            for key in tuple(self._readers.get(looked_up, ())):
                self.drop(key)

    def _forget(self, key: bytes, entry: Entry) -> None:
        if not entry.keys:
            return
        for looked_up in entry.keys:
            readers = self._readers[looked_up]
            readers.discard(key)
            if not readers:
                del self._readers[looked_up]
