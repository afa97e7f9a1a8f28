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
from dnsd.wire.response import LazyRecords, Response, unchanged

Sections: TypeAlias = tuple[Sequence[RR], Sequence[RR], Sequence[RR]]
"""Answer, authority and additional."""
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


def kind_of(answer: Answer, type_: int) -> Kind:
    """What `answer` says to a question for records of `type_`. spec.md section 6.2."""
    if answer.rcode in (Rcode.SERVFAIL, Rcode.NOTIMP):
        return Kind.ERROR
    if answer.flags & codes.TC or answer.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return Kind.OTHER
    authority = types_of(answer.authority)
    if answer.rcode == Rcode.NXDOMAIN:
        return Kind.DENIAL if Type.SOA in authority else Kind.OTHER
    data = types_of(answer.answer)
    if type_ in data or (data and type_ == Type.ANY):
        return Kind.SUCCESS
    if Type.SOA in authority:
        return Kind.DENIAL
    return Kind.SUCCESS if Type.NS in authority and not data else Kind.OTHER


def types_of(section: Sequence[RR]) -> Sequence[int]:
    """The types of a section's records, which stay packed."""
    if isinstance(section, LazyRecords):
        return section.types
    return [record.rtype for record in section]


def least_ttl(answer: Answer) -> int:
    """The least TTL of all records, in seconds; MAX_TTL where there is none."""
    response = unchanged(answer.answer, answer.authority, answer.additional)
    if response is not None:
        return response.layout.minimum_ttl
    return min((int(record.ttl) for record in _records(answer)), default=MAX_TTL)


def denial_ttl(answer: Answer) -> int:
    """The same, and no more than the SOA record's MINIMUM (RFC 2308 section 5)."""
    least = least_ttl(answer)
    response = unchanged(answer.answer, answer.authority, answer.additional)
    if response is not None:
        minimum = response.layout.soa_minimum
        return least if minimum is None else min(least, minimum)
    minimums = [int(record.rdata.times[4]) for record in answer.authority if record.rtype == Type.SOA]
    return min([least, *minimums])


def timed(sections: Sections, ttl: int) -> Sections:
    """The sections with `ttl` seconds in every record; those that need no change are the same ones."""
    response = unchanged(*sections)
    if response is not None:
        response = response.with_ttl(ttl)
        return response.answer, response.authority, response.additional
    return _timed(sections[0], ttl), _timed(sections[1], ttl), _timed(sections[2], ttl)


def _timed(section: Sequence[RR], ttl: int) -> Sequence[RR]:
    if all(record.ttl == ttl for record in section):
        return section
    return [RR(record.rname, record.rtype, record.rclass, ttl, record.rdata) for record in section]


def _records(answer: Answer) -> Iterable[RR]:
    for section in (answer.answer, answer.authority, answer.additional):
        yield from section


def small(answer: Answer) -> bool:
    """Whether an answer is short enough to be kept."""
    response = unchanged(answer.answer, answer.authority, answer.additional)
    if response is not None:
        return len(response.data) <= MAX_ENTRY
    return len(answer.answer) + len(answer.authority) + len(answer.additional) <= MAX_RECORDS


class Entry(msgspec.Struct, gc=False):
    """An answer that is kept. One of an upstream's octets is three objects, none of which garbage collection sees."""

    kind: Kind
    ttl: int
    """Seconds that it lives, and that its records show when it comes."""
    stored: float
    """When it came: seconds on the monotonic clock."""
    rcode: int
    flags: int
    body: Response | Sections
    """What the upstream sent, or what became of that on its way here."""
    options: tuple[tuple[int, bytes], ...]
    keys: frozenset[Key]
    """What was read of a cluster before an upstream was asked."""
    hits: int = 0
    """Queries in a row without a gap, as `touch` counts them."""
    asked: float = 0.0
    """When the last of them came."""
    recheck: float = 0.0
    """No refresh before this moment: one failed."""

    def sections(self, ttl: int) -> Sections:
        """Answer, authority and additional, with `ttl` seconds in every record."""
        if isinstance(self.body, tuple):
            return timed(self.body, ttl)
        response = self.body.with_ttl(ttl)
        return response.answer, response.authority, response.additional

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


class Entries(cachetools.LRUCache[bytes, Entry]):
    """Entries of one kind by question. The one that was not asked for longest goes when there is no room."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.evictions = 0
        self._readers: dict[Key, set[bytes]] = {}

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an entry."""
        self.drop(key)
        self[key] = entry
        for read in entry.keys:
            self._readers.setdefault(read, set()).add(key)

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
        for read in keys:
            for key in tuple(self._readers.get(read, ())):
                self.drop(key)

    def _forget(self, key: bytes, entry: Entry) -> None:
        for read in entry.keys:
            readers = self._readers[read]
            readers.discard(key)
            if not readers:
                del self._readers[read]
