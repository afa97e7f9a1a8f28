"""Why a forwarded query failed: one class a cause. Knows what the log and the client are told, and no mechanism."""

from __future__ import annotations

from dnsd.resolve.answer import Failure
from dnsd.wire.codes import Ede, Rcode


class UpstreamTimeout(Failure):
    """At least one upstream was asked and did not answer in time."""

    error = Ede.NO_REACHABLE_AUTHORITY


class UpstreamUnreachable(Failure):
    """No upstream could be asked: refused, no route, a connection closed, an answer that nobody can read."""

    error = Ede.NETWORK_ERROR


class NoHealthyUpstream(Failure):
    """Every upstream is down, and `failfast_all_unhealthy_upstreams` is set."""

    error = Ede.NO_REACHABLE_AUTHORITY


class UpstreamsUnknown(Failure):
    """The host names of the upstreams have not been resolved yet."""

    error = Ede.NOT_READY


class TooManyQueries(Failure):
    """More queries wait for an upstream than `max_concurrent` allows."""

    rcode = Rcode.REFUSED
