"""What a template is made of: the values that reading it gives and running it takes. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = object
"""What a template computes with: str, int, float, bool, None, list, dict, and what the data have."""


class TemplateError(Exception):
    """A template that cannot be read, or not be run: one line that says why."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    value: Value


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B` from the current value, which is what no names stand for."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.A.B`."""

    name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function's name."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """`(...).A.B`."""

    pipe: Pipe
    names: tuple[str, ...] = ()


Operand: TypeAlias = Constant | Field | Variable | Function | Chain


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each with the result of the one before as its last argument; and variables for the last result."""

    commands: tuple[tuple[Operand, ...], ...]
    variables: tuple[str, ...] = ()
    declares: bool = False
    """Whether the variables are new ones, `:=`, or there already, `=`."""


@dataclass(frozen=True, slots=True)
class Text:
    """What stands outside actions."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose result is written."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `with` or `range`."""

    kind: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """`break` or `continue`."""

    kind: str


Node: TypeAlias = Text | Action | Block | Leave


@dataclass(frozen=True, slots=True)
class Template:
    """A template as read."""

    text: str
    nodes: tuple[Node, ...]
    fields: tuple[tuple[str, ...], ...]
    """The fields of the data that it uses, where that can be seen; an empty one is all of the data."""
