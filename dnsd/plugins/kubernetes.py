"""The plugin `kubernetes`: answers for the cluster's zones, and follows ExternalName Services.

Knows the directive and what to do with a finding of `cluster.schema`; the rules of names are there, not here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dnslib import RR
from msgspec.structs import replace

from dnsd.cluster import schema
from dnsd.cluster.contents import zone_records
from dnsd.cluster.index import Reader
from dnsd.cluster.schema import Finding, Outcome
from dnsd.cluster.store import Cluster, Clusters
from dnsd.corefile.syntax import Directive
from dnsd.plugins.kubernetes_settings import Stanza, read
from dnsd.plugins.transfer import Contents, Transferable
from dnsd.resolve.answer import ONCE, Answer, Failure, Reason, Validity
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.codes import Ede, Rcode
from dnsd.wire.name import Name, to_wire

log = logging.getLogger("dnsd.plugin.kubernetes")

MAX_CHAIN = 10
"""CNAMEs that are followed for one query; spec.md section 2.5."""


class NotSynced(Failure):
    """Asked for the whole of a zone before the first lists have arrived."""

    error = Ede.NOT_READY


@dataclass(frozen=True, slots=True)
class _Part:
    """What one name of a CNAME chain gives."""

    finding: Finding
    zone: Name
    validity: Validity


class Kubernetes(Plugin, Transferable):
    """Answers names of the cluster, and passes the rest on."""

    name = "kubernetes"

    def __init__(self, stanza: Stanza, clusters: Clusters, resolve: Next) -> None:
        self.stanza = stanza
        self.settings = stanza.schema
        self.cluster = clusters.get(stanza.source)
        self.imports: Cluster | None = None
        """The set of clusters, for zones of `multicluster`."""
        if stanza.multicluster:
            self.imports = clusters.get(replace(stanza.source, imports=True))
        self._clusters = clusters
        self._warning: asyncio.TimerHandle | None = None
        self._resolve = resolve
        self._fallthrough = stanza.fallthrough
        self._ends = tuple(map(to_wire, self.settings.zones))

    async def start(self) -> None:
        """Begin to watch the cluster."""
        for cluster in self.clusters:
            self._clusters.use(cluster)
        if not self.ready:
            self._warning = asyncio.get_running_loop().call_later(self.stanza.startup_timeout, self._warn)

    def _warn(self) -> None:
        if not self.ready:
            log.warning("the cluster has not been listed after %gs", self.stanza.startup_timeout)

    async def stop(self) -> None:
        """Stop watching, unless somebody else still needs the cluster."""
        if self._warning is not None:
            self._warning.cancel()
        for cluster in self.clusters:
            await self._clusters.release(cluster)

    @property
    def clusters(self) -> Sequence[Cluster]:
        """This cluster, and the set of clusters for `multicluster`."""
        return (self.cluster,) if self.imports is None else (self.cluster, self.imports)

    @property
    def ready(self) -> bool:
        """Whether the first sync is complete."""
        return all(cluster.index.synced for cluster in self.clusters)

    def passes(self, name: bytes) -> bool:
        """Whether the name is in none of our zones."""
        return not name.endswith(self._ends)

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Answer names of our zones; a name error goes on where `fallthrough` says so."""
        zone = schema.zone_of(query.name, self.settings.zones)
        if zone is None:
            return await next_(query)
        part = self._look_up(query, zone)
        finding = part.finding
        if not part.validity.keep:
            return self._not_ready(zone)
        if self._falls_through(query.name) and (finding.outcome is Outcome.NAME_ERROR or finding.fall_through):
            answer = await next_(query)
            return replace(answer, validity=answer.validity & part.validity)
        if finding.target is not None:
            return await self._follow(query, part)
        return self._to_answer(part)

    def contents(self, zone: Name) -> Contents | None:
        """A cluster zone as a whole; those of `multicluster` and reverse zones are not to be had."""
        if zone not in self.settings.zones or zone in self.stanza.multicluster or schema.is_reverse(zone):
            return None
        index = self.cluster.index
        if not index.synced:
            raise NotSynced("the cluster has not been read yet")
        soa = schema.soa(self.settings, zone, index.serial)
        return Contents(soa, zone_records(index, self.settings, zone))

    def _look_up(self, query: Query, zone: Name) -> _Part:
        cluster, settings = self.cluster, self.settings
        if self.imports is not None and zone in self.stanza.multicluster:
            cluster, settings = self.imports, replace(settings, imports=True)
        reader = Reader(cluster.index)
        finding = schema.lookup(reader, settings, zone, query.question)
        return _Part(finding, zone, Validity(frozenset(reader.keys), keep=reader.complete))

    def _falls_through(self, name: Name) -> bool:
        return any(names.is_under(name, zone) for zone in self._fallthrough)

    def _soa(self, zone: Name) -> RR:
        return schema.soa(self.settings, zone, self.cluster.index.serial)

    def _not_ready(self, zone: Name) -> Answer:
        """The cluster is not known yet: SERVFAIL, and never a false NXDOMAIN (spec.md sections 3.3 and 11)."""
        reason = Reason("the cluster has not been listed yet", Ede.NOT_READY)
        return Answer(Rcode.SERVFAIL, codes.AA, authority=(self._soa(zone),), validity=ONCE, reason=reason)

    def _to_answer(self, part: _Part) -> Answer:
        finding, reason = part.finding, Reason(part.finding.reason)
        if finding.outcome is Outcome.DATA:
            return Answer(Rcode.NOERROR, codes.AA, finding.answer, (), finding.additional, part.validity, reason=reason)
        rcode = Rcode.NXDOMAIN if finding.outcome is Outcome.NAME_ERROR else Rcode.NOERROR
        return Answer(rcode, codes.AA, authority=(self._soa(part.zone),), validity=part.validity, reason=reason)

    async def _follow(self, query: Query, first: _Part) -> Answer:
        """An ExternalName's CNAME with what it leads to (spec.md section 2.5).

        Inside our zone, a target without addresses makes the whole answer NODATA; outside, the CNAME stands alone.
        """
        part, chain, seen = first, list(first.finding.answer), {query.name}
        validity = first.validity
        while part.finding.target is not None:
            target = names.lower(part.finding.target)
            inner = query.asking(part.finding.target)
            zone = schema.zone_of(target, self.settings.zones)
            if zone != part.zone:
                return await self._leave(inner, query, chain, validity, first)
            if target in seen or len(seen) > MAX_CHAIN:
                return self._no_data(first, validity, "the chain of ExternalName services is a loop or too long")
            seen.add(target)
            part = self._look_up(inner, zone)
            validity &= part.validity
            if not part.validity.keep:
                return self._not_ready(first.zone)
            if part.finding.outcome is not Outcome.DATA:
                return self._no_data(first, validity, f"{first.finding.reason}: {part.finding.reason}")
            chain.extend(part.finding.answer)
        return Answer(Rcode.NOERROR, codes.AA, chain, validity=validity, reason=Reason(first.finding.reason))

    def _no_data(self, first: _Part, validity: Validity, text: str) -> Answer:
        return Answer(
            Rcode.NOERROR, codes.AA, authority=(self._soa(first.zone),), validity=validity, reason=Reason(text)
        )

    async def _leave(self, inner: Query, query: Query, chain: list[RR], validity: Validity, first: _Part) -> Answer:
        """Ask the server's own front door for a target that is not ours; its failures leave the CNAME alone."""
        if query.depth >= MAX_CHAIN:
            return self._no_data(first, validity, "the chain of CNAMEs is too long")
        try:
            answer = await self._resolve(replace(inner, depth=query.depth + 1))
        except Failure as failure:
            answer = failure.answer()
        return Answer(
            Rcode.NOERROR,
            codes.AA | answer.flags & codes.TC,
            [*chain, *answer.answer],
            validity=validity & answer.validity.steady(),
            reason=Reason(first.finding.reason),
        )


def setup(directives: Sequence[Directive], context: Context) -> Kubernetes:
    """The plugin, from its one directive."""
    return Kubernetes(read(directives, context), context.clusters, context.resolve)
