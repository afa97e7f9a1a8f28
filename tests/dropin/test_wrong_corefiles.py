"""A Corefile with a mistake gets one line that says where and what, and a hint where there is one to give; `dnsd check`
and `dnsd serve` say the same, with exit status 1 and nothing on standard output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dropin.wrong import DIRECTIVES, SYNTAX, Mistake
from tests.process import DEADLINE, run

MISTAKES = {**SYNTAX, **DIRECTIVES}
ROOT = Path(__file__).parents[2]

Refusals = dict[str, tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wrong")
    for number, mistake in enumerate(MISTAKES.values()):
        (path / f"{number}.conf").write_text(mistake.corefile)
    return path


@pytest.fixture(scope="module")
def refusals(folder: Path) -> Refusals:
    done = subprocess.run(
        [sys.executable, "-m", "tests.dropin.refusals", str(folder)],
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
        check=False,
        cwd=ROOT,
    )
    assert done.stderr == ""
    found: Refusals = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_says_where_and_what(name: str, command: str, folder: Path, refusals: Refusals) -> None:
    mistake, number = MISTAKES[name], list(MISTAKES).index(name)
    status, output, errors = refusals[f"{command} {number}.conf"]
    assert (status, output) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"{folder}/{number}.conf:{mistake.place}: ")
    message, parenthesis, hint = line.partition(" (")
    assert mistake.says in message
    assert bool(parenthesis) == bool(mistake.hint)
    assert mistake.hint in hint


@pytest.mark.parametrize("name", ["the same zone twice", "forward: more than 15 upstreams"])
def test_a_process_that_is_refused_ends_with_status_1(name: str, tmp_path: Path) -> None:
    path = tmp_path / "Corefile"
    path.write_text(MISTAKES[name].corefile)
    for arguments in (["check", str(path)], ["serve", "--conf", str(path)], ["-conf", str(path)]):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{path}:{MISTAKES[name].place}: ")


def test_a_mistake_in_an_imported_file_is_placed_there(tmp_path: Path) -> None:
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "a.server").write_text("a.test:53 {\n    errors\n}\n")
    (tmp_path / "custom" / "b.server").write_text("b.test:53 {\n    erors\n}\n")
    (tmp_path / "Corefile").write_text(".:53 {\n    errors\n}\nimport custom/*.server\n")
    done = run("check", str(tmp_path / "Corefile"))
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/custom/b.server:2:5: unknown directive 'erors' (did you mean 'errors'?)\n"


def test_more_than_15_name_servers_in_resolv_conf(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("".join(f"nameserver 192.0.2.{i}\n" for i in range(16)))
    (tmp_path / "Corefile").write_text(".:53 {\n    forward . resolv.conf\n}\n")
    done = run("check", str(tmp_path / "Corefile"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/Corefile:2:15: 16 name servers in {tmp_path}/resolv.conf")


def test_a_resolv_conf_without_a_name_server(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search example.com\n# nameserver 192.0.2.1\nnameserver localhost\n")
    (tmp_path / "Corefile").write_text(".:53 {\n    forward . resolv.conf\n}\n")
    done = run("check", str(tmp_path / "Corefile"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/Corefile:2:15: no name server in {tmp_path}/resolv.conf (")


def test_there_are_mistakes_of_every_kind() -> None:
    """Every directive that takes words or options has one in the table."""
    told = {name.partition(":")[0] for name in DIRECTIVES}
    assert len(MISTAKES) >= 60
    assert {"kubernetes", "forward", "cache", "health", "ready", "errors", "loop", "reload", "loadbalance"} <= told
    assert all(isinstance(mistake, Mistake) and mistake.says for mistake in MISTAKES.values())
