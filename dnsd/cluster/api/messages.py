"""What the API server writes: pages of a list, lines of a watch, a Status. Knows no I/O, and no kind of object.

Objects stay undecoded (`msgspec.Raw`), so that one that makes no sense costs itself and nothing around it.
"""

from __future__ import annotations

import msgspec

MAX_OBJECT_OCTETS = 16 * 1024 * 1024
"""The largest JSON of one object: etcd refuses what is above 1.5 MiB, and JSON takes a few times that of protobuf."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the BOOKMARK that ends a streaming list."""

RESOURCE_VERSION_TOO_LARGE = "ResourceVersionTooLarge"
"""The cause in a Status that tells a resourceVersion from the future: etcd was restored from a backup."""

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that a decoder raises on bad input: wrong JSON or types, text that is not UTF-8, nesting beyond measure."""


class Event(msgspec.Struct, gc=False):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class BareMetadata(msgspec.Struct, rename="camel", gc=False):
    """What every object has, whatever else is wrong with it."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None

    @property
    def ends_initial_events(self) -> bool:
        """Whether this BOOKMARK ends a streaming list."""
        return (self.annotations or {}).get(INITIAL_EVENTS_END) == "true"


class Bare(msgspec.Struct, gc=False):
    """An object of which only the metadata is read; a BOOKMARK is nothing more."""

    metadata: BareMetadata


class Cause(msgspec.Struct, gc=False):
    """One entry of `details.causes` of a Status."""

    reason: str | None = None


class Details(msgspec.Struct, gc=False):
    """`details` of a Status."""

    causes: list[Cause] | None = None


class Status(msgspec.Struct, gc=False):
    """What the API server says when it refuses: body of an error response, or object of an ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None

    @property
    def version_too_large(self) -> bool:
        """Whether the resourceVersion asked for is newer than anything the server has."""
        causes = (self.details.causes if self.details else None) or []
        return any(cause.reason == RESOURCE_VERSION_TOO_LARGE for cause in causes)


class PageMetadata(msgspec.Struct, rename="camel", gc=False):
    """`metadata` of a list."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, gc=False):
    """One page of a list."""

    metadata: PageMetadata
    items: list[msgspec.Raw] | None = None


decode_event = msgspec.json.Decoder(Event).decode
decode_bare = msgspec.json.Decoder(Bare).decode
decode_status = msgspec.json.Decoder(Status).decode
decode_page = msgspec.json.Decoder(Page).decode


class Lines:
    """Cuts what arrives into lines. A line of more than `limit` octets is left out, and counted in `dropped`."""

    def __init__(self, limit: int = MAX_OBJECT_OCTETS) -> None:
        self.dropped = 0
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in `chunk`, without their line feeds; empty ones are left out."""
        first, *others = chunk.split(b"\n")
        self._add(first)
        lines = []
        for part in others:
            if line := self._end():
                lines.append(line)
            self._add(part)
        return lines

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _end(self) -> bytes:
        self.dropped += self._size > self._limit
        line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line
