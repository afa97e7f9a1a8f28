"""Reads the directive `cache`: every option of spec.md section 6.2."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word
from dnsd.plugins.directive import once
from dnsd.plugins.directive import zones as zones_of
from dnsd.resolve.plugin import Context
from dnsd.wire import name as names
from dnsd.wire.name import Name, is_under

SHARDS = 256
"""The reference rounds capacities down to a multiple of this."""
MIN_CAPACITY = 1024
"""Answers; the reference has no smaller cache."""
MAX_SERVFAIL = 300.0
"""Seconds that a failure may be cached (RFC 9520 section 3.2, and the reference's limit)."""
MAX_RECHECK = 300.0
"""Seconds until a failed refresh is tried again; the reference's limit."""
VERIFY_TIMEOUT = 1.8
"""Seconds that a client waits for a refresh before it is given what is stale (RFC 8767 section 5)."""


@dataclass(frozen=True, slots=True)
class Store:
    """How answers of one kind are kept: `success` or `denial`."""

    capacity: int = 10_000 // SHARDS * SHARDS
    """Answers."""
    max_ttl: int = 3600
    min_ttl: int = 5
    """Seconds."""
    disabled: tuple[Name, ...] = ()
    """Zones whose answers of this kind are not kept."""

    def clamp(self, ttl: int) -> int:
        """Seconds that an answer with this least TTL is kept."""
        return min(max(ttl, self.min_ttl), self.max_ttl)

    def keeps(self, name: Name) -> bool:
        """Whether answers for this name are kept at all."""
        return not any(is_under(name, zone) for zone in self.disabled)


@dataclass(frozen=True, slots=True)
class Prefetch:
    """When an answer is fetched anew before its time is over."""

    amount: int
    """Queries that make it popular."""
    gap: float = 60.0
    """Seconds without a query after which it is not popular any more."""
    percentage: int = 10
    """Of its time that is left when it is fetched."""


class Mode(enum.Enum):
    """What comes first where an answer's time is over: the answer or the upstream."""

    IMMEDIATE = "immediate"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Stale:
    """How answers are given whose time is over (RFC 8767)."""

    seconds: float = 3600.0
    """How long after that."""
    mode: Mode = Mode.IMMEDIATE
    timeout: float = VERIFY_TIMEOUT
    """Seconds that a client waits for the upstream in mode `verify`."""
    ttl: int = 0
    """Seconds; the TTL of records in a stale answer."""
    recheck: float = 0.0
    """Seconds after a refresh failed in which none is tried."""
    prefer_positive: bool = False
    """Whether a stale answer with data is better than a new one without."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The directive as read."""

    zones: tuple[Name, ...]
    """Names under these are cached."""
    success: Store = field(default_factory=Store)
    denial: Store = field(default_factory=lambda: Store(max_ttl=1800))
    servfail: float = 5.0
    """Seconds that an upstream's SERVFAIL is kept; 0 for not at all."""
    keep_ttl: bool = False
    """Whether hits show the TTL that the answer came with."""
    prefetch: Prefetch | None = None
    stale: Stale | None = None


def read(directives: Sequence[Directive], context: Context) -> Settings:
    """The settings of a server block's cache.

    Raises:
        CorefileError: an unknown option, a wrong value, or a second directive.
    """
    return _Reader(once(directives), context).read()


class _Reader:
    def __init__(self, directive: Directive, context: Context) -> None:
        self.directive = directive
        arguments = directive.arguments
        ttl = arguments[0] if arguments and re.fullmatch(r"[+-]?[0-9]+", arguments[0].text) else None
        zones = zones_of(arguments if ttl is None else arguments[1:], context)
        self.settings = Settings(zones)
        if ttl is not None:
            seconds = words.integer(ttl, 1)
            success, denial = self.settings.success, self.settings.denial
            self.settings = Settings(zones, replace(success, max_ttl=seconds), replace(denial, max_ttl=seconds))
        self.policy: Word | None = None

    def read(self) -> Settings:
        options: Mapping[str, Callable[[Option], None]] = {
            "success": self._success,
            "denial": self._denial,
            "prefetch": self._prefetch,
            "serve_stale": self._serve_stale,
            "serve_stale_policy": self._policy,
            "servfail": self._servfail,
            "disable": self._disable,
            "keepttl": self._keepttl,
        }
        for option in self.directive.options:
            handler = options.get(option.name.text)
            if handler is None:
                raise words.unknown_option(option, options)
            words.no_options(option)
            handler(option)
        if self.policy is not None:
            if self.settings.stale is None:
                raise CorefileError(self.policy.position, "'serve_stale_policy' goes with 'serve_stale'")
            self.settings = replace(self.settings, stale=replace(self.settings.stale, prefer_positive=True))
        return self.settings

    def _success(self, option: Option) -> None:
        self.settings = replace(self.settings, success=_store(option, self.settings.success))

    def _denial(self, option: Option) -> None:
        self.settings = replace(self.settings, denial=_store(option, self.settings.denial))

    def _prefetch(self, option: Option) -> None:
        amount, *rest = words.arguments(option, 1, 3)
        prefetch = Prefetch(words.integer(amount, 0))
        if rest:
            prefetch = replace(prefetch, gap=words.duration(rest[0]))
        if len(rest) > 1:
            word = rest[1]
            if not word.text.endswith("%"):
                raise CorefileError(word.position, f"'{word.text}' is not a percentage", "such as 10%")
            percentage = words.integer(Word(word.text.removesuffix("%"), word.position), 10, 90)
            prefetch = replace(prefetch, percentage=percentage)
        self.settings = replace(self.settings, prefetch=prefetch if prefetch.amount else None)

    def _serve_stale(self, option: Option) -> None:
        arguments = list(words.arguments(option, 0, 5))
        stale = Stale()
        if arguments:
            word = arguments.pop(0)
            stale = replace(stale, seconds=words.duration(word))
            if not stale.seconds:
                raise CorefileError(word.position, "'serve_stale' needs more than 0 seconds")
        if arguments:
            mode = Mode(words.choice(arguments.pop(0), *(mode.value for mode in Mode)))
            stale = replace(stale, mode=mode)
        if arguments and stale.mode is Mode.VERIFY:
            timeout = words.duration(arguments.pop(0))
            stale = replace(stale, timeout=timeout or VERIFY_TIMEOUT)
        if len(arguments) > 2:
            raise CorefileError(arguments[2].position, f"'{arguments[2].text}' is too much for 'serve_stale'")
        if arguments:
            stale = replace(stale, ttl=int(words.duration(arguments[0])))
        if len(arguments) > 1:
            stale = replace(stale, recheck=_at_most(arguments[1], MAX_RECHECK))
        self.settings = replace(self.settings, stale=stale)

    def _policy(self, option: Option) -> None:
        (word,) = words.arguments(option, 1, 1)
        words.choice(word, "prefer_positive")
        self.policy = option.name

    def _servfail(self, option: Option) -> None:
        (word,) = words.arguments(option, 1, 1)
        self.settings = replace(self.settings, servfail=_at_most(word, MAX_SERVFAIL))

    def _disable(self, option: Option) -> None:
        kind, *zones = words.arguments(option, 1)
        named = tuple(names.from_text(zone) for zone in words.zones(zones)) or self.settings.zones
        if words.choice(kind, "success", "denial") == "success":
            success = self.settings.success
            self.settings = replace(self.settings, success=replace(success, disabled=success.disabled + named))
        else:
            denial = self.settings.denial
            self.settings = replace(self.settings, denial=replace(denial, disabled=denial.disabled + named))

    def _keepttl(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self.settings = replace(self.settings, keep_ttl=True)


def _store(option: Option, store: Store) -> Store:
    """CAPACITY [TTL] [MINTTL]."""
    capacity, *rest = words.arguments(option, 1, 3)
    count = max(words.integer(capacity, 0), MIN_CAPACITY)
    store = replace(store, capacity=count // SHARDS * SHARDS)
    if rest:
        store = replace(store, max_ttl=words.integer(rest[0], 1))
    if len(rest) > 1:
        store = replace(store, min_ttl=words.integer(rest[1], 0))
    return store


def _at_most(word: Word, seconds: float) -> float:
    value = words.duration(word)
    if value > seconds:
        raise CorefileError(word.position, f"'{word.text}' is too long", f"at most {seconds:g}s")
    return value
