"""CoreDNS's flags in every spelling that Go's package `flag` takes: one dash or two, `=` or a blank."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process import command, eventually, free_port, run

SPELLINGS = (
    "-conf FILE -dns.port PORT",
    "-conf=FILE -dns.port=PORT",
    "--conf FILE --dns.port PORT -quiet",
    "--conf=FILE --dns.port=PORT --pidfile=PIDFILE",
    "-p=PORT -conf FILE",
    "--p PORT -pidfile PIDFILE -conf=FILE",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_started_as_coredns(spelling: str, tmp_path: Path) -> None:
    (tmp_path / "go").write_text(". {\n    bind 127.0.0.1\n    whoami\n}\n")
    port = free_port()
    values = {"PIDFILE": str(tmp_path / "pid"), "FILE": str(tmp_path / "go"), "PORT": str(port)}
    arguments = []
    for argument in spelling.split():
        name, equals, value = argument.rpartition("=")
        arguments.append(name + equals + values.get(value, value))
    with command(arguments, port, tmp_path) as server:
        if "PIDFILE" in spelling:
            eventually((tmp_path / "pid").exists, "the pid file")
        if "-quiet" not in spelling:
            eventually(lambda: server.log.startswith(f".:{port}\n"), "the banner")


@pytest.mark.parametrize("flag", ["-version", "--version", "-plugins", "--plugins"])
def test_flags_that_print_and_end(flag: str) -> None:
    done = run(flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_corefile_from_standard_input() -> None:
    done = run("-conf", "stdin", stdin=".:53 {\n    bogus\n}\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "stdin:2:5: unknown directive 'bogus'\n"
