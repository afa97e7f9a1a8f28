"""Label selectors, as `kubectl -l` takes them. Pure.

The API server applies them itself; manifests have nobody who does.
Source: Kubernetes, "Labels and Selectors"; apimachinery's grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

Labels: TypeAlias = Mapping[str, str]
Requirement: TypeAlias = Callable[[Labels], bool]

_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_EQUAL = re.compile(rf"(?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})")
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EXISTS = re.compile(rf"(?P<absent>!?)\s*(?P<key>{_KEY})")


class BadSelector(ValueError):
    """Text that is no label selector."""


def parse(text: str) -> Requirement:
    """A predicate on labels; the empty selector takes everything.

    Raises:
        BadSelector: the text is none.
    """
    requirements: list[Requirement] = []
    at = 0
    while at < len(text):
        if text[at] in " ,":
            at += 1
            continue
        for pattern, make in ((_SET, _in_set), (_EQUAL, _equal), (_EXISTS, _exists)):
            found = pattern.match(text, at)
            if found is not None and text[found.end() :].lstrip()[:1] in ("", ","):
                requirements.append(make(found))
                at = found.end()
                break
        else:
            raise BadSelector(f"not a label selector: {text!r} at character {at + 1}")
    return lambda labels: all(requirement(labels) for requirement in requirements)


def _in_set(found: re.Match[str]) -> Requirement:
    key = found["key"]
    values = frozenset(value.strip() for value in found["values"].split(","))
    if found["operator"] == "in":
        return lambda labels: labels.get(key) in values
    return lambda labels: labels.get(key) not in values


def _equal(found: re.Match[str]) -> Requirement:
    key, value = found["key"], found["value"]
    if found["operator"] == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


def _exists(found: re.Match[str]) -> Requirement:
    key, absent = found["key"], bool(found["absent"])
    return lambda labels: (key in labels) != absent
