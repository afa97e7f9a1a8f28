"""Corefiles that are held in memory: how the tests parse them, and how they write down what came out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from dnsd.corefile.parser import parse
from dnsd.corefile.syntax import Directive, Option, Position, ServerBlock, Word, ZoneKey

NOWHERE = Position("", 1, 1)


def parse_files(files: Mapping[str, str], environment: Mapping[str, str] | None = None) -> tuple[ServerBlock, ...]:
    """Parse the file named Corefile; imports see the other files."""

    def read(path: str) -> str:
        try:
            return files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def glob(pattern: str) -> list[str]:
        return [path for path in files if PurePosixPath(path).match(pattern)]

    return parse(files["Corefile"], "Corefile", environment=environment or {}, read=read, glob=glob)


def parse_text(text: str, environment: Mapping[str, str] | None = None) -> tuple[ServerBlock, ...]:
    return parse_files({"Corefile": text}, environment)


def outline(blocks: Iterable[ServerBlock]) -> list[str]:
    """Write each block on a line: `.:53 example.org.: errors; health {lameduck 5s}`."""
    return [
        f"{' '.join(_key(key) for key in block.keys)}: {'; '.join(_line(line) for line in block.directives)}".rstrip()
        for block in blocks
    ]


def _key(key: ZoneKey) -> str:
    scheme = "" if key.scheme == "dns" else f"{key.scheme}://"
    return f"{scheme}{key.zone}{'' if key.port is None else f':{key.port}'}"


def _line(line: Directive | Option) -> str:
    words = " ".join(_word(word.text) for word in (line.name, *line.arguments))
    return f"{words} {{{'; '.join(_line(option) for option in line.options)}}}" if line.options else words


def _word(text: str) -> str:
    return text if re.fullmatch(r"[^\s;{}]+", text) else f"<{text}>"


def without_positions(blocks: Iterable[ServerBlock]) -> list[ServerBlock]:
    """Make trees comparable that were read from different texts."""
    return [
        ServerBlock(
            tuple(replace(key, position=NOWHERE) for key in block.keys),
            tuple(Directive(*_bare(line)) for line in block.directives),
        )
        for block in blocks
    ]


def _bare(line: Directive | Option) -> tuple[Word, tuple[Word, ...], tuple[Option, ...]]:
    return (
        replace(line.name, position=NOWHERE),
        tuple(replace(word, position=NOWHERE) for word in line.arguments),
        tuple(Option(*_bare(option)) for option in line.options),
    )


def words(lines: Iterable[Directive | Option]) -> Iterable[Word]:
    """Every word below these lines."""
    for line in lines:
        yield line.name
        yield from line.arguments
        yield from words(line.options)
