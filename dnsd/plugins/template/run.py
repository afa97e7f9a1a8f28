"""Runs templates: nodes and data to text, within limits. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

from dnsd.plugins.template.functions import FUNCTIONS, LAZY, MISSING, text, truth
from dnsd.plugins.template.nodes import (
    Action,
    Block,
    Chain,
    Constant,
    Field,
    Function,
    Leave,
    Node,
    Operand,
    Pipe,
    Template,
    TemplateError,
    Text,
    Value,
    Variable,
)  # fmt: skip

MAX_OUTPUT = 65_536
"""Characters: a record whose text is longer would hardly fit a message."""
MAX_STEPS = 10_000
"""Nodes that are run for one text: templates loop over what a regular expression found, not over large things."""


class Struct(dict[str, Value]):
    """Data with a fixed set of fields; a map has what it has."""


class _Left(Exception):
    """A `break` or `continue` on its way to its `range`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def run(template: Template, data: Value) -> str:
    """The text that a template makes of data.

    Raises:
        TemplateError: it cannot be run on them, or makes too much.
    """
    runner = _Run(data)
    runner.nodes(template.nodes, data)
    return "".join(runner.parts)


class _Run:
    def __init__(self, data: Value) -> None:
        self.variables: list[tuple[str, Value]] = [("$", data)]
        self.parts: list[str] = []
        self.size = 0
        self.steps = 0

    def nodes(self, nodes: Sequence[Node], dot: Value) -> None:
        outside = len(self.variables)
        for node in nodes:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise TemplateError(f"more than {MAX_STEPS} steps")
            match node:
                case Text(plain):
                    self.write(plain)
                case Action(pipe):
                    value = self.pipe(pipe, dot)
                    if not pipe.variables:
                        self.write(text(value))
                case Block():
                    self.block(node, dot)
                case Leave(kind):
                    raise _Left(kind)
        del self.variables[outside:]

    def write(self, part: str) -> None:
        self.size += len(part)
        if self.size > MAX_OUTPUT:
            raise TemplateError(f"more than {MAX_OUTPUT} characters")
        self.parts.append(part)

    def block(self, block: Block, dot: Value) -> None:
        outside = len(self.variables)
        if block.kind == "range":
            self.range_(block, dot)
        else:
            value = self.pipe(block.pipe, dot)
            if truth(value):
                self.nodes(block.body, value if block.kind == "with" else dot)
            else:
                self.nodes(block.otherwise, dot)
        del self.variables[outside:]

    def range_(self, block: Block, dot: Value) -> None:
        pairs = list(islice(self.elements(self.pipe(block.pipe, dot, store=False)), MAX_STEPS + 1))
        names = block.pipe.variables
        for key, value in pairs:
            inside = len(self.variables)
            found = (value,) if len(names) == 1 else (key, value)
            for name, one in zip(names, found, strict=False):
                self.store(name, one, declares=block.pipe.declares)
            try:
                self.nodes(block.body, value)
            except _Left as left:
                if left.kind == "break":
                    break
            finally:
                if block.pipe.declares:
                    del self.variables[inside:]
        if not pairs:
            self.nodes(block.otherwise, dot)

    def elements(self, value: Value) -> Iterable[tuple[Value, Value]]:
        match value:
            case list():
                return enumerate(value)
            case dict():
                return sorted(value.items())
            case int() if not isinstance(value, bool):
                return ((i, i) for i in range(value))
            case _ if value is MISSING or value is None:
                return ()
        raise TemplateError(f"range over {text(value)}")

    def store(self, name: str, value: Value, *, declares: bool) -> None:
        if declares:
            self.variables.append((name, value))
            return
        for i in reversed(range(len(self.variables))):
            if self.variables[i][0] == name:
                self.variables[i] = (name, value)
                return

    def pipe(self, pipe: Pipe, dot: Value, *, store: bool = True) -> Value:
        final: tuple[Value, ...] = ()
        for command in pipe.commands:
            final = (self.command(command, dot, final),)
        (value,) = final
        if store:
            for name in pipe.variables:
                self.store(name, value, declares=pipe.declares)
        return value

    def command(self, operands: Sequence[Operand], dot: Value, final: tuple[Value, ...]) -> Value:
        first, *rest = operands
        if isinstance(first, Function):
            if first.name in LAZY:
                return self.decide(first.name, rest, dot, final)
            return _call(first.name, FUNCTIONS[first.name], [*(self.value(one, dot) for one in rest), *final])
        value = self.value(first, dot)
        arguments = [*(self.value(one, dot) for one in rest), *final]
        if callable(value):
            return _call("a method", value, arguments)
        if arguments:
            raise TemplateError(f"{text(value)} takes no arguments")
        return value

    def decide(self, name: str, operands: Sequence[Operand], dot: Value, final: tuple[Value, ...]) -> Value:
        """The first argument that decides `and` or `or`, or the last; those behind it are not looked at."""
        arguments = chain((self.value(operand, dot) for operand in operands), final)
        value: Value = MISSING
        for value in arguments:
            if truth(value) is (name == "or"):
                break
        if value is MISSING and not operands:
            raise TemplateError(f"'{name}' of nothing")
        return value

    def value(self, operand: Operand, dot: Value) -> Value:
        match operand:
            case Constant(value):
                return value
            case Field(names):
                return _walk(dot, names)
            case Variable(name, names):
                return _walk(next(value for known, value in reversed(self.variables) if known == name), names)
            case Chain(pipe, names):
                return _walk(self.pipe(pipe, dot), names)
            case Function(name):
                return self.command((operand,), dot, ())


def _walk(value: Value, names: Sequence[str]) -> Value:
    for name in names:
        if isinstance(value, Struct):
            if name not in value:
                raise TemplateError(f"there is no field .{name}")
            value = value[name]
        elif isinstance(value, dict):
            value = value.get(name, MISSING)
        else:
            raise TemplateError(f"{text(value)} has no field .{name}")
    return value


def _call(name: str, function: Callable[..., Value], arguments: Sequence[Value]) -> Value:
    try:
        value = function(*arguments)
    except TypeError as error:
        raise TemplateError(f"{name} does not take {len(arguments)} arguments") from error
    if isinstance(value, str) and len(value) > MAX_OUTPUT:
        raise TemplateError(f"{name} makes more than {MAX_OUTPUT} characters")
    return value
