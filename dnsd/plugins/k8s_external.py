"""The plugin `k8s_external`: a zone of the addresses at which Services are reached from outside. spec.md section 2.9.

Knows the directive and what to do with a finding; the rules of names are in `cluster.external`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from dnslib import RR
from msgspec.structs import replace

from dnsd.cluster import external, schema
from dnsd.cluster.external import Settings
from dnsd.cluster.index import Index, Reader
from dnsd.cluster.schema import Outcome
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive
from dnsd.plugins.directive import fallthrough, once, zones
from dnsd.plugins.kubernetes import Kubernetes
from dnsd.plugins.transfer import Contents, Transferable
from dnsd.resolve.answer import Answer, Failure, Reason, Refused, Validity
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.codes import Ede, Rcode, Type
from dnsd.wire.name import Name
from dnsd.wire.records import name_of

MAX_TTL = 3600
"""Seconds."""
MAX_DEPTH = 10
"""CNAMEs that are followed for one query."""
MAX_HOSTS = 4
"""Host names of load balancers whose addresses are looked up for the additional section of one answer."""


class NotSynced(Failure):
    """The cluster has not been read yet: what is not found may exist."""

    error = Ede.NOT_READY


class Options(msgspec.Struct, frozen=True):
    """What the directive says."""

    zones: tuple[Name, ...]
    apex: Name = (b"dns",)
    ttl: int = 5
    headless: bool = False
    fallthrough: tuple[Name, ...] = ()


@dataclass(slots=True)
class Shown:
    """The cluster that an external zone shows."""

    settings: Settings
    index: Index


class External(Plugin, Transferable):
    """Answers names of its zones, and passes the rest on; all of it where the block has no `kubernetes`."""

    name = "k8s_external"

    def __init__(self, options: Options, resolve: Next) -> None:
        self._options = options
        self._resolve = resolve
        self._shown: Shown | None = None

    def show(self, kubernetes: Kubernetes) -> None:
        """Take the cluster of the block's `kubernetes`."""
        options = self._options
        settings = Settings(options.zones, kubernetes.settings, options.apex, options.ttl, options.headless)
        self._shown = Shown(settings, kubernetes.cluster.index)

    def contents(self, zone: Name) -> Contents | None:
        """An external zone as a whole; reverse zones cannot be listed."""
        if self._shown is None or zone not in self._options.zones or schema.is_reverse(zone):
            return None
        index, settings = self._shown.index, self._shown.settings
        if not index.synced:
            raise NotSynced("the cluster has not been read yet")
        return Contents(external.soa(settings, zone, index.serial), external.zone_records(index, settings, zone))

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Answer names of our zones; a name error goes on where `fallthrough` says so."""
        zone = schema.zone_of(query.name, self._options.zones)
        if self._shown is None or zone is None:
            return await next_(query)
        if query.type in (Type.AXFR, Type.IXFR):
            raise Refused(f"{names.to_text(query.name)} is not to be transferred")
        settings, reader = self._shown.settings, Reader(self._shown.index)
        finding = external.lookup(reader, settings, zone, query.question)
        if not reader.complete:
            raise NotSynced("the cluster has not been read yet")
        validity = Validity(frozenset(reader.keys))
        if finding.outcome is Outcome.NAME_ERROR and self._falls_through(query.name):
            answer = await next_(query)
            return replace(answer, validity=answer.validity & validity)
        reason = Reason(finding.reason)
        if finding.outcome is not Outcome.DATA:
            rcode = Rcode.NXDOMAIN if finding.outcome is Outcome.NAME_ERROR else Rcode.NOERROR
            negative = external.soa(settings, zone, reader.serial_of_the_day())
            return Answer(rcode, codes.AA, authority=(negative,), validity=validity, reason=reason)
        answer = Answer(
            Rcode.NOERROR, codes.AA, finding.answer, (), finding.additional, validity=validity, reason=reason
        )
        if finding.target is not None:
            return await self._follow(query, answer, finding.target)
        return await self._with_hosts(query, answer, zone)

    def _falls_through(self, name: Name) -> bool:
        return any(names.is_under(name, zone) for zone in self._options.fallthrough)

    async def _follow(self, query: Query, answer: Answer, target: Name) -> Answer:
        """A CNAME to a load balancer's host name, with what that leads to; its failures leave the CNAME alone."""
        other = await self._ask(query, target, query.type)
        if other is None:
            return answer
        return replace(
            answer,
            flags=answer.flags | other.flags & codes.TC,
            answer=[*answer.answer, *other.answer],
            validity=answer.validity & other.validity.steady(),
        )

    async def _with_hosts(self, query: Query, answer: Answer, zone: Name) -> Answer:
        """SRV records with the addresses of those targets that lie elsewhere."""
        targets = dict.fromkeys(name_of(record.rdata.target) for record in answer.answer if record.rtype == Type.SRV)
        hosts = [target for target in targets if not names.is_under(target, zone)]
        additional: list[RR] = list(answer.additional)
        validity = answer.validity
        for host in hosts[:MAX_HOSTS]:
            for type_ in (Type.A, Type.AAAA):
                other = await self._ask(query, host, type_)
                if other is not None:
                    additional += other.answer
                    validity &= other.validity.steady()
        return replace(answer, additional=additional, validity=validity)

    async def _ask(self, query: Query, target: Name, type_: int) -> Answer | None:
        """What the server's own front door says about a name; None at the end of a chain that is too long."""
        if query.depth >= MAX_DEPTH:
            return None
        return await self._resolve(replace(query.asking(target, type_), depth=query.depth + 1))


def setup(directives: Sequence[Directive], context: Context) -> External:
    """The plugin, from its one directive."""
    plugin = External(_read(once(directives), context), context.resolve)

    def find_cluster() -> None:
        kubernetes = context.plugins.get("kubernetes")
        if isinstance(kubernetes, Kubernetes):
            plugin.show(kubernetes)

    context.on_ready.append(find_cluster)
    return plugin


def _read(directive: Directive, context: Context) -> Options:
    options = Options(zones(directive.arguments, context))
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "apex":
                label = words.zone(words.arguments(option, 1, 1)[0])
                options = replace(options, apex=names.from_text(label))
            case "ttl":
                options = replace(options, ttl=words.integer(words.arguments(option, 1, 1)[0], 0, MAX_TTL))
            case "headless":
                words.arguments(option, 0, 0)
                options = replace(options, headless=True)
            case "fallthrough":
                options = replace(options, fallthrough=fallthrough(option))
            case _:
                raise words.unknown_option(option, ["apex", "ttl", "headless", "fallthrough"])
    if not options.apex:
        raise CorefileError(directive.name.position, "'apex' needs a label, such as dns")
    return options
