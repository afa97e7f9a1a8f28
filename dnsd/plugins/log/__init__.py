"""The plugin `log`: one line for each query that it is told to log. spec.md section 7.2."""

from dnsd.plugins.log.plugin import QueryLog, setup

__all__ = ["QueryLog", "setup"]
