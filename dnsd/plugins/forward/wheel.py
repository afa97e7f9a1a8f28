"""A timer wheel: many deadlines at the price of one timer. Knows no clock; `now` is an argument."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Wheel(Generic[T]):
    """Items, each with a moment at which it is due, to the accuracy of `tick` seconds and never early."""

    def __init__(self, tick: float) -> None:
        self.tick = tick
        self._slots: dict[int, set[T]] = {}
        self._places: dict[T, int] = {}
        self._done = 0
        """Slots up to this one were emptied."""

    def __len__(self) -> int:
        return len(self._places)

    def add(self, when: float, item: T) -> None:
        """Make `item` due at `when` (seconds), and no longer at the moment that it was due before."""
        if item in self._places:
            self.discard(item)
        place = max(int(when / self.tick) + 1, self._done + 1)
        self._places[item] = place
        slot = self._slots.get(place)
        if slot is None:
            self._slots[place] = {item}
        else:
            slot.add(item)

    def discard(self, item: T) -> None:
        """Take `item` out, if it is in."""
        place = self._places.pop(item, None)
        if place is not None:
            slot = self._slots[place]
            slot.discard(item)
            if not slot:
                del self._slots[place]

    def clear(self) -> None:
        """Take everything out."""
        self._places.clear()
        self._slots.clear()

    def expired(self, now: float) -> list[T]:
        """Take out and return what is due."""
        last = int(now / self.tick)
        due = [item for place in sorted(self._slots) if place <= last for item in self._slots[place]]
        for item in due:
            self.discard(item)
        self._done = max(self._done, last)
        return due
