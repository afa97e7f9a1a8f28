"""DNS over HTTPS (RFC 8484): a real HTTPS server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from dnsd.plugins.forward.https import MAX_REQUESTS, MEDIA_TYPE, Https, TooManyRequests
from dnsd.plugins.forward.settings import Scheme, Target
from dnsd.plugins.forward.upstream import Attempt, Upstream
from tests.cluster.authority import Authority
from tests.plugins.forward.servers import LOOPS, Asked, Forwarding, addresses, error_text, run
from tests.plugins.forward.test_stream import tls_server
from tests.plugins.forward.test_udp import Notes

Respond = Callable[[bytes], Awaitable[web.StreamResponse]]


async def honest(query: bytes) -> web.Response:
    return web.Response(body=Asked(query, "https", ("", 0)).answer(), content_type=MEDIA_TYPE)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


class Site:
    """What an HTTPS server was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[web.Request] = []
        self.queries: list[bytes] = []


@asynccontextmanager
async def https_server(authority: Authority, folder: Path, respond: Respond = honest) -> AsyncIterator[Site]:
    """A server that has every path."""
    site = Site()

    async def handle(request: web.Request) -> web.StreamResponse:
        site.requests.append(request)
        if request.method == "POST":
            query = await request.read()
        else:
            text = request.query["dns"]
            query = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        site.queries.append(query)
        return await respond(query)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls_server(authority, folder))
    await listener.start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("path", "option", "method", "asked"),
    [
        ("", "", "POST", "/dns-query"),
        ("/other/path", "doh_method POST", "POST", "/other/path"),
        ("", "doh_method GET", "GET", "/dns-query"),
        ("", "tls_servername localhost", "POST", "/dns-query"),
    ],
)
def test_a_query_and_its_answer(
    path: str, option: str, method: str, asked: str, loop: str, authority: Authority, tmp_path: Path
) -> None:
    async def test() -> None:
        async with https_server(authority, tmp_path) as site:
            target = f"https://127.0.0.1:{site.port}{path}"
            async with Forwarding(f"forward . {target} {{\n tls ca.pem\n {option}\n}}", folder=str(tmp_path)) as chain:
                for protocol in ("udp", "tcp"):
                    assert addresses(await chain.ask("www.example.com.", protocol=protocol)) == ["192.0.2.1"]
            assert {(request.method, request.path) for request in site.requests} == {(method, asked)}
            assert {query[:2] for query in site.queries} == {b"\0\0"}  # RFC 8484 section 4.1
            assert site.requests[0].headers["Accept"] == MEDIA_TYPE
            assert site.requests[0].host == ("localhost" if "localhost" in option else f"127.0.0.1:{site.port}")

    run(test(), loop)


async def not_found(query: bytes) -> web.Response:
    raise web.HTTPNotFound


async def html(query: bytes) -> web.Response:
    return web.Response(text="<p>hello", content_type="text/html")


async def too_long(query: bytes) -> web.Response:
    return web.Response(body=bytes(65_536), content_type=MEDIA_TYPE)


async def other_question(query: bytes) -> web.Response:
    return web.Response(body=(await honest(query)).body.replace(b"www", b"xyz"), content_type=MEDIA_TYPE)  # type: ignore[union-attr]


async def garbage(query: bytes) -> web.Response:
    return web.Response(body=(await honest(query)).body[:-3], content_type=MEDIA_TYPE)  # type: ignore[index]


@pytest.mark.parametrize(
    ("respond", "complaint"),
    [
        (not_found, "HTTP status 404"),
        (html, "HTTP status 200, content text/html"),
        (too_long, "response of more than 65,535 octets"),
        (other_question, "response to another question"),
        (garbage, "unreadable response"),
    ],
)
def test_what_is_no_answer(respond: Respond, complaint: str, authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            https_server(authority, tmp_path, respond) as site,
            Forwarding(
                f"forward . https://127.0.0.1:{site.port} {{\n tls ca.pem\n max_fails 0\n}}", folder=str(tmp_path)
            ) as chain,
        ):
            reply = await chain.ask("www.example.com.", use_edns=0)
            assert error_text(reply).startswith(f"23: 127.0.0.1:{site.port} attempt 1 https: {complaint}")

    run(test())


def test_an_upstream_that_is_not_there(authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        async with https_server(authority, tmp_path) as site:
            pass
        async with Forwarding(
            f"forward . https://127.0.0.1:{site.port} {{\n tls ca.pem\n}}", folder=str(tmp_path)
        ) as chain:
            reply = await chain.ask("www.example.com.", use_edns=0)
            assert error_text(reply).startswith(f"23: 127.0.0.1:{site.port} attempt 1 https: connection refused")

    run(test())


def test_requests_are_limited(authority: Authority, tmp_path: Path) -> None:
    async def never(query: bytes) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async def test() -> None:
        async with https_server(authority, tmp_path, never) as site:
            target = Target("127.0.0.1", site.port, Scheme.HTTPS)
            https = Https(target, tls=tls_client(tmp_path), server_name="", source="", expire=10.0, post=True)
            upstream = Upstream("x", None, https)
            attempts = [Attempt(Notes(), upstream, https, 1, 0.0) for _ in range(MAX_REQUESTS + 1)]
            for attempt in attempts[:-1]:
                https.send(attempt)
            with pytest.raises(TooManyRequests):
                https.send(attempts[-1])
            https.forget(attempts[0])
            https.send(attempts[-1])
            await https.close()

    run(test())


def tls_client(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "ca.pem")
