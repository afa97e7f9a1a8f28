"""What a Corefile says, as values: server blocks, directives, options, each with its place in the file.

Knows no directive by name: the plugins read their own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class CorefileError(Exception):
    """A Corefile that cannot be used: `FILE:LINE:COLUMN: what is wrong (hint)`."""

    def __init__(self, position: Position, message: str, hint: str = "") -> None:
        super().__init__(position, message, hint)
        self.position = position
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.position}: {self.message}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Word:
    """One token after quotes and environment variables are resolved."""

    text: str
    position: Position


@dataclass(frozen=True, slots=True)
class Option:
    """A line of words inside a directive's braces; `options` are the lines of its own braces, one level down."""

    name: Word
    arguments: tuple[Word, ...] = ()
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class Directive:
    """A plugin's line in a server block, with the lines inside its braces."""

    name: Word
    arguments: tuple[Word, ...] = ()
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class ZoneKey:
    """One zone that a server block serves: lower case, fully qualified (`cluster.local.`, `.`)."""

    scheme: str
    zone: str
    port: int | None
    """None where the key names none: the scheme's default, or `-dns.port` for dns."""
    position: Position


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """A server block: its zones, and its directives in file order."""

    keys: tuple[ZoneKey, ...]
    directives: tuple[Directive, ...]
