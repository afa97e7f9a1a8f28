"""Lines of the log: as CoreDNS writes them, or as JSON."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.observe.log import JsonFormatter, TextFormatter


def record(
    name: str = "dnsd", text: str = "text", level: int = logging.INFO, **attributes: object
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, text, None, None)
    made.__dict__.update(attributes)
    return made


def failed() -> logging.LogRecord:
    caught: ValueError | None = None
    try:
        int("a bug")
    except ValueError as error:
        caught = error
    assert caught is not None
    seen = (type(caught), caught, caught.__traceback__)
    return logging.LogRecord("dnsd", logging.ERROR, __file__, 1, "panic", None, seen)


@pytest.mark.parametrize(
    ("name", "level", "line"),
    [
        ("dnsd", logging.INFO, "[INFO] text"),
        ("dnsd.query", logging.INFO, "[INFO] text"),
        ("dnsd.plugin.errors", logging.ERROR, "[ERROR] plugin/errors: text"),
        ("dnsd.plugin.reload", logging.WARNING, "[WARNING] plugin/reload: text"),
        ("dnsd.cluster", logging.WARNING, "[WARNING] plugin/kubernetes: text"),
        ("dnsd.cluster.api", logging.WARNING, "[WARNING] plugin/kubernetes: text"),
        ("asyncio", logging.ERROR, "[ERROR] text"),
    ],
)
def test_a_line_of_text_names_level_and_plugin(name: str, level: int, line: str) -> None:
    assert TextFormatter().format(record(name, level=level)) == line


def test_a_traceback_stands_below_the_line() -> None:
    first, second, *_, last = TextFormatter().format(failed()).splitlines()
    assert first == "[ERROR] panic"
    assert last.startswith("ValueError: ")
    assert second.startswith("Traceback")


def test_json_names_moment_level_plugin_and_message() -> None:
    line = JsonFormatter().format(record("dnsd.plugin.errors", level=logging.ERROR, created=1.5))
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500000Z",
        "level": "error",
        "plugin": "errors",
        "message": "text",
    }


def test_json_has_the_fields_of_a_record_in_place_of_its_message() -> None:
    line = JsonFormatter().format(record("dnsd.query", fields={"rcode": "NOERROR"}, created=0.0))
    assert json.loads(line) == {"time": "1970-01-01T00:00:00.000000Z", "level": "info", "rcode": "NOERROR"}


def test_json_has_the_traceback_too() -> None:
    assert json.loads(JsonFormatter().format(failed()))["traceback"].startswith("Traceback")


@given(st.text())
def test_whatever_is_logged_json_is_one_line(text: str) -> None:
    line = JsonFormatter().format(record(text=text.replace("%", "%%")))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == text.replace("%", "%%")
