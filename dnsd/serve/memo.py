"""The memo: questions that were seen and validated once, with their ready answers (design.md section 2).

The octets of a query after its id, in lower case, are the key. Lower-casing is safe in a name, whose length octets are
below 64, and wrong elsewhere: a query with a letter's octet outside its name is kept under its exact octets (type 65
is one). A client cookie (RFC 7873) differs with every client and changes nothing in the answer: it is left out of the
key.

Entries live in two generations, so that names asked once cannot push out names asked often: what is new goes into the
young one; when it is full the old one goes and the young one grows old; a hit in the old one moves back.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable

from dnsd.cluster.index import Key
from dnsd.resolve.answer import Validity
from dnsd.serve.tally import Labels, Tally
from dnsd.wire.codes import Option
from dnsd.wire.query import HEADER
from dnsd.wire.reply import Reply

MEMO_OCTETS = 24 * 1024 * 1024
"""Octets that the entries of one memo may take, both generations together: what is hot has half of it, which is some
12,000 answers of usual size."""
ENTRY_OCTETS = 480
"""What an entry takes besides what follows: the object, its tuples, its place in the dict."""
KEY_OCTETS = 130
"""What each key that an entry read takes: the tuple, and the entry's place under it."""
REPLY_OCTETS = 40
"""What a reply takes besides its octets."""
ID = 2
"""Octets of a message's id."""
MAX_KEY = 512
"""Octets of a query that is remembered; no stub resolver sends more."""
IN_PLACE = 1500
"""Octets of a reply that is written over the query: what a frame of Ethernet carries. Longer ones are rare."""
ROTATIONS = 4
"""Ready orders of an answer with several addresses. A power of two, and enough that each of a few comes first."""
HIT_SECONDS = 5e-6
"""What a hit is taken to last: nobody looks at the clock for it, and it is below the first bucket by far."""

_COOKIE = struct.pack("!2H", Option.COOKIE, 8)
_EXACT = b"\xff"
"""First octet of keys that are exact outside the name; that of a query's flags is below 0x80."""
_LETTER = re.compile(rb"[A-Za-z]")


class Entry:
    """A ready answer: how often it was given, and its replies in rotation."""

    __slots__ = (
        "cost", "end", "hits", "in_place", "key", "keys", "labels", "replies", "request", "response", "ticking", "ttls",
        "until", "valid_until",
    )  # fmt: skip

    def __init__(
        self,
        key: bytes,
        question: bytes,
        replies: tuple[Reply, ...],
        validity: Validity,
        labels: Labels,
        sizes: tuple[int, int],
    ) -> None:
        self.hits = 0
        asked = question.lower()[:-4] + question[-4:]
        self.end = HEADER - ID + len(asked)
        """Offset in a reply of the octet after the question."""
        ready = [reply.head + asked + reply.tail for reply in replies]
        self.replies = tuple(ready[i % len(ready)] for i in range(ROTATIONS))
        """All of a reply but its id, to a question in lower case: always ROTATIONS of them."""
        self.in_place = max(map(len, ready)) + ID <= IN_PLACE
        """Whether its replies are written over the query."""
        self.until = validity.until
        self.ticking = validity.ticking
        self.valid_until = validity.until if self.ticking is None and self.in_place else -math.inf
        """When somebody has to look closer: at the end, as the next TTL counts down, or always."""
        self.key = key
        self.keys = tuple(validity.keys)
        self.ttls = tuple(self.end + at for at in replies[0].ttls)
        """Offsets in a reply of each record's TTL; the same in every rotation."""
        self.labels = labels
        self.request, self.response = sizes
        self.cost = (
            ENTRY_OCTETS + len(key) + KEY_OCTETS * len(self.keys) + sum(REPLY_OCTETS + len(reply) for reply in ready)
        )

    def refresh(self, now: float) -> bool:
        """Count TTLs down to `now`; False where the entry's time is over."""
        if now >= self.until:
            return False
        if self.ticking is not None:
            passed = math.floor(now - self.ticking)
            aged = {reply: _aged(reply, self.ttls, passed) for reply in self.replies}
            self.replies = tuple(aged[reply] for reply in self.replies)
            self.ticking += passed
            if self.in_place:
                self.valid_until = min(self.until, self.ticking + 1.0)
        return True

    def reply(self, query: bytes) -> bytes:
        """The next reply to `query`, whose id and letter case it has."""
        self.hits += 1
        reply = self.replies[self.hits & ROTATIONS - 1]
        return query[:ID] + reply[: HEADER - ID] + query[HEADER : self.end + ID] + reply[self.end :]


def _aged(reply: bytes, ttls: Iterable[int], seconds: int) -> bytes:
    if not seconds:
        return reply
    changed = bytearray(reply)
    for at in ttls:
        (ttl,) = struct.unpack_from("!I", changed, at)
        struct.pack_into("!I", changed, at, max(0, ttl - seconds))
    return bytes(changed)


class Generation:
    """Entries, and which of them read what."""

    __slots__ = ("entries", "octets", "readers")

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.readers: dict[Key, bytes | set[bytes]] = {}
        """Keys of the entries that read a key; a set only where there are several, for most have one."""
        self.octets = 0

    def add(self, entry: Entry) -> None:
        """Take an entry in."""
        self.entries[entry.key] = entry
        self.octets += entry.cost
        for key in entry.keys:
            readers = self.readers.setdefault(key, entry.key)
            if isinstance(readers, set):
                readers.add(entry.key)
            elif readers != entry.key:
                self.readers[key] = {readers, entry.key}

    def remove(self, key: bytes) -> Entry | None:
        """Take an entry out, wherever it is noted."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return None
        self.octets -= entry.cost
        for read in entry.keys:
            readers = self.readers[read]
            if isinstance(readers, set):
                readers.discard(key)
            if not readers or readers == key:
                del self.readers[read]
        return entry

    def readers_of(self, key: Key) -> tuple[bytes, ...]:
        """Keys of the entries that read `key`."""
        readers = self.readers.get(key, ())
        return (readers,) if isinstance(readers, bytes) else tuple(readers)


class Memo:
    """Ready answers for one face of a listener. Bound in octets; exact, because changes drop what read them."""

    def __init__(self, tally: Tally, octets: int = MEMO_OCTETS) -> None:
        self.young = Generation()
        self._old = Generation()
        self._half = octets // 2
        self._tally = tally
        self.get: Callable[[bytes], Entry | None] = self.young.entries.get
        """Look up a query's octets after the id, in lower case, in the young generation: what is hot is there."""

    @property
    def octets(self) -> int:
        """Octets taken at present."""
        return self.young.octets + self._old.octets

    def __len__(self) -> int:
        return len(self.young.entries) + len(self._old.entries)

    def find(self, data: bytes, now: float) -> Entry | None:
        """The entry for a query as it was received, in whichever place it may be."""
        if len(data) > MAX_KEY:
            return None
        key = data[2:].lower()
        entry = self.young.entries.get(key) or self._promote(key)
        if entry is None:
            exact = _exact_key(data)
            if exact is None:
                return None
            entry = self.young.entries.get(exact) or self._promote(exact)
        if entry is not None and now >= entry.valid_until and not entry.refresh(now):
            self._forget(entry.key)
            return None
        return entry

    def _promote(self, key: bytes) -> Entry | None:
        entry = self._old.remove(key)
        if entry is not None:
            self._add(entry)
        return entry

    def put(
        self,
        data: bytes,
        question: bytes,
        replies: tuple[Reply, ...],
        validity: Validity,
        labels: Labels,
        response: int,
    ) -> None:
        """Remember the replies to a query that passed the accept gate; `response` is their size as metrics tell it."""
        key = memo_key(data)
        if key is None or not validity.keep:
            return
        self._forget(key)
        self._add(Entry(key, question, replies, validity, labels, (len(data), response)))

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget every answer that read one of `keys`."""
        for key in keys:
            for generation in (self.young, self._old):
                for reader in generation.readers_of(key):
                    self._fold(generation.remove(reader))

    def clear(self) -> None:
        """Forget everything."""
        for generation in (self.young, self._old):
            for key in tuple(generation.entries):
                self._fold(generation.remove(key))

    def settle(self) -> None:
        """Bring the hits of all entries to the tally: together where they count alike, for queries wait meanwhile."""
        alike: dict[tuple[int, int, int], int] = {}
        labels: dict[int, Labels] = {}
        for generation in (self.young, self._old):
            for entry in generation.entries.values():
                if entry.hits:
                    identity = id(entry.labels)
                    labels[identity] = entry.labels
                    key = (identity, entry.request, entry.response)
                    alike[key] = alike.get(key, 0) + entry.hits
                    entry.hits = 0
        for (identity, request, response), hits in alike.items():
            self._tally.add(labels[identity], request, response, HIT_SECONDS, hits)

    def _add(self, entry: Entry) -> None:
        if self.young.octets + entry.cost > self._half:
            for gone in self._old.entries.values():
                self._fold(gone)
            self._old = self.young
            self.young = Generation()
            self.get = self.young.entries.get
        self.young.add(entry)

    def _forget(self, key: bytes) -> None:
        self._fold(self.young.remove(key) or self._old.remove(key))

    def _fold(self, entry: Entry | None) -> None:
        if entry is not None and entry.hits:
            self._tally.add(entry.labels, entry.request, entry.response, HIT_SECONDS, entry.hits)
            entry.hits = 0


def memo_key(data: bytes) -> bytes | None:
    """The key of a query that passed the accept gate, or None where it is not one to remember."""
    if len(data) > MAX_KEY:
        return None
    exact = _exact_key(data)
    return data[2:].lower() if exact is None else exact


def _exact_key(data: bytes) -> bytes | None:
    """The key of a query that has letters' octets outside its name, or a client cookie; None for any other."""
    at, size = HEADER, len(data)
    while at < size and data[at]:
        at += 1 + data[at]
    rest = data[at:]
    cookie = rest[-12:-8] == _COOKIE
    if cookie:
        rest = rest[:-8]
    if not cookie and not _LETTER.search(rest) and not _LETTER.search(data, 2, HEADER):
        return None
    return _EXACT + data[2:HEADER] + data[HEADER:at].lower() + rest
