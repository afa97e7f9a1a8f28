"""The plugin `acl`: who may ask for what. It stands behind `rewrite`, so it sees the name that will be looked up."""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from prometheus_client.core import CounterMetricFamily, Metric

from dnsd.cluster.schema import zone_of
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word
from dnsd.plugins.directive import type_, zones
from dnsd.resolve.answer import ALWAYS, ONCE, Answer, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Ede, Rcode
from dnsd.wire.name import Name, to_text

EVERYTHING = "*"
"""All types, or all sources."""


class Action(enum.Enum):
    """What happens to a query that a rule is about."""

    ALLOW = "allow"
    BLOCK = "block"
    FILTER = "filter"
    DROP = "drop"


class Networks:
    """A set of networks. A look-up takes one step for each length of prefix, however many networks there are."""

    def __init__(self, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._by_prefix: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            host_bits = network.max_prefixlen - network.prefixlen
            prefixes = self._by_prefix.setdefault((network.version, host_bits), set())
            prefixes.add(int(network.network_address) >> host_bits)

    def __contains__(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> host_bits in prefixes
            for (version, host_bits), prefixes in self._by_prefix.items()
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a directive."""

    action: Action
    types: frozenset[int] | None = None
    """None for all."""
    sources: Networks | None = None
    """None for all."""


@dataclass(frozen=True, slots=True)
class Stanza:
    """One directive: its rules are for names in its zones."""

    zones: tuple[Name, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a query, and whether that depends on who asks."""

    action: Action
    zone: Name
    personal: bool


class Acl(Plugin):
    """Lets queries pass, or refuses them in one of three ways. The first rule that is about a query decides.

    Directives are asked in file order; one that has no rule for the query leaves it to the next.
    """

    name = "acl"

    def __init__(self, stanzas: Sequence[Stanza]) -> None:
        self._stanzas = stanzas
        self._refused: Counter[tuple[Action, str, Name]] = Counter()
        self._allowed: Counter[str] = Counter()

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin, or a refusal. Where the client's address was looked at, it is not kept."""
        verdict = self._judge(query)
        if verdict.action is Action.ALLOW:
            self._allowed[query.client.server] += 1
            answer = await next_(query)
            return replace(answer, validity=answer.validity & ONCE) if verdict.personal else answer
        self._refused[verdict.action, query.client.server, verdict.zone] += 1
        validity = ONCE if verdict.personal else ALWAYS
        match verdict.action:
            case Action.BLOCK:
                return Answer(Rcode.REFUSED, validity=validity, reason=Reason("blocked by acl", Ede.BLOCKED))
            case Action.FILTER:
                return Answer(Rcode.NOERROR, validity=validity, reason=Reason("filtered by acl", Ede.FILTERED))
            case _:
                return Answer(silent=True, validity=ONCE, reason=Reason("dropped by acl"))

    def _judge(self, query: Query) -> Verdict:
        client = ipaddress.ip_address(query.client.address.partition("%")[0])
        personal = False
        for stanza in self._stanzas:
            zone = zone_of(query.name, stanza.zones)
            if zone is None:
                continue
            for rule in stanza.rules:
                if rule.types is not None and query.type not in rule.types:
                    continue
                if rule.sources is not None:
                    personal = True
                    if client not in rule.sources:
                        continue
                return Verdict(rule.action, zone, personal)
        return Verdict(Action.ALLOW, (), personal)

    def metrics(self) -> Iterable[Metric]:
        """Queries by what happened to them."""
        allowed = CounterMetricFamily(
            "coredns_acl_allowed_requests", "DNS requests being allowed.", labels=("server", "view")
        )
        for server, count in self._allowed.items():
            allowed.add_metric((server, ""), count)
        yield allowed
        for action, word in ((Action.BLOCK, "blocked"), (Action.FILTER, "filtered"), (Action.DROP, "dropped")):
            refused = CounterMetricFamily(
                f"coredns_acl_{word}_requests", f"DNS requests being {word}.", labels=("server", "zone", "view")
            )
            for (happened, server, zone), count in self._refused.items():
                if happened is action:
                    refused.add_metric((server, to_text(zone), ""), count)
            yield refused


def setup(directives: Sequence[Directive], context: Context) -> Acl:
    """The plugin, from its directives."""
    return Acl(
        [
            Stanza(zones(directive.arguments, context), tuple(_rule(option) for option in directive.options))
            for directive in directives
        ]
    )


def _rule(option: Option) -> Rule:
    """`ACTION [type TYPE...] [net SOURCE...]`."""
    words.no_options(option)
    text = option.name.text.lower()
    actions = {action.value: action for action in Action}
    if text not in actions:
        raise words.unknown_option(option, actions)
    types, sources = None, None
    for section, values in _sections(option):
        everything = any(word.text == EVERYTHING for word in values)
        if section == "type":
            types = None if everything else (types or frozenset()) | frozenset(map(type_, values))
        else:
            sources = None if everything else [*(sources or []), *map(words.network, values)]
    return Rule(actions[text], types, None if sources is None else Networks(sources))


def _sections(option: Option) -> Iterator[tuple[str, list[Word]]]:
    """The words after each `type` and each `net`.

    Raises:
        CorefileError: there is another word before them, or none after one of them.
    """
    found: list[tuple[Word, list[Word]]] = []
    for word in option.arguments:
        if word.text.lower() in ("type", "net"):
            found.append((word, []))
        elif found:
            found[-1][1].append(word)
        else:
            raise CorefileError(word.position, f"'{word.text}' is not known here", "one of type, net")
    for head, values in found:
        if not values:
            raise CorefileError(head.position, f"'{head.text}' is followed by nothing", "* stands for everything")
        yield head.text.lower(), values
