"""The watch of one kind: list, follow, resume, list again (spec.md 3.1). Must not know what DNS makes of the index.

1. The index is changed as soon as an event has arrived: nothing is queued.
2. What is known stays: an outage removes nothing, and a new list removes what it does not name once it is complete.
3. A watch that breaks off goes on from the last resourceVersion. Only `Expired` makes it list again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import aiohttp
import msgspec

from dnsd.cluster import objects
from dnsd.cluster.api.connection import ApiError, Connection, Expired, Forbidden, refusal
from dnsd.cluster.api.credentials import CredentialsError
from dnsd.cluster.api.messages import (
    DECODE_ERRORS,
    MAX_OBJECT_OCTETS,
    BareMetadata,
    Lines,
    Page,
    decode_bare,
    decode_event,
    decode_page,
)
from dnsd.cluster.api.timing import Backoff, Timing
from dnsd.cluster.index import Index, Replacement
from dnsd.cluster.objects import Kind
from dnsd.cluster.store import SourceSettings

log = logging.getLogger("dnsd.cluster.api")

LIST_LIMIT = 500
"""Objects asked for in one page of a list, as client-go does."""

MAX_PAGE_OCTETS = 4 * 1024 * 1024
"""A page of more octets is asked for again with fewer objects: it would be held in memory at once, and finding the
objects in it (1.5 GB/s) would keep queries waiting for more than 3 ms."""

SLICE_SECONDS = 0.001
"""How long each watch decodes objects before queries have their turn; a turn of the loop costs 3 % of that."""

WATCH_SECONDS = (300.0, 600.0)
"""Between these, at random, a watch ends and is asked for anew, so that watches spread over the API servers."""

SILENCE_SECONDS = 30.0
"""How long after its end the server may keep a watch open, and how long a list may stop arriving."""

INITIAL_SILENCE_SECONDS = 10.0
"""How long a streaming list may stop arriving before it counts as one that the server does not know how to end."""

STEADY_SECONDS = 1.0
"""A watch that held this long was a good one (client-go's measure too): it is resumed at once when it breaks off."""

MAX_REPORTED = 1_000
"""How many objects that do not decode are remembered so that each is logged once; past that the memory starts anew."""

FAILURES = (ApiError, CredentialsError, aiohttp.ClientError, OSError, *DECODE_ERRORS)
"""What happens in an outage, and is waited out."""

NO_STREAMING_LIST = (400, 422)
"""Status codes of a server that refuses `sendInitialEvents`: BadRequest, Invalid."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Where the API server has a kind, in its words."""

    plural: str
    path: str
    field_selector: str = ""


def _label_selector(kind: Kind, settings: SourceSettings) -> str:
    """Which objects of a kind are wanted; ServiceImports are chosen as namespaces are, as in the reference (3.1)."""
    if kind in (objects.Namespace, objects.ServiceImport):
        return settings.namespace_labels
    if kind is objects.EndpointSlice and settings.imports:
        return ",".join(filter(None, (objects.IMPORT_NAME_LABEL, settings.labels)))
    return settings.labels


RESOURCES: dict[Kind, Resource] = {
    objects.Namespace: Resource("namespaces", "/api/v1/namespaces"),
    objects.Service: Resource("services", "/api/v1/services"),
    objects.ServiceImport: Resource("serviceimports", "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports"),
    objects.EndpointSlice: Resource("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"),
    objects.Pod: Resource("pods", "/api/v1/pods", "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"),
}


class NoStreamingListError(Exception):
    """The server does not know `sendInitialEvents`: list in pages, and then watch."""


class Watch:
    """Keeps one kind of `index` equal to what the API server has. Counters are for metrics, and only ever grow."""

    def __init__(self, kind: Kind, index: Index, settings: SourceSettings, timing: Timing) -> None:
        self.kind = kind
        self.resource = RESOURCES[kind]
        self.last_event = 0.0
        """When the API server last spoke about this kind, BOOKMARKs included: seconds since 1970, 0 for never."""
        self.lists = 0
        """Lists that were begun; all but the first are relists."""
        self.reconnects = 0
        """Watches that were resumed from a resourceVersion."""
        self.skipped = 0
        """Events and objects that made no sense and were left out."""
        self._index = index
        self._timing = timing
        self._backoff = Backoff(timing)
        self._decode = msgspec.json.Decoder(kind).decode
        self._version = ""
        """Where to resume; "" where a list is needed."""
        self._streaming = True
        self._held_since: float | None = None
        self._problem = ""
        self._reported: set[tuple[str, str, str]] = set()
        selector = _label_selector(kind, settings)
        given = {"labelSelector": selector, "fieldSelector": self.resource.field_selector}
        self._selectors = {name: value for name, value in given.items() if value}

    async def run(self, connection: Connection) -> None:
        """List and watch until cancelled. Nothing that the API server does ends it."""
        while True:
            self._held_since = None
            try:
                await self._follow(connection)
            except Expired as error:
                self._version = ""
                self._complain(error)
            except FAILURES as error:
                self._complain(error)
            except Exception:
                log.exception("%s: the watch failed in a way that was not foreseen", self.resource.plural)
            if self._held_since is not None and self._timing.monotonic() - self._held_since >= STEADY_SECONDS:
                self._backoff.reset()
            else:
                await self._backoff.wait()

    async def _follow(self, connection: Connection) -> None:
        """Resume, or list; then watch until the watch ends."""
        if self._version:
            self.reconnects += 1
            try:
                await self._stream(connection, None)
                return
            except Expired as error:
                log.info("%s: listing again: %s", self.resource.plural, error)
                self._version = ""
        self.lists += 1
        if self._streaming:
            try:
                await self._stream(connection, self._index.replace(self.kind))
                return
            except NoStreamingListError as error:
                log.info("%s: listing in pages: %s", self.resource.plural, error)
                self._streaming = False
        await self._list(connection, self._index.replace(self.kind))
        await self._stream(connection, None)

    # -- the two ways to list, and the watch

    async def _list(self, connection: Connection, replacement: Replacement) -> None:
        """List in pages (`limit` and `continue`)."""
        token, limit = "", LIST_LIMIT
        while True:
            query = {"limit": str(limit), **({"continue": token} if token else {})}
            async with connection.get(self.resource.path, query | self._selectors) as response:
                body = await _body(response, MAX_PAGE_OCTETS if limit > 1 else MAX_OBJECT_OCTETS)
            if body is None:
                if limit == 1:
                    raise ApiError(response.status, f"one object has more than {MAX_OBJECT_OCTETS} octets")
                limit = max(1, limit // 4)
                continue
            page: Page = decode_page(body)
            since = self._timing.monotonic()
            for raw in page.items or ():
                self._put(raw, replacement)
                since = await self._breathe(since)
            token = page.metadata.continue_
            if not token:
                break
            if len(body) < MAX_PAGE_OCTETS // 4:
                limit = min(2 * limit, LIST_LIMIT)
        self._synced(replacement, page.metadata.resource_version)

    async def _stream(self, connection: Connection, replacement: Replacement | None) -> None:
        """Watch from the last resourceVersion; or, with `replacement`, from a list that comes as the first events.

        Returns when the watch ends in order.

        Raises:
            NoStreamingListError: the server does not list that way.
        """
        seconds = int(self._timing.uniform(*WATCH_SECONDS))
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds), **self._selectors}
        if replacement is None:
            query["resourceVersion"] = self._version
        else:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        lines = Lines()
        try:
            async with connection.get(self.resource.path, query) as response:
                if replacement is None:
                    self._holds()
                while chunk := await _chunk(response, seconds + SILENCE_SECONDS, initial=replacement is not None):
                    since = self._timing.monotonic()
                    for line in lines.feed(chunk):
                        replacement = self._event(line, replacement)
                        since = await self._breathe(since)
                    while lines.dropped:
                        lines.dropped -= 1
                        self._skip(BareMetadata(), f"a line of more than {MAX_OBJECT_OCTETS} octets")
        except ApiError as error:
            if replacement is not None and error.code in NO_STREAMING_LIST:
                raise NoStreamingListError(str(error)) from error
            raise
        if replacement is not None:
            raise ConnectionError("the streaming list broke off")

    async def _breathe(self, since: float) -> float:
        """Let the loop answer queries if objects were decoded for long `since` then; return since when they are now."""
        if self._timing.monotonic() - since < SLICE_SECONDS:
            return since
        await asyncio.sleep(0)
        return self._timing.monotonic()

    # -- events into the index

    def _event(self, line: bytes, replacement: Replacement | None) -> Replacement | None:
        """Act on one line. Return the list that still goes on, if one does."""
        try:
            event = decode_event(line)
        except DECODE_ERRORS as error:
            self._skip(BareMetadata(), f"a line of the watch: {error}")
            return replacement
        if event.type == "ERROR":
            raise refusal(0, bytes(event.object))
        self.last_event = self._timing.clock()
        if event.type in ("ADDED", "MODIFIED"):
            self._put(event.object, replacement)
            return replacement
        bare = self._bare(event.object)
        if bare is None:
            self._skip(BareMetadata(), f"a {event.type} without metadata")
            return replacement
        if event.type == "DELETED":
            self._index.delete(self.kind, bare.namespace, bare.name, self.last_event)
        elif event.type == "BOOKMARK" and replacement is not None:
            if not bare.ends_initial_events:
                raise NoStreamingListError("sendInitialEvents was ignored")
            self._synced(replacement, bare.resource_version)
            self._holds()
            return None
        elif event.type != "BOOKMARK":
            self._skip(bare, f"an event of the unknown type {event.type!r}")
        if replacement is None:
            self._version = bare.resource_version or self._version
        return replacement

    def _put(self, raw: msgspec.Raw, replacement: Replacement | None) -> None:
        """Add an object to the list that goes on, or else to the index."""
        try:
            item: objects.Object = self._decode(raw)
            version = item.metadata.resource_version
            (replacement or self._index).put(item, self._timing.clock())
        except DECODE_ERRORS as error:
            bare = self._bare(raw) or BareMetadata()
            version = bare.resource_version
            self._skip(bare, error)
            if replacement is not None:
                replacement.keep(bare.namespace, bare.name)
        except Exception:
            self.skipped += 1
            log.exception("%s is left out: %r", self.kind.__name__, item.metadata)
        if replacement is None:
            self._version = version or self._version

    @staticmethod
    def _bare(raw: msgspec.Raw) -> BareMetadata | None:
        try:
            return decode_bare(raw).metadata
        except DECODE_ERRORS:
            return None

    def _synced(self, replacement: Replacement, version: str) -> None:
        """The list is complete as of `version`."""
        self.last_event = self._timing.clock()
        replacement.finish(self.last_event)
        self._version = version
        self._backoff.reset()

    # -- what is said about it

    def _holds(self) -> None:
        """A watch is established, and nothing is behind it."""
        self._held_since = self._timing.monotonic()
        if self._problem:
            log.info("%s: watched again", self.resource.plural)
            self._problem = ""

    def _complain(self, error: Exception) -> None:
        """Log what goes wrong, once for as long as it stays the same."""
        problem = str(error) or type(error).__name__
        if isinstance(error, Forbidden):
            problem += f" (RBAC has to grant list and watch on {self.resource.plural} in all namespaces)"
        log.log(
            logging.DEBUG if problem == self._problem else logging.WARNING,
            "%s: no watch, the last known state stays in use: %s",
            self.resource.plural,
            problem,
        )
        self._problem = problem

    def _skip(self, metadata: BareMetadata, reason: object) -> None:
        """Count what is left out, and log it once."""
        self.skipped += 1
        if len(self._reported) >= MAX_REPORTED:
            self._reported.clear()
        seen = (metadata.namespace, metadata.name, str(reason))
        if seen not in self._reported:
            self._reported.add(seen)
            log.warning("%s %s/%s is left out: %s", self.kind.__name__, *seen)


async def _chunk(response: aiohttp.ClientResponse, silence: float, *, initial: bool = False) -> bytes:
    """Return the octets that arrive next, none at the end; `silence` seconds without any are a TimeoutError.

    While the `initial` events arrive, a shorter silence is a NoStreamingListError.
    """
    if initial:
        silence = INITIAL_SILENCE_SECONDS
    try:
        async with asyncio.timeout(silence):
            return await response.content.readany()
    except aiohttp.ClientPayloadError as error:
        raise ConnectionError("the connection was cut off") from error
    except TimeoutError as error:
        if initial:
            raise NoStreamingListError(f"its end was not told for {silence:.0f} s") from error
        raise TimeoutError(f"nothing was heard for {silence:.0f} s") from error


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Return the whole body, or None if it has more than `limit` octets."""
    parts, size = [], 0
    while chunk := await _chunk(response, SILENCE_SECONDS):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return None
    return b"".join(parts)
