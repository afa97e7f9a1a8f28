"""The plugin `debug`: log lines of level DEBUG, while a configuration with it is at work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import bare
from dnsd.resolve.plugin import Context, Plugin


class Debug(Plugin):
    """Lowers the level of the server's log from its start to its end; what happens to queries stays the same.

    The log is one for the whole process, so its level goes back up when the last user ends: on a reload the new
    configuration starts before the old one stops.
    """

    name = "debug"
    users: ClassVar[int] = 0
    usual: ClassVar[int] = logging.NOTSET
    """The level to go back to."""

    async def start(self) -> None:
        """Log more."""
        if not Debug.users:
            Debug.usual = logging.getLogger("dnsd").level
            logging.getLogger("dnsd").setLevel(logging.DEBUG)
        Debug.users += 1

    async def stop(self) -> None:
        """Log as before."""
        Debug.users -= 1
        if not Debug.users:
            logging.getLogger("dnsd").setLevel(Debug.usual)


def setup(directives: Sequence[Directive], context: Context) -> Debug:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    bare(directives)
    return Debug()
