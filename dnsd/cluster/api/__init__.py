"""The API server as a source of the index: list and watch of each kind, for as long as dnsd runs.

`source` runs one `watch` a kind over one `connection`, which takes its `credentials` from the cluster, a kubeconfig or
the Corefile; `messages` is what the API server writes on the wire.
"""

from dnsd.cluster.api.connection import ApiError, Expired, Forbidden
from dnsd.cluster.api.credentials import Credentials, CredentialsError, ServiceAccount
from dnsd.cluster.api.source import ApiSource
from dnsd.cluster.api.timing import Timing
from dnsd.cluster.api.watch import Watch

__all__ = [
    "ApiError",
    "ApiSource",
    "Credentials",
    "CredentialsError",
    "Expired",
    "Forbidden",
    "ServiceAccount",
    "Timing",
    "Watch",
]
