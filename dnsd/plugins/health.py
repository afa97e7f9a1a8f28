"""The directive `health`: where /health is served, and how long queries are answered after SIGTERM.

Reads the directive; the endpoint is dnsd.observe's. spec.md section 6.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnsd.corefile import read as words
from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import listen_address
from dnsd.resolve.plugin import Context

name = "health"

DEFAULT = ":8080"


def setup(directives: Sequence[Directive], context: Context) -> None:
    """Note the address and the time; there is nothing to do for a query. The last directive counts, as in CoreDNS."""
    for directive in directives:
        context.server.health, context.server.lameduck = DEFAULT, 0.0
        for word in words.arguments(directive, 0, 1):
            context.server.health = listen_address(word)
        for option in directive.options:
            if option.name.text != "lameduck":
                raise words.unknown_option(option, ["lameduck"])
            words.no_options(option)
            (seconds,) = words.arguments(option, 1, 1)
            context.server.lameduck = words.duration(seconds)
