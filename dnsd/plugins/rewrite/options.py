"""The rules `edns0` of `rewrite`: EDNS options of queries on their way to upstreams. RFC 6891, 5001, 7871.

A reply never carries what a rule put into a query, so there is nothing to undo in it: `revert` is read and heeded.
"""

from __future__ import annotations

import binascii
import enum
import ipaddress
import logging
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from msgspec.structs import replace

from dnsd.corefile.syntax import CorefileError, Word
from dnsd.plugins.rewrite.rule import Rewritten, Rule
from dnsd.resolve.query import Query
from dnsd.wire import name as names
from dnsd.wire.codes import Option
from dnsd.wire.query import Edns

log = logging.getLogger("dnsd.plugin.rewrite")

PAYLOAD = 4096
"""Octets that a query says it takes where the client sent no OPT and a rule needs one."""
MAX_DATA = 512
"""Octets of an option's data: it goes into every query, and a query must fit a datagram."""
MAX_CODE = 0xFFFF

_METADATA = re.compile(r"\{[^{}/]+/[^{}]+\}")


class Action(enum.Enum):
    """What is done with an option."""

    SET = "set"
    """Replaced where the query has it, added where not."""
    APPEND = "append"
    """Added where the query does not have it."""
    REPLACE = "replace"
    """Replaced where the query has it."""
    UNSET = "unset"
    """Taken out."""


_WANTS_PRESENT: Mapping[Action, bool] = {Action.APPEND: False, Action.REPLACE: True, Action.UNSET: True}
"""Whether the query must have the option for a rule to be about it; a rule that sets one does not mind."""

Data: TypeAlias = Callable[[Query], bytes]


@dataclass(frozen=True, slots=True)
class OptionRule(Rule):
    """One option of each query."""

    stop: bool
    code: int
    action: Action
    data: Data
    personal: bool = False
    """Whether the data say who asks."""

    def rewrite(self, query: Query) -> Rewritten | None:
        """The query with another option, or without one."""
        edns = query.edns or Edns(PAYLOAD)
        present = any(code == self.code for code, _ in edns.options)
        if _WANTS_PRESENT.get(self.action, present) is not present:
            return None
        others = tuple(option for option in edns.options if option[0] != self.code)
        options = others if self.action is Action.UNSET else (*others, (self.code, self.data(query)))
        return Rewritten(replace(query, edns=replace(edns, options=options)), personal=self.personal)


def _packed(text: str) -> bytes:
    """The octets of an address; a link-local one may have a scope."""
    return ipaddress.ip_address(text.partition("%")[0]).packed


def _server_port(query: Query) -> bytes:
    port = query.client.server.rpartition(":")[2]
    return struct.pack("!H", int(port) if port.isdigit() else 0)


_VARIABLES: Mapping[str, tuple[Data, bool]] = {
    "{qname}": (lambda query: names.to_text(query.name).encode(), False),
    "{qtype}": (lambda query: struct.pack("!H", query.type), False),
    "{client_ip}": (lambda query: _packed(query.client.address), True),
    "{client_port}": (lambda query: struct.pack("!H", query.client.port), True),
    "{protocol}": (lambda query: query.client.protocol.encode(), False),
    "{server_ip}": (lambda query: _packed(query.client.local) if query.client.local else b"", True),
    "{server_port}": (_server_port, False),
}
"""What a variable stands for, and whether that depends on who asks or where."""


def read(stop: bool, line: list[Word], place: Word) -> Rule | None:
    """`local|nsid|subnet ACTION ...`, or None where the rule has nothing to say here.

    Raises:
        CorefileError: it says something that is not understood.
    """
    if line and line[-1].text.lower() == "revert":
        line = line[:-1]
    if len(line) < 2:
        raise CorefileError(place.position, "'edns0' needs an option and an action", "such as nsid set")
    kind, action_word, *rest = line
    actions = {action.value: action for action in Action}
    action = actions.get(action_word.text.lower())
    if action is None:
        raise CorefileError(action_word.position, f"'{action_word.text}' is no action", f"one of {', '.join(actions)}")
    match kind.text.lower():
        case "local":
            return _local(stop, action, kind, rest)
        case "nsid":
            _count(kind, rest, 0)
            return OptionRule(stop, Option.NSID, action, lambda _: b"")
        case "subnet":
            return _subnet(stop, action, kind, rest)
        case _:
            raise CorefileError(kind.position, f"'{kind.text}' is no option", "one of local, nsid, subnet")


def _count(kind: Word, rest: list[Word], count: int) -> None:
    if len(rest) != count:
        expected = f"{count or 'no'} argument{'' if count == 1 else 's'}"
        raise CorefileError(kind.position, f"'{kind.text}' takes {expected} after the action, not {len(rest)}")


def _local(stop: bool, action: Action, kind: Word, rest: list[Word]) -> Rule | None:
    _count(kind, rest, 1 if action is Action.UNSET else 2)
    code = _number(rest[0], MAX_CODE)
    if action is Action.UNSET:
        return OptionRule(stop, code, action, lambda _: b"")
    text = rest[1].text
    if text.startswith("{") and text.endswith("}"):
        return _variable(stop, action, code, rest[1])
    data = _octets(rest[1])
    return OptionRule(stop, code, action, lambda _: data)


def _variable(stop: bool, action: Action, code: int, word: Word) -> Rule | None:
    variable = _VARIABLES.get(word.text)
    if variable is not None:
        return OptionRule(stop, code, action, *variable)
    if not _METADATA.fullmatch(word.text):
        raise CorefileError(word.position, f"'{word.text}' is no variable", f"one of {', '.join(_VARIABLES)}")
    log.warning("%s: nothing gives metadata, so this rule is never about a query", word.position)
    return None


def _octets(word: Word) -> bytes:
    """The text itself, or what it says in hexadecimal after `0x`."""
    octets = word.text.encode()
    if word.text.startswith("0x"):
        try:
            octets = binascii.unhexlify(word.text[2:])
        except binascii.Error as error:
            raise CorefileError(word.position, f"'{word.text}' is not hexadecimal: {error}") from error
    if len(octets) > MAX_DATA:
        raise CorefileError(word.position, f"option of {len(octets)} octets", f"at most {MAX_DATA}")
    return octets


def _number(word: Word, high: int) -> int:
    """A number as Go writes it: decimal, `0x`, `0o` or `0b`."""
    try:
        number = int(word.text, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= high:
        raise CorefileError(word.position, f"'{word.text}' is not a number from 0 to {high}")
    return number


def _subnet(stop: bool, action: Action, kind: Word, rest: list[Word]) -> Rule:
    """The network of the client, of so many bits for IPv4 and so many for IPv6 (RFC 7871 section 6)."""
    _count(kind, rest, 0 if action is Action.UNSET else 2)
    if action is Action.UNSET:
        return OptionRule(stop, Option.ECS, action, lambda _: b"")
    bits = {4: _number(rest[0], 32), 16: _number(rest[1], 128)}

    def data(query: Query) -> bytes:
        packed = _packed(query.client.address)
        length = bits[len(packed)]
        network = ipaddress.ip_network((packed, length), strict=False).network_address.packed
        return struct.pack("!HBB", 1 if len(packed) == 4 else 2, length, 0) + network[: -(-length // 8)]

    return OptionRule(stop, Option.ECS, action, data, personal=True)
