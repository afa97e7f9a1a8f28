"""The tokens of a Corefile with its imports in place; knows snippets, files and their bounds, and no block structure.

What is spliced in keeps the place where it was written. Files are read through callables: nothing here does I/O.
"""

from __future__ import annotations

import itertools
import logging
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dnsd.corefile import lexer
from dnsd.corefile.lexer import Token
from dnsd.corefile.syntax import CorefileError, Word

log = logging.getLogger("dnsd.corefile")

MAX_SNIPPET_IMPORTS = 10_000
"""Snippets that import snippets multiply; CoreDNS stops here, and no Corefile comes near it."""

MAX_FILE_IMPORTS = 100_000
"""`import` lines that name files, a pattern counting once; CoreDNS's number."""

_VARIABLE = re.compile(r"\{\$([^}]+)\}|\{%([^%]+)%\}")


@dataclass(slots=True)
class _Source:
    """A file or a snippet that is being read, and who imported it."""

    name: str
    tokens: tuple[Token, ...]
    importer: _Source | None
    next: int = 0

    def peek(self) -> Token | None:
        return self.tokens[self.next] if self.next < len(self.tokens) else None

    def take(self) -> Token:
        self.next += 1
        return self.tokens[self.next - 1]


class TokenStream:
    """Hands out one token after the other; an `import` line is replaced by what it names before anybody sees it."""

    def __init__(
        self,
        text: str,
        file: str,
        *,
        environment: Mapping[str, str],
        read: Callable[[str], str],
        glob: Callable[[str], list[str]],
    ) -> None:
        self._environment = environment
        self._read = read
        self._glob = glob
        self._sources = [_Source(posixpath.normpath(file), lexer.tokens(text, file), None)]
        self._snippets: dict[str, tuple[Token, ...]] = {}
        self._snippet_imports = 0
        self._file_imports = 0

    def peek(self) -> Token | None:
        """Return the next token without taking it, None at the end.

        Raises:
            CorefileError: an `import` comes next and cannot be followed.
        """
        while self._sources:
            source = self._sources[-1]
            token = source.peek()
            if token is None:
                self._sources.pop()
            elif token.imports:
                self._import(source)
            else:
                return token
        return None

    def take(self) -> Token:
        """Take the token that `peek` returned."""
        return self._sources[-1].take()

    def word(self, token: Token) -> Word:
        """Substitute `{$NAME}` and `{%NAME%}`; an unset variable is empty, and blanks in a value do not split it."""
        return Word(_VARIABLE.sub(self._value, token.text), token.position)

    def define_snippet(self, name: Word) -> None:
        """Keep what follows for `import`, up to the brace that closes the one taken last.

        Raises:
            CorefileError: the name is taken, or the snippet imports itself.
        """
        if name.text in self._snippets:
            raise CorefileError(name.position, f"snippet '{name.text}' is defined twice")
        source = self._sources[-1]
        body: list[Token] = []
        depth = 1
        while depth:
            token = source.take()
            depth += token.opens - token.closes
            body.append(token)
        body.pop()
        for token, argument in itertools.pairwise(body):
            if token.imports and self.word(argument).text == name.text:
                raise CorefileError(argument.position, f"snippet '{name.text}' imports itself")
        self._snippets[name.text] = tuple(body)

    def _value(self, variable: re.Match[str]) -> str:
        return self._environment.get(variable[1] or variable[2], "")

    def _import(self, source: _Source) -> None:
        argument = self._import_argument(source)
        body = self._snippets.get(argument.text)
        if body is not None:
            self._snippet_imports += 1
            if self._snippet_imports > MAX_SNIPPET_IMPORTS:
                raise CorefileError(argument.position, f"more than {MAX_SNIPPET_IMPORTS:,} imports of snippets")
            self._push(argument, source, f"({argument.text})", body)
            return
        self._file_imports += 1
        if self._file_imports > MAX_FILE_IMPORTS:
            raise CorefileError(argument.position, f"more than {MAX_FILE_IMPORTS:,} imports of files")
        for path in reversed(self._paths(argument)):
            self._push(argument, source, path, lexer.tokens(self._text(argument, path), path))

    def _import_argument(self, source: _Source) -> Word:
        """Take an `import` line and return its only argument."""
        line = [source.take()]
        while (token := source.peek()) is not None and not token.ends_line:
            line.append(source.take())
        if token is not None and token.opens and not token.starts_line:
            raise CorefileError(token.position, "'import' has no braces")
        if len(line) == 1:
            raise CorefileError(line[0].position, "'import' needs the name of a snippet, a file or a pattern")
        if len(line) > 2:
            hint = "snippets of a Corefile have no arguments; one line for each file, or a pattern with *"
            raise CorefileError(line[2].position, "'import' takes one name only", hint)
        argument = self.word(line[1])
        if not argument.text:
            raise CorefileError(argument.position, "'import' of an empty name", f"from '{line[1].text}'")
        return argument

    def _paths(self, argument: Word) -> list[str]:
        """Return the files that an import names; relative to the file that names them."""
        pattern = argument.text
        path = posixpath.normpath(posixpath.join(posixpath.dirname(argument.position.file), pattern))
        if "*" not in pattern and "?" not in pattern:
            return [path]
        if pattern.count("*") > 1 or pattern.count("?") > 1 or "[" in pattern:
            raise CorefileError(argument.position, f"more than one wildcard in '{pattern}'", "one * or one ?, and no [")
        try:
            paths = sorted(self._glob(path))
        except (OSError, ValueError) as error:
            raise CorefileError(argument.position, f"cannot look for '{path}': {error}") from error
        if not paths:
            log.warning("%s: no file matches '%s'", argument.position, path)
        return paths

    def _text(self, argument: Word, path: str) -> str:
        try:
            return self._read(path)
        except FileNotFoundError:
            hint = "a snippet has to be defined above the line that imports it"
            raise CorefileError(argument.position, f"no snippet '{argument.text}' and no file '{path}'", hint) from None
        except (OSError, ValueError) as error:
            raise CorefileError(argument.position, f"cannot read '{path}': {error}") from error

    def _push(self, argument: Word, importer: _Source, name: str, body: tuple[Token, ...]) -> None:
        chain = [name]
        ancestor: _Source | None = importer
        while ancestor is not None:
            chain.append(ancestor.name)
            if ancestor.name == name:
                raise CorefileError(argument.position, f"'{name}' imports itself", " imported by ".join(chain))
            ancestor = ancestor.importer
        self._sources.append(_Source(name, body, importer))
