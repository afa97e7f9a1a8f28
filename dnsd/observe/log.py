"""Log lines as CoreDNS writes them: `[LEVEL] text`, and `[LEVEL] plugin/NAME: text` (spec.md section 5.3)."""

from __future__ import annotations

import logging
import sys

_NAMES = {"dnsd.cluster": "kubernetes"}


class Formatter(logging.Formatter):
    """One line a record; a traceback goes below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        name = record.name
        plugin = name.removeprefix("dnsd.plugin.") if name.startswith("dnsd.plugin.") else _NAMES.get(name, "")
        line = f"[{record.levelname}] {f'plugin/{plugin}: ' if plugin else ''}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure() -> None:
    """Log to standard output, from INFO up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("dnsd").setLevel(logging.INFO)
