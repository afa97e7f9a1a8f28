"""Reads a Corefile and what it imports from disk; the only place of this package that does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

from dnsd.corefile.parser import parse
from dnsd.corefile.syntax import CorefileError, Position, ServerBlock


def load(path: str, environment: Mapping[str, str]) -> tuple[ServerBlock, ...]:
    """Parse the Corefile at `path`.

    Raises:
        CorefileError: it cannot be read, or anything in it is wrong.
    """
    try:
        text = read(path)
    except (OSError, ValueError) as error:
        raise CorefileError(Position(path, 1, 1), f"cannot read the Corefile: {error}") from error
    return parse(text, path, environment=environment, read=read, glob=glob)


def read(path: str) -> str:
    """Return the text of a file.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return Path(path).read_text(encoding="utf-8")


def glob(pattern: str) -> list[str]:
    """Return the files that match a pattern with `*` or `?`; not folders, such as a mounted ConfigMap's `..data`."""
    parts = PurePath(pattern).parts
    wild = next((index for index, part in enumerate(parts) if "*" in part or "?" in part), len(parts) - 1)
    matches = Path(*parts[:wild]).glob(str(PurePath(*parts[wild:])))
    return [str(path) for path in matches if path.is_file()]
