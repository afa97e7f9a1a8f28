"""Corefile text -> server blocks (spec.md section 5.1); knows the grammar, no directive by name, and does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dnsd.corefile import zones
from dnsd.corefile.imports import TokenStream
from dnsd.corefile.syntax import CorefileError, Directive, Option, Position, ServerBlock, Word, ZoneKey

MAX_DEPTH = 2
"""Braces inside a server block: a directive's, and an option's. No plugin of CoreDNS has more."""


def parse(
    text: str,
    filename: str,
    *,
    environment: Mapping[str, str],
    read: Callable[[str], str],
    glob: Callable[[str], list[str]],
) -> tuple[ServerBlock, ...]:
    """Parse a Corefile, its imports included.

    Args:
        text: what is in the file.
        filename: its path: for messages, and what the paths of imports are relative to.
        environment: the values of `{$NAME}` and `{%NAME%}`.
        read: path -> text of an imported file; what it raises (OSError, ValueError) becomes the error of the import.
        glob: pattern with `*` or `?` -> paths of the files that match.

    Raises:
        CorefileError: anything is wrong, with the place where.
    """
    blocks = _Parser(TokenStream(text, filename, environment=environment, read=read, glob=glob)).server_blocks()
    if not blocks:
        raise CorefileError(Position(filename, 1, 1), "no server block", "the shortest Corefile is '.'")
    return blocks


_Line = tuple[Word, tuple[Word, ...], tuple[Option, ...]]
"""The fields of a `Directive` and of an `Option`."""


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream

    def server_blocks(self) -> tuple[ServerBlock, ...]:
        blocks = []
        while (first := self._stream.peek()) is not None:
            if first.opens:
                raise CorefileError(first.position, "'{' without a zone before it", "write '. {' to serve every name")
            names = self._names()
            if len(names) == 1 and names[0].text.startswith("(") and names[0].text.endswith(")"):
                self._snippet(names[0])
            else:
                keys = self._keys(names)
                lines = self._braced(0) if self._opens(names[-1]) else self._lines(0)
                blocks.append(ServerBlock(keys, tuple(Directive(*line) for line in lines)))
        return tuple(blocks)

    def _names(self) -> list[Word]:
        """Take the words before a server block: to the end of the line, or further after a trailing comma."""
        names: list[Word] = []
        comma: Word | None = None
        while (token := self._stream.peek()) is not None and not token.opens and not token.closes:
            if token.starts_line and names and comma is None:
                return names
            word = self._stream.word(self._stream.take())
            comma = word if word.text.endswith(",") else None
            names.append(Word(word.text.removesuffix(","), word.position))
        if comma is not None:
            raise CorefileError(comma.position, f"no zone follows the comma of '{comma.text}'", "leave the comma out")
        return names

    def _keys(self, names: list[Word]) -> tuple[ZoneKey, ...]:
        """Read the keys of a server block; one that is empty because a variable is unset does not count."""
        keys = tuple(key for name in names if name.text for key in zones.keys(name))
        if not keys:
            hint = "a variable that is not set is empty"
            raise CorefileError(names[0].position, "a server block without a zone", hint)
        return keys

    def _snippet(self, name: Word) -> None:
        if not self._opens(name):
            raise CorefileError(name.position, f"snippet '{name.text}' needs braces", f"write '{name.text} {{'")
        if name.text == "()":
            raise CorefileError(name.position, "a snippet without a name")
        self._stream.define_snippet(Word(name.text[1:-1], name.position))
        self._check_line_ends()

    def _opens(self, head: Word) -> bool:
        """Take the brace that follows on the line of `head`, if there is one."""
        token = self._stream.peek()
        if token is None or not token.opens:
            return False
        if token.starts_line:
            message = "'{' must be on the same line as what it belongs to"
            raise CorefileError(token.position, message, f"move it to the end of the line of '{head.text}'")
        self._stream.take()
        return True

    def _braced(self, depth: int) -> list[_Line]:
        """Take lines and the brace that closes them; the lexer has seen that there is one."""
        lines = self._lines(depth)
        self._stream.take()
        self._check_line_ends()
        return lines

    def _lines(self, depth: int) -> list[_Line]:
        """Take lines up to a closing brace or the end."""
        lines: list[_Line] = []
        while (token := self._stream.peek()) is not None and not token.closes:
            if token.opens:
                raise CorefileError(token.position, "'{' without a name before it", "it belongs to the end of a line")
            lines.append(self._line(depth))
        return lines

    def _line(self, depth: int) -> _Line:
        name = self._stream.word(self._stream.take())
        if not name.text and depth == 0:
            raise CorefileError(name.position, "an empty directive name", "a variable that is not set is empty")
        words = [name]
        while (token := self._stream.peek()) is not None and not token.ends_line:
            words.append(self._stream.word(self._stream.take()))
        options: tuple[Option, ...] = ()
        if self._opens(words[-1]):
            if depth == MAX_DEPTH:
                raise CorefileError(name.position, f"braces nested more than {MAX_DEPTH} deep inside a server block")
            options = tuple(Option(*line) for line in self._braced(depth + 1))
        return name, tuple(words[1:]), options

    def _check_line_ends(self) -> None:
        """Refuse words after a closing brace: they would belong to what was closed, or start something unseen."""
        token = self._stream.peek()
        if token is not None and not token.ends_line:
            raise CorefileError(token.position, f"'{token.text}' after '}}'", "start a new line after a closing brace")
