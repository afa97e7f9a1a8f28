"""What a plugin is, and what it is given when it is built.

A plugin reads its directives once, in `setup`, and then answers queries or passes them on. It owns no socket that
clients see and no thread; what has to run beside the queries (a watch, a health check) runs between `start` and `stop`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from prometheus_client.metrics_core import Metric

from dnsd.cluster.index import Key
from dnsd.corefile.syntax import Directive
from dnsd.resolve.answer import Answer
from dnsd.resolve.query import Query
from dnsd.wire.name import Name
from dnsd.wire.response import Response

if TYPE_CHECKING:
    from dnsd.cluster.store import Cluster, Clusters

Next: TypeAlias = Callable[[Query], Awaitable[Answer]]
"""The rest of the chain."""


class Plugin(ABC):
    """One directive of a server block at work."""

    name: ClassVar[str]

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer to `query`, from here or from the rest of the chain.

        Raises:
            Failure: it cannot be answered; the server replies with the failure's rcode and reason.
        """
        return await next_(query)

    def passes(self, name: bytes) -> bool:  # noqa: ARG002  for plugins that look at it
        """Whether a query for `name` goes on from here as it came, and nobody could tell that it was here.

        A block whose plugins all let a query pass need not be asked: the server sends it upstream by a shorter way
        (`plugins/relay.py`). `name` is in wire format and lower case; class and type are those of common data.
        """
        return type(self).answer is Plugin.answer

    def returns(self, response: Response) -> bool:  # noqa: ARG002  the same
        """Whether a response to such a query goes back from here as it came."""
        return True

    async def start(self) -> None:
        """Begin what runs beside the queries. Called once the server's sockets are open."""

    async def stop(self) -> None:
        """End it."""

    def metrics(self) -> Iterable[Metric]:
        """Metric families of this plugin, read when somebody looks; families of one name are merged."""
        return ()

    @property
    def clusters(self) -> Sequence[Cluster]:
        """The clusters that the plugin watches."""
        return ()

    @property
    def ready(self) -> bool:
        """Whether the plugin can do its job; /ready waits for it."""
        return True


@dataclass(frozen=True, slots=True)
class Tls:
    """How a listener is known to its clients, and whether it wants to know them."""

    certificate: str
    key: str
    """Files."""
    authority: str = ""
    """File with the CAs of client certificates; the system's where empty."""
    client_auth: str = "nocert"


@dataclass(slots=True)
class ServerOptions:
    """What directives say to the server itself; each is None or empty where its directive is not there."""

    health: str | None = None
    """`HOST:PORT` of /health."""
    lameduck: float = 0.0
    """Seconds that queries are still answered after SIGTERM."""
    ready: str | None = None
    """`HOST:PORT` of /ready."""
    ready_continuously: bool = False
    """Whether a plugin that was ready once is asked again."""
    metrics: str | None = None
    """`HOST:PORT` of /metrics."""
    reload: tuple[float, float] | None = None
    """Seconds between two looks at the Corefile, and of jitter."""
    tls: Tls | None = None
    """For listeners of scheme tls."""
    read_timeout: float | None = None
    write_timeout: float | None = None
    idle_timeout: float | None = None
    """Seconds, for TCP."""
    max_tcp_queries: int | None = None
    """Queries of one TCP connection."""

    def adopt(self, other: ServerOptions) -> None:
        """Take what another server block on the same listener says of its connections, where nothing was said yet."""
        for name in ("tls", "read_timeout", "write_timeout", "idle_timeout", "max_tcp_queries"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(other, name))


@dataclass(slots=True)
class Context:
    """What the plugins of one server block are built with."""

    zones: tuple[Name, ...]
    """The block's zones, longest first by labels."""
    directory: str
    """Folder of the Corefile: relative paths start here."""
    clusters: Clusters
    """The indexes of the clusters that `kubernetes` stanzas name, shared by all that name the same."""
    clock: Callable[[], float]
    """Seconds on the monotonic clock."""
    resolve: Next
    """The server's own front door, for CNAME targets that lie elsewhere."""
    interfaces: Callable[[], Mapping[str, Sequence[str]]]
    """Network interfaces of this host, by name, with the texts of their addresses."""
    changed: Callable[[frozenset[Key]], None]
    """Drops every kept answer that read one of these keys; for plugins whose data changes while they run."""
    server: ServerOptions = field(default_factory=ServerOptions)
    listen: list[str] = field(default_factory=list)
    """Addresses that `bind` names; empty for all."""
    ports: Mapping[Name, int] = field(default_factory=dict)
    """On which port each zone is served over plain DNS."""
    plugins: dict[str, Plugin] = field(default_factory=dict)
    """Plugins of this block built so far, by directive."""
    on_ready: list[Callable[[], None]] = field(default_factory=list)
    """Run once every plugin of the block exists."""


class Setup(Protocol):
    """A plugin module's `setup`: all its directives in one server block, in file order.

    Raises:
        CorefileError: a directive says something that the plugin does not understand.
    """

    def __call__(self, directives: Sequence[Directive], context: Context) -> Plugin | None:
        """The plugin, or None where the directive configures the server only."""


def chain(plugins: Iterable[Plugin], end: Next) -> Next:
    """The plugins as one callable, first to last, then `end`."""
    handler = end
    for plugin in reversed(list(plugins)):
        handler = _link(plugin, handler)
    return handler


def _link(plugin: Plugin, next_: Next) -> Next:
    async def handle(query: Query) -> Answer:
        return await plugin.answer(query, next_)

    return handle
