"""The directive `prometheus`: queries of this server block are counted, and /metrics is served.

Reads the directive; the numbers and the endpoint are dnsd.observe's. spec.md section 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive
from dnsd.plugins.directive import listen_address, once
from dnsd.resolve.plugin import Context, Plugin

DEFAULT = "localhost:9153"


class Prometheus(Plugin):
    """Stands in the chain where metrics are taken: its being there makes a server block count."""

    name = "prometheus"


def setup(directives: Sequence[Directive], context: Context) -> Prometheus:
    """The plugin, from its directive."""
    directive = once(directives)
    context.server.metrics = DEFAULT
    for word in words.arguments(directive, 0, 1):
        context.server.metrics = listen_address(word)
    for option in directive.options:
        match option.name.text:
            case "runtime_metrics":  # of Go's runtime, which is not here
                words.arguments(option, 0, 0)
                words.no_options(option)
            case "tls":
                raise CorefileError(option.name.position, "'tls' is not supported: /metrics is plain HTTP")
            case _:
                raise words.unknown_option(option, ["runtime_metrics", "tls"])
    return Prometheus()
