"""/health, /ready and /metrics: what they say when, and where they are (spec.md sections 3.3, 6 and 7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dnsd.observe.endpoints import Endpoints, HealthLog, Readiness, lameduck
from dnsd.observe.metrics import HEALTH_BOUNDS
from dnsd.resolve.histogram import Histogram
from dnsd.resolve.plugin import Plugin
from dnsd.serve.instance import Instance
from dnsd.serve.server import ListenError
from tests.cluster.apiserver import ApiServer
from tests.cluster.following import SHOP
from tests.observe.web import Got, get, listens
from tests.plugins import harness
from tests.process import dnsd, eventually, free_port


class Named(Plugin):
    """A plugin of any name."""

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]


def built(*directives: str) -> Instance:
    """A configuration with one server block for each text."""
    blocks = (f"z{i}.example:53 {{\n{text}\n whoami\n }}" for i, text in enumerate(directives))
    return harness.build("\n".join(blocks)).instance


def with_plugins(instance: Instance, *plugins: tuple[str, ...]) -> Instance:
    """The configuration, with plugins of these names in its blocks."""
    for block, names in zip(instance.blocks, plugins, strict=True):
        block.plugins = tuple(map(Named, names))
    return instance


# -- readiness


KUBERNETES = [(0, "kubernetes")]


def test_names_of_plugins_that_are_not_ready_come_once_and_in_order() -> None:
    readiness = Readiness(with_plugins(built("ready", "ready"), ("kubernetes", "file", "log"), ("kubernetes",)))
    assert readiness.names({(0, "kubernetes"), (0, "file"), (1, "kubernetes")}) == ["file", "kubernetes"]


def test_only_blocks_with_ready_are_asked() -> None:
    readiness = Readiness(with_plugins(built("ready", ""), ("file",), ("kubernetes",)))
    assert readiness.names({(0, "file"), (1, "kubernetes")}) == ["file"]


@pytest.mark.parametrize(
    ("directive", "later"), [("ready", []), ("ready {\n monitor continuously\n }", ["kubernetes"])]
)
def test_who_was_ready_once_is_asked_again_only_where_that_is_wanted(directive: str, later: list[str]) -> None:
    readiness = Readiness(with_plugins(built(directive), ("kubernetes",)))
    assert readiness.names({*KUBERNETES}) == ["kubernetes"]
    assert not readiness.final
    assert readiness.names(set()) == []
    assert readiness.names({*KUBERNETES}) == later
    assert readiness.final is not bool(later)


def test_the_longest_lameduck_counts() -> None:
    assert lameduck(built("")) == 0
    assert lameduck(built("health :1 {\n lameduck 2s\n }", "health :2 {\n lameduck 5s\n }", "health :3")) == 5


# -- pages


class Pages:
    """Endpoints with a /ready and a /metrics that a test sets."""

    def __init__(self) -> None:
        self.unready: list[str] = []
        self.health = HealthLog(Histogram(HEALTH_BOUNDS))
        self.endpoints = Endpoints(self.names, self.metrics, self.health, time.monotonic)

    async def names(self) -> list[str]:
        return self.unready

    async def metrics(self) -> bytes:
        return b"numbers 1\n"


def run(test: Callable[[Pages], Awaitable[None]]) -> None:
    async def main() -> None:
        pages = Pages()
        try:
            await test(pages)
        finally:
            await pages.endpoints.stop()

    asyncio.run(main())


async def page(port: int, path: str, method: str = "GET") -> Got:
    return await asyncio.to_thread(get, port, path, method=method)


async def is_open(port: int) -> bool:
    return await asyncio.to_thread(listens, port)


def test_each_page_says_what_it_has_to() -> None:
    async def test(pages: Pages) -> None:
        health, ready, metrics = (free_port() for _ in range(3))
        said = f"health 127.0.0.1:{health}\n ready 127.0.0.1:{ready}\n prometheus 127.0.0.1:{metrics}"
        await pages.endpoints.use(built(said))
        for method in ("GET", "POST", "DELETE"):
            assert (await page(health, "/health", method)).body == b"OK"
        pages.unready = ["file", "kubernetes"]
        late = await page(ready, "/ready")
        assert (late.status, late.body) == (503, b"file,kubernetes")
        assert (await page(health, "/health")).status == 200
        pages.unready = []
        assert (await page(ready, "/ready")).body == b"OK"
        found = await page(metrics, "/metrics")
        assert (found.body, found.header["content-type"]) == (b"numbers 1\n", "text/plain; version=0.0.4")
        for port, path in ((health, "/ready"), (health, "/health/"), (ready, "/health"), (metrics, "/")):
            assert (await page(port, path)).status == 404

    run(test)


def test_blocks_that_name_one_address_share_it_whatever_the_page() -> None:
    async def test(pages: Pages) -> None:
        port = free_port()
        address = f"127.0.0.1:{port}"
        await pages.endpoints.use(built(f"health {address}\n ready {address}", f"health {address}"))
        assert (await page(port, "/health")).status == 200
        assert (await page(port, "/ready")).status == 200
        await pages.endpoints.close_ready()
        assert (await page(port, "/ready")).status == 404
        assert (await page(port, "/health")).status == 200

    run(test)


def test_ready_has_no_listener_any_more_once_it_is_closed() -> None:
    async def test(pages: Pages) -> None:
        health, ready = free_port(), free_port()
        await pages.endpoints.use(built(f"health 127.0.0.1:{health}\n ready 127.0.0.1:{ready}"))
        await pages.endpoints.close_ready()
        assert not await is_open(ready)
        assert await is_open(health)
        await pages.endpoints.stop()
        assert not await is_open(health)

    run(test)


def test_what_two_configurations_name_stays_open_from_one_to_the_other() -> None:
    async def test(pages: Pages) -> None:
        stays, goes, comes = (free_port() for _ in range(3))
        await pages.endpoints.use(built(f"health 127.0.0.1:{stays}\n ready 127.0.0.1:{goes}"))
        reader, writer = await asyncio.open_connection("127.0.0.1", stays)
        await pages.endpoints.use(built(f"health 127.0.0.1:{stays}\n prometheus 127.0.0.1:{comes}"))
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"OK")).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        assert [await is_open(port) for port in (goes, comes)] == [False, True]

    run(test)


def test_an_address_that_is_taken_leaves_everything_as_it_was() -> None:
    async def test(pages: Pages) -> None:
        first, second, taken = (free_port() for _ in range(3))
        await pages.endpoints.use(built(f"health 127.0.0.1:{first}"))
        blocker = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", taken)
        with pytest.raises(ListenError):
            await pages.endpoints.use(built(f"health 127.0.0.1:{second}\n ready 127.0.0.1:{taken}"))
        assert [await is_open(port) for port in (first, second)] == [True, False]
        blocker.close()
        await blocker.wait_closed()

    run(test)


def test_our_own_look_at_health_is_noted_and_so_is_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsd.observe.endpoints.CHECK_SECONDS", 0.01)

    async def test(pages: Pages) -> None:
        port = free_port()
        await pages.endpoints.use(built(f"health 127.0.0.1:{port}"))
        async with asyncio.timeout(30):
            while sum(pages.health.seconds.buckets) < 3:
                await asyncio.sleep(0.01)
            assert pages.health.failures == 0
            (listener,) = pages.endpoints._listeners.values()
            await listener.close()
            while pages.health.failures < 3:
                await asyncio.sleep(0.01)
            await listener.open()
            seen = sum(pages.health.seconds.buckets)
            while sum(pages.health.seconds.buckets) == seen:
                await asyncio.sleep(0.01)

    run(test)


# -- of a process


COREFILE = """
.:PORT {
    bind 127.0.0.1
    ready 127.0.0.1:%d
    health 127.0.0.1:%d
    kubernetes cluster.local {
        kubeconfig %s
        startup_timeout 0s
    }
    forward . 127.0.0.1:9
    hosts {
        10.0.0.1 www.example.org
        fallthrough
    }
}
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ready_waits_for_the_first_sync_and_never_goes_back(workers: str, tmp_path: Path) -> None:
    ready, health = free_port(), free_port()
    with ApiServer() as api:
        api.put(*SHOP)
        api.forbid("services")
        api.kubeconfig(tmp_path / "kubeconfig")
        corefile = COREFILE % (ready, health, tmp_path / "kubeconfig")
        with dnsd(corefile, tmp_path, "--workers", workers) as server:
            late = get(ready, "/ready")
            assert (late.status, late.body) == (503, b"kubernetes")
            assert get(health, "/health").body == b"OK"
            api.forbid()
            eventually(lambda: get(ready, "/ready").status == 200, "ready")
            assert server.texts("web.shop.svc.cluster.local") == ["10.96.0.1"]
            with api.outage():
                assert get(ready, "/ready").body == b"OK"
                assert server.texts("web.shop.svc.cluster.local") == ["10.96.0.1"]
