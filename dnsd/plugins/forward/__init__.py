"""The plugin `forward`: asks other name servers. spec.md section 6.1.

Knows the stanzas of a server block and what passes from one to the next; `engine` knows how an upstream is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from dnsd.corefile.syntax import Directive
from dnsd.plugins.forward import directive
from dnsd.plugins.forward.forwarder import Forwarder
from dnsd.plugins.forward.settings import Stanza
from dnsd.resolve.answer import Answer
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Rcode, rcode_text
from dnsd.wire.name import to_wire


class Forward(Plugin):
    """Forwards names that a stanza takes, and passes the rest on."""

    name = "forward"

    def __init__(self, stanzas: Sequence[Stanza], context: Context) -> None:
        self.forwarders = tuple(Forwarder(stanza, context.clock) for stanza in stanzas)
        self._excluded = tuple(to_wire(zone) for stanza in stanzas for zone in stanza.excluded)
        self._plugins = context.plugins
        context.on_ready.append(self._look_around)

    def _look_around(self) -> None:
        for forwarder in self.forwarders:
            forwarder.asks_ad = "cache" in self._plugins

    async def start(self) -> None:
        """Open what queries need."""
        for forwarder in self.forwarders:
            forwarder.start()

    async def stop(self) -> None:
        """Finish the queries that wait, and close everything."""
        for forwarder in self.forwarders:
            await forwarder.stop()

    @property
    def ready(self) -> bool:
        """Whether every stanza knows its upstreams' addresses."""
        return all(forwarder.ready for forwarder in self.forwarders)

    def passes(self, name: bytes) -> bool:
        """Whether no stanza excepts the name."""
        return not name.endswith(self._excluded)

    async def answer(self, query: Query, next_: Next) -> Answer:
        """Ask the upstreams of the first stanza that takes the name, and of further ones where it says `next`."""
        answer: Answer | None = None
        for forwarder in self.forwarders:
            if forwarder.stanza.takes(query.name):
                answer = await forwarder.answer(query)
                if not _passes(answer, forwarder.stanza):
                    return answer
        return answer if answer is not None else await next_(query)

    def metrics(self) -> Iterable[Metric]:
        """How the upstreams did (spec.md section 7.1)."""
        broken = CounterMetricFamily(
            "coredns_forward_healthcheck_broken", "Queries sent though all upstreams are down."
        )
        broken.add_metric([], sum(forwarder.engine.broken for forwarder in self.forwarders))
        yield broken
        rejects = CounterMetricFamily("coredns_forward_max_concurrent_rejects", "Queries refused by max_concurrent.")
        rejects.add_metric([], sum(forwarder.rejected for forwarder in self.forwarders))
        yield rejects
        durations = HistogramMetricFamily(
            "coredns_proxy_request_duration_seconds",
            "Seconds until an upstream responded.",
            labels=["proxy_name", "to", "rcode"],
        )
        failures = CounterMetricFamily(
            "coredns_proxy_healthcheck_failures", "Probes that failed.", labels=["proxy_name", "to"]
        )
        hits = CounterMetricFamily(
            "coredns_proxy_conn_cache_hits",
            "Queries on a connection that was open.",
            labels=["proxy_name", "to", "proto"],
        )
        misses = CounterMetricFamily(
            "coredns_proxy_conn_cache_misses", "Connections opened.", labels=["proxy_name", "to", "proto"]
        )
        for forwarder in self.forwarders:
            for upstream in forwarder.engine.upstreams:
                to = upstream.name
                for rcode, seconds in upstream.durations.items():
                    buckets = list(seconds.cumulative())
                    durations.add_metric([self.name, to, rcode_text(rcode)], buckets, seconds.sum)
                if upstream.failed_probes:
                    failures.add_metric([self.name, to], upstream.failed_probes)
            for upstream, channel in forwarder.channels:
                if channel.hits:
                    hits.add_metric([self.name, upstream.name, channel.protocol], channel.hits)
                if channel.misses:
                    misses.add_metric([self.name, upstream.name, channel.protocol], channel.misses)
        yield from (durations, failures, hits, misses)


def _passes(answer: Answer, stanza: Stanza) -> bool:
    """Whether the next stanza is to be asked too."""
    if answer.rcode in stanza.next_rcodes:
        return True
    return stanza.next_on_nodata and answer.rcode == Rcode.NOERROR and not answer.answer


def setup(directives: Sequence[Directive], context: Context) -> Forward:
    """The plugin, from every `forward` of a server block."""
    return Forward(tuple(directive.read(item, context.directory) for item in directives), context)
