"""Looks at the Corefile now and then, and has a changed one served. Knows neither plugins nor sockets.

What cannot be used is refused: the old configuration goes on, and the same text is not tried again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from dnsd.cluster.store import SourceError
from dnsd.corefile.digest import digest
from dnsd.corefile.syntax import CorefileError, ServerBlock
from dnsd.serve.server import ListenError

log = logging.getLogger("dnsd.plugin.reload")

Blocks = tuple[ServerBlock, ...]


class Reloader:
    """One configuration file.

    Args:
        read: the server blocks that the file has now; CorefileError where it cannot be read.
        blocks: those that are served.
        apply: builds, checks and swaps; raises before anything has changed.
    """

    def __init__(self, read: Callable[[], Blocks], blocks: Blocks, apply: Callable[[Blocks], Awaitable[None]]) -> None:
        self._read = read
        self._apply = apply
        self._seen = self.version = digest(blocks)
        """SHA-512 of what is served: comments and white space do not count."""
        self.attempts = 0
        self.failed = 0
        self._one_at_a_time = asyncio.Lock()
        self._applied = asyncio.Event()

    async def run(self, pace: Callable[[], tuple[float, float] | None]) -> None:
        """Look again and again until cancelled.

        Args:
            pace: what the configuration that is served says: seconds between two looks, and of jitter, by half of which
                each comes sooner or later; None for no look until another configuration is served.
        """
        while True:
            wanted = pace()
            if wanted is None:
                self._applied.clear()
                await self._applied.wait()
                continue
            interval, jitter = wanted
            await asyncio.sleep(interval + random.uniform(-jitter / 2, jitter / 2))  # noqa: S311  spreads load only
            await self.check()

    async def check(self) -> None:
        """Look once; who comes while a configuration is being applied looks after that."""
        async with self._one_at_a_time:
            await self._check()

    async def _check(self) -> None:
        try:
            blocks = self._read()
            seen = digest(blocks)
        except CorefileError as error:
            seen = str(error)
            if seen != self._seen:
                self._refuse(error)
            self._seen = seen
            return
        if seen == self._seen:
            return
        self._seen = seen
        if seen == self.version:
            return  # back to what is served
        self.attempts += 1
        try:
            await self._apply(blocks)
        except (CorefileError, SourceError, ListenError) as error:
            self._refuse(error)
            return
        self.version = seen
        self._applied.set()
        log.info("Running configuration SHA512 = %s", seen)

    def _refuse(self, error: Exception) -> None:
        self.failed += 1
        log.error("the Corefile cannot be used, the old one goes on: %s", error)
