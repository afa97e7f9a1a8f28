"""The plugin `autopath`: walks a client's search path for it. spec.md section 2.9.

A name that does not exist and ends in the first domain of the client's search path is looked up with the others in its
place, and the answer is given under a CNAME. Whoever the client is must be certain: one address, pods of one namespace.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace
from prometheus_client.core import CounterMetricFamily, Metric

from dnsd.cluster.index import Pod, Reader, pack_address
from dnsd.cluster.schema import Pods, zone_of
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive
from dnsd.plugins.directive import once, zones
from dnsd.plugins.kubernetes import Kubernetes
from dnsd.resolve.answer import ONCE, Answer, Failure, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import name as names
from dnsd.wire import records
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.name import Name

log = logging.getLogger("dnsd.plugin.autopath")

MAX_DOMAINS = 32
"""Of a search path: what Kubernetes allows a pod, and a bound to the lookups that one query can cause."""
MAX_FILE = 65_536
"""Octets of a resolv.conf that are read."""
RESOLV_CONF = "/etc/resolv.conf"
"""What kubelet gives to a pod ends with the search path of its node, which is also that of this server."""

SearchPath = tuple[Name, ...]
"""The domains of a search path; the name as it is, without one, comes after them."""


class Search(ABC):
    """Where search paths come from."""

    @abstractmethod
    def path(self, query: Query) -> SearchPath:
        """The search path of who asks; empty where it is not known."""

    def personal(self, query: Query) -> bool:  # noqa: ARG002  for those who override it
        """Whether another client that asks the same may have another path that matters to the answer."""
        return False


class FileSearch(Search):
    """One search path for everybody, from a resolv.conf."""

    def __init__(self, domains: SearchPath) -> None:
        self._domains = domains

    def path(self, query: Query) -> SearchPath:  # noqa: ARG002  the same for all
        """The path of the file."""
        return self._domains


class PodSearch(Search):
    """The search path that kubelet gives to a pod, by the namespace of the pod that has the client's address."""

    def __init__(self, host_domains: SearchPath) -> None:
        self._host_domains = host_domains
        self.kubernetes: Kubernetes | None = None

    def path(self, query: Query) -> SearchPath:
        """`NAMESPACE.svc.ZONE`, `svc.ZONE`, `ZONE`, and the node's own domains."""
        zone = self._zone(query)
        packed = pack_address(query.client.address.partition("%")[0])
        if zone is None or packed is None or self.kubernetes is None:
            return ()
        owners = Reader(self.kubernetes.cluster.index).owners(packed)
        namespaces = {owner.namespace for owner in owners if isinstance(owner, Pod)}
        if len(namespaces) != 1:
            return ()
        service = (b"svc", *zone)
        return ((namespaces.pop().encode(), *service), service, zone, *self._host_domains)

    def personal(self, query: Query) -> bool:
        """Of names that are below a namespace, those that do not exist are answered to its own pods in another way."""
        zone = self._zone(query)
        if zone is None:
            return False
        labels = names.relative(query.name, zone)
        return len(labels) > 2 and labels[-1] == b"svc"

    def _zone(self, query: Query) -> Name | None:
        if self.kubernetes is None or self.kubernetes.settings.pods is not Pods.VERIFIED:
            return None
        return zone_of(query.name, self.kubernetes.settings.zones)


class AutoPath(Plugin):
    """Answers for names that do not exist with what the rest of the search path has."""

    name = "autopath"

    def __init__(self, zones: Sequence[Name], search: Search) -> None:
        self._zones = zones
        self._search = search
        self._found: Counter[str] = Counter()
        """Answers from further on in a search path, by listener."""

    async def answer(self, query: Query, next_: Next) -> Answer:
        """What the rest of the chain says, or where that is NXDOMAIN the first other answer along the search path."""
        first = await next_(query)
        if (
            first.rcode != Rcode.NXDOMAIN
            or query.type in (Type.AXFR, Type.IXFR)
            or zone_of(query.name, self._zones) is None
        ):
            return first
        validity = first.validity & ONCE if self._search.personal(query) else first.validity
        domain, *others = self._search.path(query) or (query.name,)
        if query.name == domain or not names.is_under(query.name, domain):
            return replace(first, validity=validity)
        base = names.relative(query.question.asked, domain)
        for other in (*others, names.ROOT):
            name = (*base, *other)
            if names.wire_length(name) > names.MAX_NAME:
                continue
            try:
                answer = await next_(query.asking(name))
            except Failure as failure:
                reason = Reason(f"{names.to_text(name)}, next in the search path: {failure.text}", failure.error)
                return replace(first, validity=first.validity & ONCE, reason=reason)
            validity &= answer.validity
            if answer.rcode != Rcode.NXDOMAIN:
                self._found[query.client.server] += 1
                return replace(_under_alias(answer, query.question.asked, name), validity=validity)
        return replace(first, validity=validity)

    def metrics(self) -> Iterable[Metric]:
        """How often something was found further on."""
        found = CounterMetricFamily(
            "coredns_autopath_success", "Queries answered from further on in a search path.", labels=("server",)
        )
        for server, count in self._found.items():
            found.add_metric((server,), count)
        yield found


def _under_alias(answer: Answer, asked: Name, name: Name) -> Answer:
    """The answer for `name` as one for `asked`: with a CNAME before its records, where it has any."""
    if not answer.answer:
        return answer
    alias = records.cname(asked, answer.answer[0].ttl, name)
    return replace(answer, answer=[alias, *answer.answer], cached="")


def setup(directives: Sequence[Directive], context: Context) -> AutoPath:
    """The plugin, from its one directive."""
    directive = once(directives)
    words.no_options(directive)
    *given, source = words.arguments(directive, 1)
    if not source.text.startswith("@"):
        path = Path(context.directory) / source.text
        try:
            domains = search_path(_read(path))
        except OSError as error:
            raise CorefileError(source.position, f"cannot read {path}: {error.strerror}") from error
        if not domains:
            log.warning("%s: %s has no search path: autopath does nothing", source.position, path)
        return AutoPath(zones(given, context), FileSearch(domains))
    if source.text != "@kubernetes":
        raise CorefileError(source.position, f"'{source.text}' has no search paths", "@kubernetes, or a resolv.conf")
    search = PodSearch(_host_domains())

    def find_cluster() -> None:
        kubernetes = context.plugins.get("kubernetes")
        if not isinstance(kubernetes, Kubernetes):
            log.warning("%s: this server block has no 'kubernetes': autopath does nothing", source.position)
            return
        search.kubernetes = kubernetes
        if kubernetes.settings.pods is not Pods.VERIFIED:
            log.warning("%s: 'kubernetes' needs 'pods verified' here: autopath does nothing", source.position)

    context.on_ready.append(find_cluster)
    return AutoPath(zones(given, context), search)


def search_path(text: str) -> SearchPath:
    """The domains of the last `search` or `domain` line of a resolv.conf, as in resolv.conf(5); 32 at most."""
    found: list[Name] = []
    for line in text.splitlines():
        keyword, *domains = line.split() or [""]
        if keyword in ("search", "domain"):
            found = [names.lower(name) for domain in domains if (name := _name(domain))]
    return tuple(dict.fromkeys(found[:MAX_DOMAINS]))


def _name(text: str) -> Name:
    """A domain; the root where the text is none, for it adds nothing to a name either."""
    try:
        return names.from_text(text)
    except names.BadName:
        log.warning("'%s' in a search path is no domain; left out", text)
        return names.ROOT


def _host_domains() -> SearchPath:
    try:
        return search_path(_read(Path(RESOLV_CONF)))
    except OSError:
        return ()


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_FILE).decode("utf-8", "surrogateescape")
