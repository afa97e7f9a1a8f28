"""Which metrics and labels a PromQL expression names. Knows PromQL's words; does not evaluate, and checks no syntax."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+) | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') | (?P<range>\[[^\]]*\])
      | (?P<number>\d+(?:\.\d+)?(?:[a-z]+)?) | (?P<name>[A-Za-z_:]\w*) | (?P<operator>=~|!~|!=|==|>=|<=|.)""",
    re.VERBOSE,
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})


@dataclass(slots=True)
class Usage:
    """What an expression names."""

    matched: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """Each selector: the metric, and the labels in its braces."""
    grouped: set[str] = field(default_factory=set)
    """Labels of `by`, `on` and the like."""

    @property
    def metrics(self) -> set[str]:
        return {metric for metric, _ in self.matched}


def usage(expression: str) -> Usage:
    """Read an expression. The aggregations, such as `sum`, are what stands before a parenthesis or a grouping."""
    found = Usage()
    tokens = [
        (str(match.lastgroup), match.group()) for match in _TOKEN.finditer(expression) if match.lastgroup != "space"
    ]
    place = 0
    while place < len(tokens):
        kind, text = tokens[place]
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        place += 1
        if kind != "name" or text.lower() in _WORDS:
            continue
        if text in _GROUPING:
            labels = list(_until(tokens, place, ")"))
            found.grouped.update(name for kind, name in labels if kind == "name")
            place += len(labels)
        elif following == "{":
            matchers = list(_until(tokens, place, "}"))
            found.matched.append((text, frozenset(name for kind, name in matchers if kind == "name")))
            place += len(matchers)
        elif following != "(" and following not in _GROUPING:
            found.matched.append((text, frozenset()))
    return found


def _until(tokens: list[tuple[str, str]], start: int, end: str) -> Iterator[tuple[str, str]]:
    for token in tokens[start:]:
        yield token
        if token[1] == end:
            return
    raise AssertionError(f"no {end}")
