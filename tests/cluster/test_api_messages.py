"""Lines of a watch, and what a refusal means."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.cluster.api.connection import ApiError, Expired, Forbidden, refusal
from dnsd.cluster.api.messages import Lines
from tests.cluster.apiserver import gone, status


@given(lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8), data=st.data())
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], data: st.DataObject) -> None:
    """Lines of up to 8 octets come out whole, longer ones not at all, empty ones neither."""
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    cutter = Lines(8)
    assert [line for chunk in chunks for line in cutter.feed(chunk)] == [line for line in lines if 0 < len(line) <= 8]
    assert cutter.dropped == sum(len(line) > 8 for line in lines)


def test_what_is_kept_of_an_unfinished_line_has_a_bound() -> None:
    cutter = Lines(1000)
    for _ in range(10_000):
        cutter.feed(b"x" * 100)
        assert sum(map(len, cutter._parts)) <= 1000
    assert cutter.feed(b"\nnext\n") == [b"next"]


@pytest.mark.parametrize(
    ("code", "body", "kind", "text"),
    [
        (410, json.dumps(gone("too old")).encode(), Expired, "410 too old"),
        (0, json.dumps(gone("too old")).encode(), Expired, "410 too old"),
        (504, json.dumps(status(504, "Timeout", "x", "ResourceVersionTooLarge")).encode(), Expired, "504 x"),
        (504, json.dumps(status(504, "Timeout", "x", "Other")).encode(), ApiError, "504 x"),
        (403, json.dumps(status(403, "Forbidden", "no")).encode(), Forbidden, "403 no"),
        (0, json.dumps(status(500, "InternalError", "no")).encode(), ApiError, "500 no"),
        (
            502,
            b"<html>\n<h1>Bad \xff Gateway</h1>",
            ApiError,
            "502 <html> <h1>Bad \N{REPLACEMENT CHARACTER} Gateway</h1>",
        ),
        (502, b"", ApiError, "502"),
        (502, b'{"code":"many"}', ApiError, '502 {"code":"many"}'),
        (502, b"x" * 1000, ApiError, "502 " + "x" * 200),
    ],
)
def test_a_refusal_is_what_its_status_says(code: int, body: bytes, kind: type[ApiError], text: str) -> None:
    error = refusal(code, body)
    assert type(error) is kind
    assert str(error) == text
