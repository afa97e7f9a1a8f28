"""A zone file on disk: read at the start, and again when its serial has changed. Knows nothing of queries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from dnsd.cluster.index import Key
from dnsd.plugins.file.reader import records
from dnsd.plugins.file.tokens import ZoneError
from dnsd.plugins.file.zone import Builder, Zone, serial_of
from dnsd.wire import name as names
from dnsd.wire.codes import Type
from dnsd.wire.name import Name

log = logging.getLogger("dnsd.plugin.file")

MAX_OCTETS = 256 * 1024 * 1024
"""Of one file: some five million records, which take several gigabytes of memory. More than that is no zone file."""
RECORDS_AT_A_TIME = 200
"""Between two turns of the event loop while a changed file is read: a few milliseconds of work."""


def key_of(zone: Name) -> Key:
    """What an answer out of a zone file has read."""
    return ("file", names.to_text(zone))


class ZoneFile:
    """One file, and the zones that are made of it."""

    def __init__(
        self,
        path: str,
        origins: Iterable[Name],
        interval: float,
        fallthrough: tuple[Name, ...],
        changed: Callable[[frozenset[Key]], None],
    ) -> None:
        self.path = path
        self.zones: dict[Name, Zone | None] = dict.fromkeys(origins)
        """None until the file could be read."""
        self.interval = interval
        """Seconds between two looks at it; 0 for no second look."""
        self.notify: Callable[[Name], None] = lambda _: None
        """Called with a zone that others should fetch."""
        self._fallthrough = fallthrough
        self._changed = changed
        self._reported = ""

    def falls_through(self, name: Name) -> bool:
        """Whether a name that is not here may be somewhere else."""
        return any(names.is_under(name, zone) for zone in self._fallthrough)

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            OSError: it cannot be read.
            ZoneError: it can, and is wrong.
        """
        text = self._text(self.path)
        for origin in self.zones:
            steps = self._parse(text, origin, None)
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    self.zones[origin] = stop.value
                    break

    def notify_all(self) -> None:
        """Let secondaries of every zone that is loaded know."""
        for origin, zone in self.zones.items():
            if zone is not None:
                self.notify(origin)

    async def follow(self) -> None:
        """Look at the file at each interval, until cancelled."""
        while True:
            await asyncio.sleep(self.interval)
            await self.refresh()

    async def refresh(self) -> None:
        """Take over the zones whose serial has changed; a file that cannot be used changes nothing, and is logged."""
        try:
            text = self._text(self.path)
            for origin, old in self.zones.items():
                zone = await _slowly(self._parse(text, origin, None if old is None else old.serial))
                if zone is not None:
                    self.zones[origin] = zone
                    self._changed(frozenset({key_of(origin)}))
                    self.notify(origin)
                    log.info("%s: %s has serial %d now", self.path, names.to_text(origin), zone.serial)
            self._reported = ""
        except (OSError, ZoneError) as error:
            if str(error) != self._reported:
                log.warning("%s; the zone stays as it was", error)
            self._reported = str(error)

    def _parse(self, text: str, origin: Name, known: int | None) -> Generator[None, None, Zone | None]:
        """The zone that the text is, or None where its serial is `known`; yields between chunks of work."""
        builder = Builder(origin, self.path)
        folder = Path(self.path).parent
        for i, record in enumerate(records(text, self.path, origin, lambda file: self._text(str(folder / file)))):
            if record.rr.rtype == Type.SOA and names.lower(record.owner) == origin and serial_of(record.rr) == known:
                return None
            builder.add(record)
            if i % RECORDS_AT_A_TIME == RECORDS_AT_A_TIME - 1:
                yield
        zone = builder.finish()
        for warning in builder.warnings:
            log.warning("%s", warning)
        return zone

    @staticmethod
    def _text(path: str) -> str:
        """The text of a file; octets that are no UTF-8 come as surrogates, and turn into octets again later."""
        with Path(path).open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
        if len(octets) > MAX_OCTETS:
            raise ZoneError(path, 0, f"more than {MAX_OCTETS} octets")
        return octets.decode("utf-8", "surrogateescape")


async def _slowly(steps: Generator[None, None, Zone | None]) -> Zone | None:
    """Run a generator with a turn of the event loop at each yield."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: Zone | None = stop.value
            return found
        await asyncio.sleep(0)
