"""The plugin `cache`: keeps what upstreams answered. spec.md section 6.2, RFC 2308, 8767 and 9520.

Only answers that an upstream gave are kept. What this server itself is the authority for passes through, with the TTLs
that it would have from a cache, so that nobody can tell but by its freshness.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cachetools
from msgspec.structs import replace
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from dnsd.cluster.index import Key
from dnsd.corefile.syntax import Directive
from dnsd.plugins.cache import settings as directive
from dnsd.plugins.cache.entries import Body, Entries, Entry, Kind, body_of, kind_of, least_ttl, small, timed
from dnsd.plugins.cache.settings import Mode, Settings, Stale
from dnsd.resolve.answer import ONCE, Answer, Failure, Reason, Validity
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Ede, Rcode, Type, type_text
from dnsd.wire.name import ROOT, is_under, to_text, to_wire
from dnsd.wire.response import RETURNED, Response

log = logging.getLogger("dnsd.plugin.cache")

MAX_REFRESHES = 256
"""Answers that are fetched anew at one time, on nobody's behalf."""
FAILURE_SECONDS = 1.0
"""That a question whose upstreams failed is not sent again: the least that RFC 9520 section 3.2 asks for."""
MAX_FAILURES = 1024
"""Questions that are remembered to have failed."""

_NO_KEYS: frozenset[Key] = frozenset()
_TRANSFERS = frozenset(map(int, (Type.AXFR, Type.IXFR)))
_REMEMBERED = frozenset({Ede.NO_REACHABLE_AUTHORITY, Ede.NETWORK_ERROR})
"""Failures of upstreams; others are about this server, and pass at once."""


class Cache(Plugin):
    """Answers from what is kept, and keeps what comes."""

    name = "cache"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self.success = Entries(settings.success.capacity)
        self.denial = Entries(settings.denial.capacity)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """By metric, server, and type of entry."""
        disabled = settings.success.disabled + settings.denial.disabled
        self._disabled = tuple(map(to_wire, disabled if ROOT in settings.zones else (ROOT,)))
        self._changes = 0
        """Times that a cluster changed."""
        self._clock = context.clock
        self._listeners = context.clusters.listeners
        self._failures: cachetools.FIFOCache[bytes, _Failed] = cachetools.FIFOCache(MAX_FAILURES)
        self._refreshes: dict[bytes, asyncio.Task[Answer | None]] = {}

    async def start(self) -> None:
        """Hear of changes to clusters."""
        self._listeners.append(self._changed)

    async def stop(self) -> None:
        """End what is being fetched on nobody's behalf."""
        if self._changed in self._listeners:
            self._listeners.remove(self._changed)
        tasks = tuple(self._refreshes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer that is kept, or the next plugin's, to be kept."""
        name = query.name
        if query.type in _TRANSFERS or not any(is_under(name, zone) for zone in self.settings.zones):
            return await next_(query)
        server = query.client.server
        self.counts["requests", server, ""] += 1
        key = _key(query)
        now = self._clock()
        entry = self._find(key, now)
        if entry is None:
            self.counts["misses", server, ""] += 1
            return await self._fetch(query, key, now, next_)
        self.counts["hits", server, _type(entry.kind)] += 1
        (self.success if entry.kind is Kind.SUCCESS else self.denial).use(key, entry)
        if entry.fresh(now):
            return self._hit(query, key, entry, now, next_)
        return await self._expired(query, key, entry, now, next_)

    # -- the short way

    def passes(self, name: bytes) -> bool:
        """Whether what comes for this name is kept; `lacks` and `take` are for those names."""
        return not name.endswith(self._disabled)

    def lacks(self, key: bytes, now: float) -> bool:
        """Whether an upstream has to be asked this question."""
        if (key in self.success or key in self.denial) and self._find(key, now) is not None:
            return False
        return key not in self._failures

    def take(self, key: bytes, type_: int, response: Response, server: str) -> int:
        """Keep a response to what was lacking: the TTL in seconds for its records, or 0 if `answer` has to see it."""
        kind = kind_of(response.rcode, response.flags, response, type_)
        if kind is not Kind.SUCCESS and kind is not Kind.DENIAL:
            return 0
        ttl = self._lifetime(response, kind)
        if not ttl or not small(response):
            return 0
        counts = self.counts
        counts["requests", server, ""] += 1
        counts["misses", server, ""] += 1
        flags = response.flags & RETURNED
        self._put(key, Entry(kind, ttl, self._clock(), response.rcode, flags, response.data, (), _NO_KEYS), server)
        return ttl

    # -- what is kept

    def _find(self, key: bytes, now: float) -> Entry | None:
        """The entry to answer from: a denial first, unless it is a failure (spec.md section 6.2)."""
        denial, success = self._usable(self.denial.get(key), now), self._usable(self.success.get(key), now)
        if denial is None or success is None:
            return denial or success
        if denial.kind is Kind.ERROR or (self.settings.stale is not None and self.settings.stale.prefer_positive):
            return success
        if denial.fresh(now) or not success.fresh(now):
            return denial
        return success

    def _usable(self, entry: Entry | None, now: float) -> Entry | None:
        """The entry, if its time is not over, or if it may be given although it is."""
        if entry is None or entry.fresh(now):
            return entry
        stale = self.settings.stale
        if stale is None or entry.kind is Kind.ERROR or now >= entry.end + stale.seconds:
            return None
        return entry

    def _hit(self, query: Query, key: bytes, entry: Entry, now: float, next_: Next) -> Answer:
        prefetch = self.settings.prefetch
        if prefetch is not None:
            # what the server keeps is given without asking here, for no longer than one gap
            entry.touch(now, prefetch.gap if entry.hits < prefetch.amount else 2 * prefetch.gap)
            if entry.hits >= prefetch.amount and now >= self._prefetch_at(entry):
                self.counts["prefetch", query.client.server, ""] += self._refresh(query, key, entry, now, next_)
        left = entry.ttl if self.settings.keep_ttl else entry.ttl - entry.age(now)
        return _give(query, entry, entry.body, left, entry.flags | codes.AA, self._validity(entry, now))

    def _validity(self, entry: Entry, now: float) -> Validity:
        """How long a hit may be given again without asking here."""
        ticking = None if self.settings.keep_ttl else entry.stored + entry.age(now)
        prefetch, until, keep = self.settings.prefetch, entry.end, True
        if prefetch is not None:
            keep = entry.hits >= prefetch.amount  # until then, each query counts
            at = self._prefetch_at(entry)
            until = min(at, now + prefetch.gap) if now < at else min(until, now + 1.0)
        return Validity(entry.keys, until, ticking, keep)

    def _prefetch_at(self, entry: Entry) -> float:
        """The moment from which a popular entry is fetched anew."""
        prefetch = self.settings.prefetch
        left = math.ceil(prefetch.percentage / 100 * entry.ttl) if prefetch is not None else 0
        return entry.end - max(left, 1)

    # -- what comes

    async def _fetch(self, query: Query, key: bytes, now: float, next_: Next) -> Answer:
        failed = self._failures.get(key)
        if failed is not None and now < failed.until:
            raise failed.kind(failed.text)
        changes = self._changes
        try:
            answer = await next_(query)
        except Failure as failure:
            if failure.error in _REMEMBERED and self.settings.servfail:
                self._failures[key] = _Failed(type(failure), failure.text, self._clock() + FAILURE_SECONDS)
            raise
        body = body_of(answer)
        kind = kind_of(answer.rcode, answer.flags, body, query.type)
        kept = self._keep(query, key, answer, body, kind, changes)
        return kept or self._capped(answer, body, kind)

    def _capped(self, answer: Answer, body: Body, kind: Kind) -> Answer:
        """An answer that is not kept, with the TTLs that it would have if it were."""
        ttl = self._lifetime(body, kind)
        if not ttl:
            return answer
        first, second, third = timed(body, ttl)
        if first is answer.answer and second is answer.authority and third is answer.additional:
            return answer
        return replace(answer, answer=first, authority=second, additional=third)

    def _keep(self, query: Query, key: bytes, answer: Answer, body: Body, kind: Kind, changes: int) -> Answer | None:
        """Keep an upstream's answer: how it is to be given now, or None where it may not be kept.

        `changes` were there when the query went on: what a cluster did not have then it may have by now.
        """
        store = self.settings.success if kind is Kind.SUCCESS else self.settings.denial
        ttl = self._lifetime(body, kind)
        if not answer.forwarded or kind is Kind.OTHER or not ttl or not store.keeps(query.name) or not small(body):
            return None
        if answer.validity.keys and changes != self._changes:
            return None
        server = query.client.server
        if isinstance(body, Response) and not key.startswith(_normal(body.question)):
            self.counts["drops", server, ""] += 1
            return None
        now = self._clock()
        content = body.data if isinstance(body, Response) else body
        entry = Entry(kind, ttl, now, answer.rcode, answer.flags, content, answer.options, answer.validity.keys)
        self._put(key, entry, server)
        # Most names are asked once. The second query finds the entry here; from then on the server keeps the answer.
        return _give(query, entry, body, ttl, answer.flags, Validity(entry.keys, keep=False))

    def _put(self, key: bytes, entry: Entry, server: str) -> None:
        entries = self.success if entry.kind is Kind.SUCCESS else self.denial
        evicted = entries.evictions
        entries.put(key, entry)
        if entries.evictions != evicted:
            self.counts["evictions", server, _type(entry.kind)] += entries.evictions - evicted
        stale = self.settings.stale
        if entry.kind is Kind.SUCCESS:
            if key in self.denial:
                self.denial.drop(key)
        elif key in self.success and entry.kind is Kind.DENIAL and (stale is None or not stale.prefer_positive):
            self.success.drop(key)

    def _lifetime(self, body: Body, kind: Kind) -> int:
        """Seconds that an answer of this kind lives, and that its records say."""
        if kind is Kind.ERROR:
            return math.ceil(self.settings.servfail)
        store = self.settings.denial if kind is Kind.DENIAL else self.settings.success
        return store.clamp(least_ttl(body, kind))

    # -- what is over, or about to be

    async def _expired(self, query: Query, key: bytes, entry: Entry, now: float, next_: Next) -> Answer:
        """Give what is stale, before asking an upstream or after (RFC 8767 section 5)."""
        stale = self.settings.stale
        assert stale is not None  # noqa: S101  nothing that has expired is usable without
        self._refresh(query, key, entry, now, next_)
        refresh = self._refreshes.get(key)
        if refresh is not None and stale.mode is Mode.VERIFY:
            await asyncio.wait({refresh}, timeout=stale.timeout)
            if refresh.done() and not refresh.cancelled():
                answer = refresh.result()
                if answer is not None:
                    return replace(answer, flags=_flags(query, answer.flags))
        self.counts["served_stale", query.client.server, ""] += 1
        return self._stale(query, entry, stale, now)

    def _stale(self, query: Query, entry: Entry, stale: Stale, now: float) -> Answer:
        error = Ede.STALE_NXDOMAIN if entry.rcode == Rcode.NXDOMAIN else Ede.STALE_ANSWER
        reason = Reason(f"expired {math.floor(now - entry.end)} s ago", error)
        return _give(query, entry, entry.body, stale.ttl, entry.flags | codes.AA, ONCE, reason)

    def _refresh(self, query: Query, key: bytes, entry: Entry, now: float, next_: Next) -> bool:
        """Begin to fetch an entry anew, unless that is under way or has just failed."""
        if key in self._refreshes or now < entry.recheck or len(self._refreshes) >= MAX_REFRESHES:
            return False
        loop = asyncio.get_running_loop()
        self._refreshes[key] = loop.create_task(self._fetch_anew(query, key, entry, next_))
        return True

    async def _fetch_anew(self, query: Query, key: bytes, entry: Entry, next_: Next) -> Answer | None:
        """The new answer, which is kept, or None where there is none that is better than the entry."""
        changes = self._changes
        try:
            answer = await next_(query)
            body = body_of(answer)
            kind = kind_of(answer.rcode, answer.flags, body, query.type)
            stale = self.settings.stale
            if kind in (Kind.SUCCESS, Kind.DENIAL):
                kept = self._keep(query, key, answer, body, kind, changes)
                preferred = stale is not None and stale.prefer_positive and entry.kind is Kind.SUCCESS
                if kept is not None and not (preferred and kind is Kind.DENIAL):
                    self._carry_over(key, entry)
                    return replace(kept, flags=answer.flags)
        except Failure as failure:
            log.debug("cannot refresh %s %s: %s", to_text(query.name), type_text(query.type), failure.text)
        except Exception:
            log.exception("panic while refreshing %s", to_text(query.name))
        finally:
            del self._refreshes[key]
        entry.recheck = self._clock() + (self.settings.stale.recheck if self.settings.stale else FAILURE_SECONDS)
        return None

    def _carry_over(self, key: bytes, old: Entry) -> None:
        """A popular entry stays popular when it is fetched anew."""
        new = self.success.get(key) or self.denial.get(key)
        if new is not None:
            new.hits, new.asked = old.hits, old.asked

    def _changed(self, keys: Iterable[Key]) -> None:
        """A cluster changed: a name that was looked up there in vain may be there now."""
        self._changes += 1
        for entries in (self.success, self.denial):
            entries.changed(keys)

    # -- metrics

    def metrics(self) -> Iterator[Metric]:
        """Hits, misses and the rest (spec.md section 7.1). What the server gave again without asking is not here."""
        zones = ",".join(to_text(zone) for zone in self.settings.zones)
        servers = dict.fromkeys(server for _, server, _ in self.counts)
        gauge = GaugeMetricFamily("coredns_cache_entries", "Answers kept.", labels=["server", "type", "zones", "view"])
        for server in servers:
            gauge.add_metric([server, "success", zones, ""], len(self.success))
            gauge.add_metric([server, "denial", zones, ""], len(self.denial))
        yield gauge
        for name, (text, *typed) in _METRICS.items():
            family = CounterMetricFamily(f"coredns_cache_{name}", text, labels=["server", *typed, "zones", "view"])
            for (metric, server, type_), count in self.counts.items():
                if metric == name and count:
                    family.add_metric([server, *([type_] if typed else []), zones, ""], count)
            yield family


_METRICS = {
    "requests": ("Queries.",),
    "hits": ("Queries answered from what is kept.", "type"),
    "misses": ("Queries that were not.",),
    "evictions": ("Answers that had to make room.", "type"),
    "prefetch": ("Answers fetched anew before their time was over.",),
    "drops": ("Answers to another question than was asked.",),
    "served_stale": ("Queries answered with what was stale.",),
}
"""Counters: what they mean, and `type` for those that have this label."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A question that no upstream could be asked."""

    kind: type[Failure]
    text: str
    until: float


def _type(kind: Kind) -> str:
    """The label of metrics: failures are kept among denials."""
    return "success" if kind is Kind.SUCCESS else "denial"


def _normal(question: bytes) -> bytes:
    """A question section with its name in lower case; type and class may have letters' octets too."""
    return question[:-4].lower() + question[-4:]


def _key(query: Query) -> bytes:
    """Name, type, class, DO and CD."""
    return _normal(query.question.wire) + bytes((query.do | query.cd << 1,))


def _give(
    query: Query, entry: Entry, body: Body, ttl: int, flags: int, validity: Validity, reason: Reason | None = None
) -> Answer:
    """An entry and its body as an answer, with `ttl` seconds in every record."""
    answer, authority, additional = timed(body, ttl)
    return Answer(
        entry.rcode,
        _flags(query, flags),
        answer,
        authority,
        additional,
        validity,
        reason,
        options=entry.options,
        forwarded=True,
        cached=_type(entry.kind),
    )


def _flags(query: Query, flags: int) -> int:
    """AD is for those who asked for it (RFC 6840 section 5.8)."""
    if flags & codes.AD and not (query.do or query.message.flags & codes.AD):
        return flags & ~codes.AD
    return flags


def setup(directives: Sequence[Directive], context: Context) -> Cache:
    """The plugin, from its directive."""
    return Cache(directive.read(directives, context), context)
