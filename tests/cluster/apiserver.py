"""An API server for tests: list and watch over real TLS sockets, as kube-apiserver does them, for the kinds DNS reads.

    with ApiServer() as server:
        server.put(namespace("shop"), service("shop", "web", "10.96.0.7"))
        server.kubeconfig(tmp_path / "kubeconfig")      # for `dnsd serve`, in this process or another
        server.put(endpoint_slice("shop", "web-1", "web", ["10.244.0.9"]))
        server.delete("services", "shop", "web")

It runs in a thread of its own, on 127.0.0.1 and a port that the kernel picks; every method may be called from any
thread and has taken effect when it returns. Objects are plain JSON values, and kinds go by their plurals: "namespaces",
"services", "endpointslices", "pods".

What goes wrong in a cluster can be made to go wrong here:

- `fault(...)` spoils the next requests: an error status, no answer, a slow one, a connection cut off.
- `say(...)` writes any line into the open watches, `drop()` cuts them off, `outage()` closes the port for a while.
- `expire()` forgets the history (410 for who resumes), `expire_lists()` the `continue` tokens.
- `forbid(...)` takes RBAC away, `rotate_token()` makes the old bearer token void.
- `streaming` says what comes of `sendInitialEvents`: "supported", "refused" (422) or "ignored".

`requests` and `count(...)` tell what was asked. It knows nothing of dnsd.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import copy
import itertools
import secrets
import socket
import ssl
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

import yaml
from aiohttp import web

from tests.cluster.apiobjects import (
    PATHS,
    PLURALS,
    Json,
    endpoint_slice,
    event,
    field_selector,
    gone,
    label_selector,
    namespace,
    pod,
    service,
    status,
)
from tests.cluster.apistore import OpenWatch, Store
from tests.cluster.authority import Authority

__all__ = [
    "ApiServer",
    "Asked",
    "Authority",
    "Fault",
    "Json",
    "endpoint_slice",
    "event",
    "gone",
    "namespace",
    "pod",
    "service",
    "status",
]

CLOSING_TURNS = 10
"""Turns of the loop after which connections are gone that were cut, or whose client went away within the handshake."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """One request that was answered, or was not (`code` 0)."""

    verb: Literal["list", "watch"]
    plural: str
    query: dict[str, str]
    authorization: str
    code: int


@dataclass(frozen=True)
class Fault:
    """What becomes of a request instead of an ordinary answer."""

    status: Json | None = None
    """It is refused with this Status."""
    hang: bool = False
    """A list gets no answer; a watch gets its headers, and then nothing ever."""
    cut_after: int | None = None
    """The connection is cut after so many events of a watch; a list is cut before its answer."""
    delay: float = 0.0
    """Seconds before the answer; in a watch also before each event."""
    body: bytes | None = None
    """The answer to a list, with status 200; a watch gets it as a line before its events."""


class ApiServer:
    """See the top of the module. A context manager: the port is open inside."""

    def __init__(
        self,
        *,
        streaming: Literal["supported", "refused", "ignored"] = "supported",
        window: int = 1000,
        gone_as_status: bool = False,
    ) -> None:
        self.streaming = streaming
        self.gone_as_status = gone_as_status
        """Whether a resourceVersion that is too old is refused with HTTP status 410, and not in an ERROR event."""
        self.token = f"token-{secrets.token_hex(8)}"
        self.requests: list[Asked] = []
        self.authority = Authority.make()
        self.port = 0
        self._store = Store(window)
        self._faults: dict[tuple[str, str], deque[Fault]] = {}
        self._forbidden: frozenset[str] = frozenset()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="apiserver", daemon=True)
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._folder.cleanup()

    # -- what the cluster holds

    def put(self, *items: Json) -> None:
        """Create or update objects; each gets the next resourceVersion."""
        self._call(self._store.put, *items)

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object; a KeyError where there is none. The namespace of a Namespace is ""."""
        self._call(self._store.delete, plural, (namespace, name))

    def load(self, source: str | Path) -> None:
        """Create the objects of YAML documents, given as text or as a file; `kind: List` too, other kinds not."""
        text = source.read_text() if isinstance(source, Path) else source
        for document in yaml.safe_load_all(text):
            items = document.get("items", []) if document and document["kind"] == "List" else [document]
            self.put(*(item for item in items if item and item["kind"] in PLURALS))

    def items(self, plural: str) -> list[Json]:
        """The objects of a kind as they are now."""
        return self._call(lambda: copy.deepcopy(list(self._store.items[plural].values())))

    # -- what was asked

    def count(self, verb: str, plural: str) -> int:
        """How many requests of "list" or "watch" were answered."""
        return sum(asked.verb == verb and asked.plural == plural for asked in list(self.requests))

    def watching(self, plural: str) -> int:
        """How many watches are open."""
        return self._call(lambda: len(self._store.watches[plural]))

    # -- what goes wrong

    def fault(self, verb: Literal["list", "watch"], plural: str, fault: Fault, times: int = 1) -> None:
        """Spoil the next requests of that kind; several faults take effect one after the other."""
        self._call(self._faults.setdefault((verb, plural), deque()).extend, [fault] * times)

    def say(self, plural: str, *lines: bytes) -> None:
        """Write lines into the open watches of a kind, as they are."""
        for line in lines:
            self._call(self._store.tell, plural, line)

    def bookmark(self, plural: str) -> None:
        """Send a BOOKMARK with the newest resourceVersion to the open watches of a kind."""
        self._call(lambda: self._store.tell(plural, self._store.bookmark(plural)))

    def drop(self, *plurals: str) -> None:
        """Cut off the open watches of these kinds, or of all."""
        for plural in plurals or PATHS:
            self._call(self._store.tell, plural, None)

    def expire(self, *plurals: str) -> None:
        """Forget the history of these kinds, or of all: who resumes from before now has to list again."""
        for plural in plurals or PATHS:
            self._call(self._store.forget, plural)

    def expire_lists(self) -> None:
        """Forget the lists that are under way: their `continue` tokens are void."""
        self._call(self._store.pages.clear)

    def forbid(self, *plurals: str) -> None:
        """Answer 403 for these kinds from now on, as without RBAC; for no others."""
        self._forbidden = frozenset(plurals)

    def rotate_token(self) -> str:
        """Make the bearer token void, and return the one that is good now."""
        self.token = f"token-{secrets.token_hex(8)}"
        return self.token

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Close the port and cut off every connection for as long as the context lasts."""
        self._run(self._close())
        with socket.socket() as placeholder:  # so that nobody else is given the port
            placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            placeholder.bind(("127.0.0.1", self.port))
            yield
            self._run(self._open())

    # -- who may come

    @property
    def url(self) -> str:
        """https, 127.0.0.1 and the port."""
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(
        self,
        path: Path,
        *,
        token_file: Path | None = None,
        command: list[str] | None = None,
        client_certificate: bool = False,
        authority: Authority | None = None,
        context: str = "test",
    ) -> Path:
        """Write a kubeconfig and return its path.

        The user has the bearer token of now; or a file that holds one, an exec plugin, or a client certificate.
        `authority` is the one to trust, if not the server's own.
        """
        user: Json = {"token": self.token}
        if token_file is not None:
            user = {"tokenFile": str(token_file)}
        elif command is not None:
            api = "client.authentication.k8s.io/v1"
            user = {"exec": {"apiVersion": api, "command": command[0], "args": command[1:], "interactiveMode": "Never"}}
        elif client_certificate:
            certificate, key = (base64.b64encode(pem).decode() for pem in self.authority.issue("dnsd", server=False))
            user = {"client-certificate-data": certificate, "client-key-data": key}
        trusted = base64.b64encode((authority or self.authority).pem).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": "test", "user": "dnsd"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": trusted}}],
            "users": [{"name": "dnsd", "user": user}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def service_account(self, folder: Path) -> dict[str, str]:
        """Write `token` and `ca.crt` as the kubelet does, and return the environment of a pod."""
        (folder / "token").write_text(self.token)
        (folder / "ca.crt").write_bytes(self.authority.pem)
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}

    def client_files(self, folder: Path) -> tuple[str, str, str]:
        """Write a client certificate, its key and the authority's certificate, and return their paths."""
        certificate, key = self.authority.issue("dnsd", server=False)
        paths = (folder / "client.crt", folder / "client.key", folder / "ca.crt")
        for path, pem in zip(paths, (certificate, key, self.authority.pem), strict=True):
            path.write_bytes(pem)
        return str(paths[0]), str(paths[1]), str(paths[2])

    # -- inside the thread: requests

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        plural = next(plural for plural, (_, _, path) in PATHS.items() if path == request.path)
        verb: Literal["list", "watch"] = "watch" if request.query.get("watch") in ("1", "true") else "list"
        waiting = self._faults.get((verb, plural))
        fault = waiting.popleft() if waiting else Fault()
        await asyncio.sleep(fault.delay)
        refusal = self._refusal(request, verb, plural, fault)
        code = refusal["code"] if refusal else 0 if fault.hang and verb == "list" else 200
        authorization = request.headers.get("Authorization", "")
        self.requests.append(Asked(verb, plural, dict(request.query), authorization, code))
        if refusal:
            return web.json_response(refusal, status=code)
        if verb == "watch":
            return await self._watch(request, plural, fault)
        if fault.hang:
            await _forever()
        if fault.cut_after is not None:
            await _cut(request)
        if fault.body is not None:
            return web.Response(body=fault.body, content_type="application/json")
        picks, limit, token = _picks(request.query), int(request.query.get("limit") or 0), request.query.get("continue")
        return web.json_response(self._store.page(plural, picks, limit, token or ""))

    def _refusal(self, request: web.Request, verb: str, plural: str, fault: Fault) -> Json | None:
        """The Status that a request gets in place of an answer, if it gets one."""
        query = request.query
        assert request.transport is not None
        by_certificate = request.transport.get_extra_info("peercert")
        # The scheme of a credential is not case-sensitive (RFC 9110 section 11.1).
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not by_certificate and (scheme.lower(), token) != ("bearer", self.token):
            return status(401, "Unauthorized", "Unauthorized")
        if plural in self._forbidden:
            text = f'{plural} is forbidden: User "dnsd" cannot {verb} resource "{plural}" at the cluster scope'
            return status(403, "Forbidden", text)
        if fault.status is not None:
            return fault.status
        if query.get("sendInitialEvents") and self.streaming == "refused":
            return status(422, "Invalid", "sendInitialEvents: Forbidden: the WatchList feature gate is disabled")
        if query.get("continue") and query["continue"] not in self._store.pages:
            return gone("The provided continue parameter is too old to display a consistent list result.")
        resumed = int(query.get("resourceVersion") or 0)
        if resumed > self._store.version:
            return status(504, "Timeout", "Too large resource version", "ResourceVersionTooLarge")
        if self.gone_as_status and self._store.forgotten(plural, resumed):
            return gone()
        return None

    async def _watch(self, request: web.Request, plural: str, fault: Fault) -> web.StreamResponse:
        watch = OpenWatch(_picks(request.query))
        version = int(request.query.get("resourceVersion") or 0)
        end = request.query.get("sendInitialEvents") == "true" and self.streaming == "supported"
        for first in self._store.first_lines(plural, watch.picks, version, end=end):
            watch.lines.put_nowait(first)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._store.watches[plural].add(watch)
        try:
            await response.prepare(request)
            if fault.hang:
                await _forever()
            if fault.body is not None:
                await response.write(fault.body + b"\n")
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", 3600))):
                for written in itertools.count():
                    if written == fault.cut_after or (line := await watch.lines.get()) is None:
                        await _cut(request)
                        return response
                    await asyncio.sleep(fault.delay)
                    await response.write(line + b"\n")
        except (TimeoutError, ConnectionResetError):
            pass  # the time is over, or the client is gone
        finally:
            self._store.watches[plural].discard(watch)
        return response

    # -- inside the thread: the port

    async def _start(self) -> None:
        application = web.Application()
        for _, _, path in PATHS.values():
            application.router.add_get(path, self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        await self._open()

    async def _open(self) -> None:
        assert self._runner is not None
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        self._site = web.SockSite(self._runner, self._listening, ssl_context=self._tls())
        await self._site.start()

    def _tls(self) -> ssl.SSLContext:
        paths = Path(self._folder.name, "server.crt"), Path(self._folder.name, "server.key")
        for path, pem in zip(paths, self.authority.issue("kube-apiserver", server=True), strict=True):
            path.write_bytes(pem)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.authority.pem.decode())
        context.load_cert_chain(*paths)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    async def _close(self) -> None:
        assert self._runner is not None
        assert self._runner.server is not None
        assert self._site is not None
        # A connection that was accepted but not yet taken over would be left open by a server that closes.
        self._loop.remove_reader(self._listening)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self._site.stop()
        for _ in range(CLOSING_TURNS):
            for connection in list(self._runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(0)

    async def _stop(self) -> None:
        assert self._runner is not None
        await self._close()
        await self._runner.cleanup()
        for _ in range(CLOSING_TURNS):
            await asyncio.sleep(0)

    # -- between threads

    def _call(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something in the server's thread, where nothing else happens meanwhile."""

        async def once() -> T:
            return act(*args, **kwargs)

        return self._run(once())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:
            raise RuntimeError("the API server of the tests is called from its own thread")
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=30)


def _picks(query: Any) -> Callable[[Json], bool]:
    labels, fields = label_selector(query.get("labelSelector", "")), field_selector(query.get("fieldSelector", ""))
    return lambda item: labels(item) and fields(item)


async def _cut(request: web.Request) -> None:
    """Reset the connection, and wait until that ends the request."""
    assert request.transport is not None
    request.transport.abort()
    await _forever()


async def _forever() -> None:
    await asyncio.Event().wait()
