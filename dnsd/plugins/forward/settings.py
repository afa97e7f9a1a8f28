"""What a `forward` stanza says, as values. spec.md section 6.1."""

from __future__ import annotations

import enum
import ssl
from dataclasses import dataclass, field

from dnsd.wire.name import ROOT, Name, is_under

MAX_UPSTREAMS = 15
"""Upstreams of one stanza; the reference's limit."""


class Scheme(enum.Enum):
    """How an upstream is spoken to."""

    DNS = "dns"
    TLS = "tls"
    HTTPS = "https"


PORTS = {Scheme.DNS: 53, Scheme.TLS: 853, Scheme.HTTPS: 443}
"""Where each scheme is found unless the stanza says otherwise."""


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream as the stanza names it."""

    host: str
    """Text of an IP address, or a host name."""
    port: int
    scheme: Scheme = Scheme.DNS
    server_name: str = ""
    """The name that its certificate has to be for; empty for `tls_servername`, or else its address."""
    path: str = "/dns-query"
    """For HTTPS (RFC 8484)."""
    by_name: bool = False
    """Whether `host` is a name, which is resolved when the server starts."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Policy(enum.Enum):
    """Which upstream is asked first."""

    RANDOM = "random"
    ROUND_ROBIN = "round_robin"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How an upstream that failed is probed."""

    interval: float = 0.5
    """Seconds between two probes."""
    recursion: bool = True
    """Whether probes ask for recursion."""
    domain: Name = ROOT
    """Whose NS records are asked for."""
    max_fails: int = 2
    """Failed probes in a row that do not yet mark an upstream as down; 0 for no probes at all."""


@dataclass(frozen=True, slots=True)
class Stanza:
    """One `forward` directive."""

    zone: Name
    """Names under it are forwarded."""
    targets: tuple[Target, ...]
    excluded: tuple[Name, ...] = ()
    """Zones below `zone` that are not."""
    policy: Policy = Policy.RANDOM
    health: HealthCheck = field(default_factory=HealthCheck)
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0
    """Seconds that an unused connection is kept."""
    max_age: float = 0.0
    """Seconds that any connection is used; 0 for no limit."""
    max_idle_connections: int = 0
    """Unused TCP connections kept for each upstream; 0 for no limit but the pool's."""
    max_concurrent: int = 0
    """Queries waiting for an upstream; 0 for no limit but the engine's."""
    max_attempts: int = 0
    """Times that one query is sent; 0 for no limit but the engine's."""
    read_timeout: float = 2.0
    """Seconds after which an upstream that did not answer has failed."""
    next_rcodes: frozenset[int] = frozenset()
    """Responses with one of these pass the query on to the next stanza."""
    next_on_nodata: bool = False
    failover: frozenset[int] = frozenset()
    """Responses with one of these pass the query on to the next upstream."""
    fail_fast: bool = False
    """Whether a query fails at once while every upstream is down."""
    source_address: str = ""
    """Text of the address that queries are sent from; empty to let the kernel choose."""
    resolvers: tuple[Target, ...] = ()
    """Who is asked for the host names among the targets."""
    tls: ssl.SSLContext | None = None
    """For the schemes tls and https."""
    server_name: str = ""
    """`tls_servername`."""
    doh_post: bool = True

    @property
    def plain(self) -> bool:
        """Whether every name is forwarded, whatever it asks, over UDP first, and every response is the answer."""
        return not (self.zone or self.force_tcp or self.next_rcodes or self.next_on_nodata)

    def takes(self, name: Name) -> bool:
        """Whether queries for `name` are forwarded by this stanza."""
        if not is_under(name, self.zone):
            return False
        return not self.excluded or not any(is_under(name, zone) for zone in self.excluded)
