"""The API server as a source of one index: a watch for each of its kinds, and what they count."""

from __future__ import annotations

import asyncio

from dnsd.cluster.api import credentials
from dnsd.cluster.api.connection import Connection, RequestObserver
from dnsd.cluster.api.credentials import ServiceAccount
from dnsd.cluster.api.timing import Timing
from dnsd.cluster.api.watch import Watch
from dnsd.cluster.index import Index
from dnsd.cluster.store import SourceSettings


class ApiSource:
    """Fills `index` from the API server that `settings` names, or from that of the pod's own cluster.

    Args:
        index: what is filled; its `kinds` are what is watched.
        settings: credentials and selectors.
        account: where a pod finds its own credentials.
        timing: clocks, sleep and jitter.
        observe: told of each request, for `rest_client_requests_total` and the like.
    """

    def __init__(
        self,
        index: Index,
        settings: SourceSettings,
        *,
        account: ServiceAccount | None = None,
        timing: Timing | None = None,
        observe: RequestObserver | None = None,
    ) -> None:
        self.watches: dict[str, Watch] = {}
        """By kind ("Service", ...): `last_event` (seconds since 1970), `lists`, `reconnects`, `skipped`."""
        self._settings = settings
        self._account = account or ServiceAccount()
        self._timing = timing or Timing()
        self._observe = observe
        for kind in index.kinds:
            self.watches[kind.__name__] = Watch(kind, index, settings, self._timing)

    async def prepare(self) -> None:
        """Read the credentials and forget them, so that a command can end before it begins.

        Raises:
            CredentialsError: they cannot be read.
        """
        await credentials.load(self._settings, self._account)

    async def run(self) -> None:
        """List and watch until cancelled. Credentials that cannot be read are logged, and tried again."""
        async with (
            Connection(self._settings, self._account, self._timing, self._observe) as connection,
            asyncio.TaskGroup() as group,
        ):
            for watch in self.watches.values():
                group.create_task(watch.run(connection), name=f"watch {watch.resource.plural}")
