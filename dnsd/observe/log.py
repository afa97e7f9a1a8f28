"""Log lines: as CoreDNS writes them (spec.md section 5.3), or each one a JSON object. Knows no source of lines.

Text is `[LEVEL] text`, and `[LEVEL] plugin/NAME: text` where a plugin speaks.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

FORMATS = ("text", "json")

_NAMES = {"dnsd.cluster": "kubernetes", "dnsd.cluster.api": "kubernetes"}


def plugin_of(record: logging.LogRecord) -> str:
    """The plugin that speaks, or nothing."""
    prefix = "dnsd.plugin."
    return record.name.removeprefix(prefix) if record.name.startswith(prefix) else _NAMES.get(record.name, "")


class TextFormatter(logging.Formatter):
    """One line a record; a traceback goes below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        plugin = plugin_of(record)
        line = f"[{record.levelname}] {f'plugin/{plugin}: ' if plugin else ''}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object a record: `time` (RFC 3339), `level`, `plugin` where one speaks, and `message`.

    A record with an attribute `fields`, a dict, has these in the object and no `message`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The object, in one line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
        }
        if plugin := plugin_of(record):
            line["plugin"] = plugin
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"))


def configure(style: str = "text") -> None:
    """Log to standard output in one of FORMATS, from INFO up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("dnsd").setLevel(logging.INFO)
