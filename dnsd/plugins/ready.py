"""The directive `ready`: where /ready is served, and whether a plugin that was ready once is asked again.

Reads the directive; the endpoint is dnsd.observe's. spec.md sections 3.3 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnsd.corefile import read as words
from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import listen_address, once
from dnsd.resolve.plugin import Context

name = "ready"

DEFAULT = ":8181"


def setup(directives: Sequence[Directive], context: Context) -> None:
    """Note what the directive says; there is nothing to do for a query."""
    directive = once(directives)
    context.server.ready = DEFAULT
    for word in words.arguments(directive, 0, 1):
        context.server.ready = listen_address(word)
    for option in directive.options:
        if option.name.text != "monitor":
            raise words.unknown_option(option, ["monitor"])
        words.no_options(option)
        (how,) = words.arguments(option, 1, 1)
        context.server.ready_continuously = words.choice(how, "until-ready", "continuously") == "continuously"
