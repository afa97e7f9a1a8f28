"""Go's template language, as far as records need it: text to nodes. Pure; knows no DNS.

Actions, pipelines, variables, `if`, `with`, `range`, `break`, `continue`, comments and trim markers are as in Go's
text/template. There are no named templates, and no functions that quote for HTML or JavaScript.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import NamedTuple

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
)

MAX_DEPTH = 50
"""Parentheses within parentheses, and blocks within blocks; more is a slip."""


class Token(NamedTuple):
    """A word of an action. `joined` is whether it follows the one before without a blank."""

    kind: str
    text: str
    joined: bool


_ESCAPE = r"""\\(?:[abfnrtv\\"']|[0-7]{3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"""
_TOKEN = re.compile(
    r"""
    (?P<blank>\s+)
  | (?P<close>-?\}\})
  | (?P<string>"(?:[^"\\\n]|"""
    + _ESCAPE
    + r""")*")
  | (?P<raw>`[^`]*`)
  | (?P<char>'(?:[^'\\\n]|"""
    + _ESCAPE
    + r""")')
  | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
  | (?P<variable>\$\w*)
  | (?P<field>\.[^\W\d]\w*)
  | (?P<dot>\.)
  | (?P<word>[^\W\d]\w*)
  | (?P<sign>:=|[=|(),])
    """,
    re.VERBOSE,
)
_COMMENT = re.compile(r"\{\{(- )?/\*.*?\*/( -)?\}\}", re.DOTALL)
_OPEN = re.compile(r"\{\{(?:-(?=\s))?")


def parse(text: str, functions: Collection[str]) -> Template:
    """The template that a text is; `functions` are the names that it may call.

    Raises:
        TemplateError: it is none.
    """
    return _Parser(text, functions).template()


class _Parser:
    def __init__(self, text: str, functions: Collection[str]) -> None:
        self.text = text
        self.functions = functions
        self.at = 0
        self.trim = False
        self.variables = ["$"]
        self.fields: list[tuple[str, ...]] = []
        self.scopes: list[str] = []
        self.tokens: list[Token] = []
        self.depth = 0

    def template(self) -> Template:
        nodes, end = self.list_()
        if end is not None:
            raise TemplateError(f"'{{{{{end}}}}}' without its beginning")
        return Template(self.text, nodes, tuple(self.fields))

    # -- lists of nodes, up to the action that ends them

    def list_(self) -> tuple[tuple[Node, ...], str | None]:
        """Nodes, and the word of the action that ends them: `end`, `else`, or None at the end of the text."""
        nodes: list[Node] = []
        while True:
            before, action = self.plain()
            if before:
                nodes.append(Text(before))
            if not action:
                return tuple(nodes), None
            self.action_tokens()
            if not self.tokens:
                raise TemplateError("an action with nothing in it")
            word = self.tokens[0].text if self.tokens[0].kind == "word" else ""
            if word in ("end", "else"):
                self.tokens.pop(0)
                return tuple(nodes), word
            nodes.append(self.node(word))

    def plain(self) -> tuple[str, bool]:
        """The text up to the next action, as trim markers leave it, and whether there is one."""
        text = ""
        while True:
            opening = _OPEN.search(self.text, self.at)
            comment = _COMMENT.match(self.text, opening.start()) if opening else None
            end = opening.start() if opening else len(self.text)
            part = self.text[self.at : end]
            if self.trim:
                part, self.trim = part.lstrip(), False
            if opening is None:
                return text + part, False
            self.at = opening.end()
            if comment is None:
                return text + (part.rstrip() if opening[0] != "{{" else part), True
            text += part.rstrip() if comment[1] else part
            self.at, self.trim = comment.end(), bool(comment[2])

    def action_tokens(self) -> None:
        """The tokens of the action that begins here, up to its end."""
        self.tokens = []
        joined = True
        while True:
            match = _TOKEN.match(self.text, self.at)
            if match is None:
                rest = self.text[self.at : self.at + 20]
                raise TemplateError(f"'{rest}' is not understood" if rest else "'{{' without '}}'")
            kind = match.lastgroup or ""
            self.at = match.end()
            if kind == "close":
                self.trim = match[0] != "}}"
                return
            if kind == "blank":
                joined = False
                continue
            self.tokens.append(Token(kind, match[0], joined))
            joined = True

    def node(self, word: str) -> Node:
        if word in ("if", "with", "range"):
            self.tokens.pop(0)
            return self.block(word)
        if word in ("break", "continue"):
            if "range" not in self.scopes:
                raise TemplateError(f"'{word}' outside 'range'")
            self.tokens.pop(0)
            self.end_of_action()
            return Leave(word)
        if word in ("define", "template", "block"):
            raise TemplateError(f"'{word}': there are no named templates here")
        pipe = self.pipe("action")
        self.end_of_action()
        return Action(pipe)

    def block(self, kind: str) -> Block:
        outside = len(self.variables)
        pipe = self.pipe(kind)
        self.end_of_action()
        inside = len(self.variables)
        self.enter(kind)
        body, end = self.list_()
        self.scopes.pop()
        del self.variables[inside:]
        otherwise: tuple[Node, ...] = ()
        if end == "else":
            otherwise, end = self.otherwise(kind)
        del self.variables[outside:]
        if end != "end":
            raise TemplateError(f"'{{{{{kind}}}}}' without '{{{{end}}}}'")
        self.end_of_action()
        return Block(kind, pipe, body, otherwise)

    def otherwise(self, kind: str) -> tuple[tuple[Node, ...], str | None]:
        """What follows `else`; after `else if` and `else with` that is one block, which ends this one too."""
        word = self.tokens[0].text if self.tokens else ""
        self.enter("else")
        if word == kind and kind != "range":
            self.tokens.pop(0)
            nodes: tuple[Node, ...] = (self.block(kind),)
            end: str | None = "end"
        else:
            self.end_of_action()
            nodes, end = self.list_()
        self.scopes.pop()
        return nodes, end

    def enter(self, kind: str) -> None:
        self.scopes.append(kind)
        if len(self.scopes) > MAX_DEPTH:
            raise TemplateError(f"more than {MAX_DEPTH} blocks within blocks")

    def end_of_action(self) -> None:
        if self.tokens:
            raise TemplateError(f"'{self.tokens[0].text}' is too much")

    # -- pipelines

    def pipe(self, context: str) -> Pipe:
        """A pipeline, up to the end of the action or to a closing parenthesis."""
        names, declares = self.declaration(context)
        commands = [self.command()]
        while self.tokens and self.tokens[0].text == "|":
            self.tokens.pop(0)
            commands.append(self.command())
            if isinstance(commands[-1][0], Constant):
                raise TemplateError("a literal cannot take the result of a pipeline")
        if declares:
            self.variables += names
        return Pipe(tuple(commands), names, declares)

    def declaration(self, context: str) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =`, and in `range` `$i, $x :=`."""
        kinds = [token.kind if token.kind == "variable" else token.text for token in self.tokens[:4]]
        for shape in (["variable", ":="], ["variable", "="], ["variable", ",", "variable", ":="]):
            if kinds[: len(shape)] == shape:
                break
        else:
            return (), False
        if len(shape) > 2 and context != "range":
            raise TemplateError("two variables are for 'range' only")
        taken, self.tokens = self.tokens[: len(shape)], self.tokens[len(shape) :]
        names = tuple(token.text for token in taken if token.kind == "variable")
        declares = shape[-1] == ":="
        if not declares:
            self.known(names[0])
        return names, declares

    def command(self) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while self.tokens and self.tokens[0].text not in ("|", ")"):
            if operands and self.tokens[0].joined:
                raise TemplateError(f"a blank is missing before '{self.tokens[0].text}'")
            operands.append(self.operand(self.tokens.pop(0)))
        if not operands:
            raise TemplateError("a value is missing")
        return tuple(operands)

    def operand(self, token: Token) -> Operand:
        match token.kind:
            case "string" | "raw" | "char" | "number":
                return Constant(_literal(token))
            case "field":
                return self.field((token.text[1:], *self.fields_behind()))
            case "dot":
                return self.field(())
            case "variable":
                self.known(token.text)
                names = self.fields_behind()
                if token.text == "$":
                    self.fields.append(names)
                return Variable(token.text, names)
            case "word":
                return self.word(token.text)
            case _ if token.text == "(":
                return self.parenthesis()
        raise TemplateError(f"'{token.text}' is not understood here")

    def field(self, names: tuple[str, ...]) -> Field:
        if not {"with", "range"} & set(self.scopes):
            self.fields.append(names)
        return Field(names)

    def fields_behind(self) -> tuple[str, ...]:
        names: list[str] = []
        while self.tokens and self.tokens[0].kind == "field" and self.tokens[0].joined:
            names.append(self.tokens.pop(0).text[1:])
        return tuple(names)

    def word(self, text: str) -> Operand:
        if text in ("true", "false", "nil"):
            return Constant({"true": True, "false": False, "nil": None}[text])
        if text not in self.functions:
            raise TemplateError(f"there is no function '{text}', only {', '.join(sorted(self.functions))}")
        return Function(text)

    def parenthesis(self) -> Chain:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TemplateError(f"more than {MAX_DEPTH} parentheses within parentheses")
        pipe = self.pipe("parenthesis")
        self.depth -= 1
        if not self.tokens or self.tokens.pop(0).text != ")":
            raise TemplateError("'(' without ')'")
        return Chain(pipe, self.fields_behind())

    def known(self, variable: str) -> None:
        if variable not in self.variables:
            raise TemplateError(f"there is no variable '{variable}'")


def _literal(token: Token) -> Value:
    """The value of a literal. What Go's and Python's escapes have in common is what is read here."""
    if token.kind == "raw":
        return token.text[1:-1]
    try:
        if token.kind == "number":
            return float(token.text) if re.search(r"(?i)^[^x]*[.e]", token.text) else int(token.text, 0)
        value = ast.literal_eval(token.text)
    except (ValueError, SyntaxError) as error:
        raise TemplateError(f"{token.text} is no literal") from error
    return ord(value) if token.kind == "char" else value
