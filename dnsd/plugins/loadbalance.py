"""The plugin `loadbalance`: another order of addresses each time. spec.md section 6, RFC 1794."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnslib import RR
from msgspec.structs import replace

from dnsd.cluster.index import Key, pack_address
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Word
from dnsd.plugins import textfile
from dnsd.plugins.directive import once
from dnsd.plugins.textfile import TextFile, Unreadable
from dnsd.resolve.answer import ALWAYS, ONCE, Answer, Validity
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import name as names
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.name import BadName, Name
from dnsd.wire.records import name_of
from dnsd.wire.response import Response

log = logging.getLogger("dnsd.plugin.loadbalance")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Weights = Mapping[Name, Mapping[bytes, int]]
"""By owner name and packed address."""

DEFAULT_WEIGHT = 1
MAX_WEIGHT = 255
DEFAULT_RELOAD = 30.0
"""Seconds between two looks at the weight file."""
WEIGHTED_TYPES = frozenset({Type.A, Type.AAAA, Type.SRV})
"""Types asked for whose answers are weighted."""

_PLACES: dict[int, int] = {Type.CNAME: 0, Type.A: 2, Type.AAAA: 2, Type.MX: 3}
"""Where records of a type stand; all others between CNAMEs and addresses."""


@dataclass(slots=True)
class Sorted:
    """The records of a section by what has to be done with them."""

    aliases: list[RR] = field(default_factory=list)
    others: list[RR] = field(default_factory=list)
    addresses: list[RR] = field(default_factory=list)
    exchangers: list[RR] = field(default_factory=list)

    def records(self) -> list[RR]:
        """CNAMEs first: some stub resolvers want to see them before what they lead to."""
        return [*self.aliases, *self.others, *self.addresses, *self.exchangers]


class RoundRobin(Plugin):
    """CNAMEs first, then what is neither address nor mail exchanger, then addresses shuffled, then MX shuffled.

    Where some networks are preferred, addresses in them come before the others, in the order of the networks.
    """

    name = "loadbalance"

    def __init__(self, preferred: Sequence[Network] = (), chance: random.Random | None = None) -> None:
        self.preferred = preferred
        self.chance = chance or random.Random()  # noqa: S311  no secret: an order that everybody sees
        self.validity = ALWAYS
        """Of what the policy itself reads."""

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Another order, and whoever keeps the answer rotates it if that is as good as asking here again."""
        answer = await next_(query)
        if answer.rcode != Rcode.NOERROR or query.type in (Type.AXFR, Type.IXFR):
            return answer
        if max(len(answer.answer), len(answer.authority), len(answer.additional)) < 2:
            return answer
        sections = [self._ordered(section, query) for section in (answer.answer, answer.authority, answer.additional)]
        answer = replace(answer, answer=sections[0], authority=sections[1], additional=sections[2])
        if any(self._is_drawn(section, query) for section in sections):
            return replace(answer, validity=answer.validity & ONCE)
        return replace(answer, rotate=not self.preferred, validity=answer.validity & self.validity)

    def passes(self, name: bytes) -> bool:  # noqa: ARG002  only answers matter here
        """Every query."""
        return True

    def returns(self, response: Response) -> bool:
        """Whether there is one order only."""
        counts, types = response.layout.counts, response.layout.types
        first = 0
        for count in counts:
            if count > 1 and not _settled(types[first : first + count]):
                return False
            first += count
        return True

    def _ordered(self, records: Sequence[RR], query: Query) -> Sequence[RR]:
        if len(records) < 2:
            return records
        groups = by_kind(records)
        self._order(groups, query)
        if self.preferred:
            groups.addresses.sort(key=self._rank)
        return groups.records()

    def _order(self, groups: Sorted, query: Query) -> None:  # noqa: ARG002  for policies that look at the type
        self.chance.shuffle(groups.addresses)
        self.chance.shuffle(groups.exchangers)

    def _is_drawn(self, records: Sequence[RR], query: Query) -> bool:  # noqa: ARG002  the same
        """Whether the order of these records is a matter of chance that a rotation does not do justice to."""
        if not self.preferred or len(records) < 2:
            return False
        ranks = [self._rank(record) for record in by_kind(records).addresses]
        return len(set(ranks)) < len(ranks)

    def _rank(self, record: RR) -> int:
        """The place of the first preferred network that the address is in."""
        address = ipaddress.ip_address(bytes(record.rdata.data))
        return next((i for i, network in enumerate(self.preferred) if address in network), len(self.preferred))


class Weighted(RoundRobin):
    """Draws which address comes first, by weights from a file; the others stay where they are."""

    def __init__(
        self,
        file: TextFile,
        reload: float,
        changed: Callable[[frozenset[Key]], None],
        preferred: Sequence[Network] = (),
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(preferred, chance)
        self.weights: Weights = {}
        self._file = file
        self._reload = reload
        self._changed = changed
        self.validity = Validity(frozenset({("weights", file.path)}))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look after the file."""
        if self._reload:
            self._task = asyncio.create_task(textfile.follow(self._file, self._reload, self.take, log))

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take(self, text: str) -> None:
        """Use these weights from now on.

        Raises:
            Unreadable: a line is wrong; the weights stay as they were.
        """
        self.weights = parse_weights(text, self._file.path)
        self._changed(self.validity.keys)

    def _order(self, groups: Sorted, query: Query) -> None:
        addresses = groups.addresses
        if query.type in WEIGHTED_TYPES and len(addresses) > 1:
            weights = [self._weight(record) for record in addresses]
            (first,) = self.chance.choices(range(len(addresses)), weights)
            addresses[0], addresses[first] = addresses[first], addresses[0]

    def _weight(self, record: RR) -> int:
        return self.weights.get(name_of(record.rname), {}).get(bytes(record.rdata.data), DEFAULT_WEIGHT)

    def _is_drawn(self, records: Sequence[RR], query: Query) -> bool:
        if super()._is_drawn(records, query):
            return True
        if len(records) < 2 or query.type not in WEIGHTED_TYPES:
            return False
        addresses = by_kind(records).addresses
        return len(addresses) > 1 and any(name_of(record.rname) in self.weights for record in addresses)


def _settled(types: Sequence[int]) -> bool:
    """Whether records of these types have one order only, and are in it."""
    places = [_PLACES.get(type_, 1) for type_ in types]
    return places == sorted(places) and places.count(2) < 2 and places.count(3) < 2


def by_kind(records: Sequence[RR]) -> Sorted:
    """The records of a section, each kind in the order in which it came."""
    groups = Sorted()
    for record in records:
        if record.rtype == Type.CNAME:
            groups.aliases.append(record)
        elif record.rtype in (Type.A, Type.AAAA) and len(record.rdata.data) in (4, 16):
            groups.addresses.append(record)
        elif record.rtype == Type.MX:
            groups.exchangers.append(record)
        else:
            groups.others.append(record)
    return groups


def parse_weights(text: str, path: str) -> Weights:
    """A weight file: lines with a name, each followed by lines with an address and its weight, 1 to 255.

    Raises:
        Unreadable: a line is something else.
    """
    weights: dict[Name, dict[bytes, int]] = {}
    current: dict[bytes, int] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        packed = pack_address(fields[0])
        if len(fields) == 1 and packed is None:
            try:
                owner = names.lower(names.from_text(fields[0]))
            except BadName as error:
                raise Unreadable(f"{path}:{number}: {error}") from error
            current = weights.setdefault(owner, {})
            continue
        if len(fields) != 2 or packed is None:
            raise Unreadable(f"{path}:{number}: neither a name nor an address with its weight")
        if not fields[1].isascii() or not fields[1].isdigit() or not 1 <= int(fields[1]) <= MAX_WEIGHT:
            raise Unreadable(f"{path}:{number}: the weight '{fields[1]}' is not a number from 1 to {MAX_WEIGHT}")
        if current is None:
            raise Unreadable(f"{path}:{number}: an address before the first name")
        current[packed] = int(fields[1])
    return weights


def setup(directives: Sequence[Directive], context: Context) -> RoundRobin:
    """The plugin, from its directive."""
    directive = once(directives)
    policy, *rest = words.arguments(directive, 0, 2) or (None,)
    weighted = policy is not None and words.choice(policy, "round_robin", "weighted") == "weighted"
    if weighted and not rest:
        raise CorefileError(directive.name.position, "'loadbalance weighted' needs a weight file")
    if rest and not weighted:
        raise CorefileError(rest[0].position, f"'{rest[0].text}' is too much: 'round_robin' takes no arguments")
    preferred: list[Network] = []
    reload = DEFAULT_RELOAD
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "prefer":
                preferred += map(words.network, words.arguments(option, 1))
            case "reload" if weighted:
                reload = words.duration(words.arguments(option, 1, 1)[0])
            case _:
                raise words.unknown_option(option, ["prefer", "reload"] if weighted else ["prefer"])
    return _weighted(rest[0], reload, preferred, context) if weighted else RoundRobin(preferred)


def _weighted(word: Word, reload: float, preferred: Sequence[Network], context: Context) -> Weighted:
    """A file that is wrong is an error; one that is not there yet is not, if somebody looks again."""
    file = TextFile(str(Path(context.directory) / word.text))
    plugin = Weighted(file, reload, context.changed, preferred)
    try:
        text = file.changed()
    except Unreadable as error:
        if not reload:
            raise CorefileError(word.position, str(error)) from error
        log.warning("%s; looking again every %g s", error, reload)
        return plugin
    try:
        plugin.take(text or "")
    except Unreadable as error:
        raise CorefileError(word.position, str(error)) from error
    return plugin
