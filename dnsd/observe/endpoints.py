"""/health, /ready and /metrics: where each is served, what it says, and in which order they end.

Knows server blocks by what their directives say to the server, and no plugin. spec.md sections 3.3, 6 and 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from dnsd.observe.families import CONTENT_TYPE
from dnsd.observe.http import HttpListener, Page, Response
from dnsd.resolve.histogram import Histogram
from dnsd.serve.instance import Instance
from dnsd.serve.server import ListenError

HEALTH, READY, METRICS = "/health", "/ready", "/metrics"

Place: TypeAlias = tuple[int, str]
"""A plugin: the number of its server block, and its name."""

CHECK_SECONDS = 1.0
"""Between two looks at our own /health."""
CHECK_LIMIT = 3.0
"""Seconds after which a look at /health has failed."""


def lameduck(instance: Instance) -> float:
    """Seconds that queries are answered after SIGTERM: the longest that any `health` asks for."""
    return max((built.context.server.lameduck for built in instance.blocks), default=0.0)


class Readiness:
    """Which plugins cannot do their job yet, in the server blocks that have `ready`.

    A plugin that was ready once is not asked again, unless its block says `monitor continuously`: an API server that
    goes away later must not take every DNS server out of the Service.
    """

    def __init__(self, instance: Instance) -> None:
        options = [(i, built.context.server, built.plugins) for i, built in enumerate(instance.blocks)]
        self._waiting = {(i, plugin.name) for i, said, own in options if said.ready is not None for plugin in own}
        self._again = {place for place in self._waiting if options[place[0]][1].ready_continuously}

    @property
    def final(self) -> bool:
        """Whether everything is ready for good."""
        return not self._waiting

    def names(self, late: set[Place]) -> list[str]:
        """Names of the plugins that are waited for, each once, in order, given those that are not ready."""
        waited_for = self._waiting & late
        self._waiting = waited_for | self._again
        return sorted({name for _, name in waited_for})


@dataclass(slots=True)
class HealthLog:
    """What our own looks at /health found."""

    seconds: Histogram
    failures: int = 0


class Endpoints:
    """The HTTP listeners of a process.

    Args:
        unready: gives the names of the plugins that cannot do their job yet.
        metrics: the text of /metrics.
        health: where our own looks at /health are noted.
        clock: seconds on the monotonic clock.
    """

    def __init__(
        self,
        unready: Callable[[], Awaitable[list[str]]],
        metrics: Callable[[], Awaitable[bytes]],
        health: HealthLog,
        clock: Callable[[], float],
    ) -> None:
        self._unready = unready
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._listeners: dict[str, HttpListener] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}

    async def use(self, instance: Instance) -> None:
        """Listen where a configuration says, and no longer where it does not; what both name stays open.

        Raises:
            ListenError: an address cannot be used; then everything is as it was.
        """
        wanted = self._wanted(instance)
        opened: dict[str, HttpListener] = {}
        try:
            for address in wanted.keys() - self._listeners.keys():
                opened[address] = HttpListener(address)
                await opened[address].open()
        except ListenError:
            for listener in opened.values():
                await listener.close()
            raise
        self._listeners |= opened
        for address, listener in list(self._listeners.items()):
            listener.pages = wanted.get(address, {})
        await self._close_empty()
        self._check()

    async def close_ready(self) -> None:
        """End /ready, before anything else ends: whoever asks finds nobody (spec.md section 6)."""
        for listener in self._listeners.values():
            listener.pages.pop(READY, None)
        await self._close_empty()

    async def stop(self) -> None:
        """End everything."""
        for listener in self._listeners.values():
            listener.pages = {}
        await self._close_empty()
        self._check()

    def _wanted(self, instance: Instance) -> dict[str, dict[str, Page]]:
        """The pages of each address. Blocks that name the same address share it."""
        wanted: dict[str, dict[str, Page]] = {}
        for built in instance.blocks:
            said = built.context.server
            for address, path, page in (
                (said.health, HEALTH, self._health_page),
                (said.ready, READY, self._ready_page),
                (said.metrics, METRICS, self._metrics_page),
            ):
                if address is not None:
                    wanted.setdefault(address, {})[path] = page
        return wanted

    async def _close_empty(self) -> None:
        for address, listener in list(self._listeners.items()):
            if not listener.pages:
                del self._listeners[address]
                await listener.close()

    # -- pages

    async def _health_page(self) -> Response:
        """The process lives: the server is overloaded or not synced or about to end, and lives."""
        return Response(b"OK")

    async def _ready_page(self) -> Response:
        names = await self._unready()
        if names:
            return Response(",".join(names).encode(), HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"OK")

    async def _metrics_page(self) -> Response:
        return Response(await self._metrics(), content_type=CONTENT_TYPE)

    # -- our own look at /health

    def _check(self) -> None:
        """Look at each /health that there is, and at no other."""
        healthy = {address for address, listener in self._listeners.items() if HEALTH in listener.pages}
        for address in self._checks.keys() - healthy:
            self._checks.pop(address).cancel()
        for address in healthy - self._checks.keys():
            host, port = self._listeners[address].bound[0]
            host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
            self._checks[address] = asyncio.get_running_loop().create_task(self._look_again(host, port))

    async def _look_again(self, host: str, port: int) -> None:
        """Ask for /health every second, over one connection for as long as it holds."""
        writer: asyncio.StreamWriter | None = None
        try:
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                began = self._clock()
                try:
                    async with asyncio.timeout(CHECK_LIMIT):
                        if writer is None:
                            reader, writer = await asyncio.open_connection(host, port)
                        await _get_health(reader, writer)
                except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    self._health.failures += 1
                    if writer is not None:
                        writer.transport.abort()
                        writer = None
                else:
                    self._health.seconds.add(self._clock() - began)
        finally:
            if writer is not None:
                writer.transport.abort()


async def _get_health(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for /health once.

    Raises:
        OSError: the answer is not 200, or there is none.
    """
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"not healthy: {head[:20]!r}")
    await reader.readexactly(len(b"OK"))
