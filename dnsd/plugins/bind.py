"""The directive `bind`: on which addresses a server block listens."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Word
from dnsd.resolve.plugin import Context

name = "bind"


def setup(directives: Sequence[Directive], context: Context) -> None:
    """Note the addresses; there is nothing to do for a query."""
    interfaces = context.interfaces()
    for directive in directives:
        left_out: set[str] = set()
        for option in directive.options:
            if option.name.text != "except":
                raise words.unknown_option(option, ["except"])
            left_out.update(address for word in words.arguments(option, 1) for address in _addresses(word, interfaces))
        for word in words.arguments(directive, 1):
            context.listen += [address for address in _addresses(word, interfaces) if address not in left_out]


def _addresses(word: Word, interfaces: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The word itself where it is an address, else the addresses of the interface with this name."""
    try:
        return [str(ipaddress.ip_address(word.text))]
    except ValueError:
        pass
    if word.text not in interfaces:
        known = ", ".join(interfaces)
        raise CorefileError(
            word.position, f"'{word.text}' is no IP address and no network interface", f"there are {known}"
        )
    return interfaces[word.text]
