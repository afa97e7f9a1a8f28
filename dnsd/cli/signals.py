"""What signals mean to a process that serves: the same as to the reference (spec.md section 5.3). Serves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

INTERRUPTED = 2
"""Exit status where somebody does not want to wait for an orderly end."""


def handle(reload: Callable[[], None]) -> asyncio.Event:
    """Handle signals on the running event loop; what is returned is set when an orderly end is asked for.

    SIGTERM and SIGINT ask for it, a second SIGINT and SIGQUIT end the process at once, SIGUSR1 calls `reload`, SIGHUP
    and SIGUSR2 do nothing.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(INTERRUPTED)
        interrupted = True
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGQUIT, os._exit, 0)
    loop.add_signal_handler(signal.SIGUSR1, reload)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    return stop
