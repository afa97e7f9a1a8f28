"""Clocks, sleep and jitter of the API source as arguments, and the back-off; knows nothing of what is waited for."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

BACKOFF_FIRST = 0.8
"""Seconds before the first retry, as client-go's reflector waits (spec.md 3.1)."""

BACKOFF_MAX = 30.0
"""Seconds between retries at most: after an outage, answers are fresh again within this time."""

JITTER = 0.25
"""The part by which a wait is made longer or shorter, so that a fleet of servers does not come back in step."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Everything that has to do with time or chance; tests bring their own."""

    clock: Callable[[], float] = time.time
    """Seconds since 1970, for the index and the metrics."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds, for durations."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits for so many seconds."""
    uniform: Callable[[float, float], float] = secrets.SystemRandom().uniform
    """A random number between two."""


class Backoff:
    """How long to wait after each failure in a row: 0.8 s, doubled up to 30 s, give or take a quarter."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._delay = BACKOFF_FIRST

    def reset(self) -> None:
        """Something worked: the next failure is a first one."""
        self._delay = BACKOFF_FIRST

    async def wait(self) -> None:
        """Sleep for as long as this failure asks for."""
        delay, self._delay = self._delay, min(2 * self._delay, BACKOFF_MAX)
        await self._timing.sleep(delay * self._timing.uniform(1 - JITTER, 1 + JITTER))
