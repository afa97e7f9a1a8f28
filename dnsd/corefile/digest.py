"""A fingerprint of what a Corefile means, so that `reload` acts on a change of meaning only; knows no plugin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TypeAlias

from dnsd.corefile.syntax import Directive, Option, ServerBlock

_Json: TypeAlias = "str | int | list[_Json] | None"


def digest(blocks: Iterable[ServerBlock]) -> str:
    """Return the SHA-512 of parsed blocks in hexadecimal: the label `hash` of `coredns_reload_version_info`.

    Comments, white space, quotes, and which file a line came from do not count: only what was parsed does.
    """
    meaning: list[_Json] = [
        [
            [[key.scheme, key.zone, key.port] for key in block.keys],
            [_line(directive) for directive in block.directives],
        ]
        for block in blocks
    ]
    return hashlib.sha512(json.dumps(meaning, separators=(",", ":")).encode("ascii")).hexdigest()


def _line(line: Directive | Option) -> list[_Json]:
    return [line.name.text, [word.text for word in line.arguments], [_line(option) for option in line.options]]
