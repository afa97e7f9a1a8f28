"""A text file that is read again when it changes. Knows when that is, and nothing of what the text says."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

MAX_OCTETS = 64 * 1024 * 1024
"""Of a file that is read: a list of two million host names has some 60 MB, and all of it is held in memory."""


class Unreadable(Exception):
    """A file that cannot be used: one line that says which and why."""


class TextFile:
    """A file by its path. It has changed where its inode, its size or its time of change is another."""

    def __init__(self, path: str, limit: int = MAX_OCTETS) -> None:
        self.path = path
        self.modified = 0.0
        """When it was changed, in seconds since 1970, as of the last text; 0 before the first."""
        self._limit = limit
        self._state: tuple[int, ...] | str = "not looked at"

    def changed(self) -> str | None:
        """Its text if it has changed since the last look, None if not. The first look finds a change.

        Octets that are no UTF-8 come as surrogates.

        Raises:
            Unreadable: it cannot be read. Said once, as long as the reason is the same.
        """
        try:
            with Path(self.path).open("rb") as file:
                stat = os.fstat(file.fileno())
                state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if state == self._state:
                    return None
                octets = file.read(self._limit + 1)
        except OSError as error:
            reason = error.strerror or str(error)
            if reason == self._state:
                return None
            self._state = reason
            raise Unreadable(f"{self.path}: {reason}") from error
        self._state = state
        if len(octets) > self._limit:
            raise Unreadable(f"{self.path}: more than {self._limit} octets")
        self.modified = stat.st_mtime
        return octets.decode("utf-8", "surrogateescape")


async def follow(file: TextFile, seconds: float, take: Callable[[str], None], log: logging.Logger) -> None:
    """Look at a file every so many seconds, for ever, and hand over its text when it has changed.

    What cannot be read, or is refused by `take` with Unreadable, is logged and leaves things as they are.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            text = file.changed()
            if text is not None:
                take(text)
        except Unreadable as error:
            log.warning("%s", error)
        except Exception:  # what nobody foresaw in one text must not keep the next one from being read
            log.exception("cannot use %s", file.path)
