"""Corefile text -> tokens with their places; knows white space, quotes, comments and braces, and not what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dnsd.corefile.syntax import CorefileError, Position

_TOKEN = re.compile(
    r"""
      (?P<newline> \n )
    | (?P<blank>   [^\S\n]+ )
    | (?P<comment> \#[^\n]* )
    | " (?P<quoted> (?: \\. | [^"\\] )* ) "
    | (?P<unclosed> " )
    | (?P<bare>    [^\s#"][^\s#]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a brace as it stands in the file. A quoted one is always text, never a brace and never `import`."""

    text: str
    position: Position
    quoted: bool
    starts_line: bool
    """First on its line, or first after an opening brace: where a directive, an option or `import` may stand."""

    @property
    def imports(self) -> bool:
        """Whether an `import` line starts here."""
        return self.text == "import" and self.starts_line and not self.quoted

    @property
    def ends_line(self) -> bool:
        """Whether the words before it go no further."""
        return self.starts_line or self.opens or self.closes

    @property
    def opens(self) -> bool:
        """Whether this is the brace that opens a block."""
        return self.text == "{" and not self.quoted

    @property
    def closes(self) -> bool:
        """Whether this is the brace that closes a block."""
        return self.text == "}" and not self.quoted


def tokens(text: str, file: str) -> tuple[Token, ...]:
    """Split a file into tokens (spec.md section 5.1), in which braces are balanced.

    Raises:
        CorefileError: a quote or a brace has no counterpart in this text, or a brace is glued to a word.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK).replace("\r", "")
    found: list[Token] = []
    open_braces: list[Position] = []
    line, line_start, starts_line = 1, 0, True
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "newline":
            line, line_start, starts_line = line + 1, match.end(), True
        elif kind in {"quoted", "bare", "unclosed"}:
            position = Position(file, line, match.start() - line_start + 1)
            token = _token(match, position, starts_line=starts_line)
            found.append(token)
            if token.opens:
                open_braces.append(position)
            elif token.closes and not open_braces:
                raise CorefileError(position, "'}' without a matching '{'")
            elif token.closes:
                open_braces.pop()
            starts_line = token.opens
            if "\n" in match[0]:
                line += match[0].count("\n")
                line_start = match.start() + match[0].rindex("\n") + 1
    if open_braces:
        raise CorefileError(
            open_braces[-1], "this '{' is never closed", "a '}' is missing for it, or for one inside it"
        )
    return tuple(found)


def _token(match: re.Match[str], position: Position, *, starts_line: bool) -> Token:
    if match.lastgroup == "unclosed":
        raise CorefileError(position, "this quote is never closed", 'inside quotes, a quote is written \\"')
    if match.lastgroup == "quoted":
        return Token(_ESCAPE.sub(_unescape, match["quoted"]), position, quoted=True, starts_line=starts_line)
    _check_braces(match["bare"], position)
    return Token(match["bare"], position, quoted=False, starts_line=starts_line)


def _unescape(escape: re.Match[str]) -> str:
    return '"' if escape[1] == '"' else escape[0]


def _check_braces(word: str, position: Position) -> None:
    """Refuse `kubernetes{` and `5s}`: a brace is a word of its own, or part of a balanced one such as `{$PORT}`."""
    balanced = word.count("{") == word.count("}") and not word.endswith("{") and not word.startswith("}")
    if len(word) == 1 or (balanced and word != "{}"):
        return
    for at in (0, len(word) - 1):
        if word[at] in "{}":
            raise CorefileError(
                Position(position.file, position.line, position.column + at),
                f"'{word[at]}' is glued to a word: '{word}'",
                "put a blank between them, or quotes around all of it if the brace belongs to the word",
            )
