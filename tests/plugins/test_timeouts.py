"""`timeouts`: seconds that the server waits for clients over TCP."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import dns.message
import pytest

from tests.plugins import harness
from tests.plugins.asking import refused
from tests.process import DEADLINE, dnsd


def timeouts(directive: str) -> tuple[float | None, ...]:
    (built,) = harness.build(f". {{\n{directive}\nwhoami\n}}").instance.blocks
    server = built.context.server
    return server.read_timeout, server.write_timeout, server.idle_timeout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("read 10s\nwrite 20s\nidle 1m", (10.0, 20.0, 60.0)),
        ("idle 90", (None, None, 90.0)),
        ("read 24h", (86_400.0, None, None)),
    ],
)
def test_each_is_noted_and_the_others_are_left_to_the_server(options: str, expected: tuple[float | None, ...]) -> None:
    assert timeouts(f"timeouts {{\n{options}\n}}") == expected


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("timeouts", "'timeouts' says what to change in braces"),
        ("timeouts {\nread 10ms\n}", "'10ms' is out of range (from 1s to 24h)"),
        ("timeouts {\nidle 25h\n}", "'25h' is out of range (from 1s to 24h)"),
        ("timeouts {\nread\n}", "'read' needs 1 argument, not 0"),
        ("timeouts {\nraed 1s\n}", "unknown option 'raed' (did you mean 'read'?)"),
        ("timeouts {\nmaxtcpqueries 0\n}", "'0' is not a whole number, 1 or more"),
        ("timeouts 5s {\nread 1s\n}", "'5s' is too much"),
    ],
)
def test_what_is_wrong_is_said(directive: str, error: str) -> None:
    assert error in refused(f". {{\n{directive}\nwhoami\n}}")


def connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE)


def frames(count: int) -> bytes:
    query = dns.message.make_query("example.org", "A").to_wire()
    return (struct.pack("!H", len(query)) + query) * count


def replies(stream: socket.socket) -> int:
    """Replies until the server closes the connection."""
    with contextlib.closing(stream), stream.makefile("rb") as file:
        count = 0
        while prefix := file.read(2):
            assert len(file.read(int.from_bytes(prefix, "big"))) == int.from_bytes(prefix, "big")
            count += 1
        return count


@pytest.mark.parametrize(("limit", "asked", "answered"), [("2", 5, 2), ("1", 1, 1)])
def test_a_connection_ends_after_its_last_query(tmp_path: Path, limit: str, asked: int, answered: int) -> None:
    corefile = f".:PORT {{\nbind 127.0.0.1\ntimeouts {{\nmaxtcpqueries {limit}\n}}\nwhoami\n}}"
    with dnsd(corefile, tmp_path) as server:
        stream = connection(server.port)
        stream.sendall(frames(asked))
        assert replies(stream) == answered


def test_a_connection_on_which_nothing_comes_is_closed(tmp_path: Path) -> None:
    """With the usual limits the first of these would be closed after 3 seconds too, and the second after 10."""
    corefile = ".:PORT {\nbind 127.0.0.1\ntimeouts {\nread 1s\nidle 1s\n}\nwhoami\n}"
    with dnsd(corefile, tmp_path) as server:
        silent, used = connection(server.port), connection(server.port)
        used.sendall(frames(1))
        assert replies(used) == 1
        assert (replies_or_reset(silent)) == 0


def replies_or_reset(stream: socket.socket) -> int:
    try:
        return replies(stream)
    except ConnectionResetError:
        return 0
