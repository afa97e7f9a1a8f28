"""A Corefile with a mistake gets one line that says where and what, and a hint where there is one to give; `dnsd check`
and `dnsd serve` say the same, with exit status 1 and nothing on standard output."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from dnsd.plugins.build import ORDER
from tests.process import DEADLINE, run

HERE = Path(__file__).parent

Refusals = dict[str, tuple[int, str, str]]


class Mistake(NamedTuple):
    """A Corefile, and what is said about it, with `...` for any text."""

    corefile: str
    line: str


def read() -> dict[str, Mistake]:
    """The mistakes, by name."""
    text = (HERE / "mistakes.txt").read_text(encoding="utf-8").partition("\n\n")[2]
    found = {}
    for block in re.findall(r"^# .+?^=> .+?$", text, re.DOTALL | re.MULTILINE):
        head, _, rest = block.partition("\n")
        corefile, _, line = rest.rpartition("=> ")
        assert head[2:] not in found, head
        found[head[2:]] = Mistake(corefile, line)
    return found


MISTAKES = read()


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
        cwd=HERE.parents[1],
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
    place = f"{folder}/{number}.conf:"
    assert line.startswith(place)
    said = line.removeprefix(place)
    assert re.fullmatch(re.escape(mistake.line).replace(r"\.\.\.", ".*"), said), said


@pytest.mark.parametrize("name", ["the same zone twice", "forward: more than 15 upstreams"])
def test_a_process_that_is_refused_ends_with_status_1(name: str, tmp_path: Path) -> None:
    path = tmp_path / "Corefile"
    path.write_text(MISTAKES[name].corefile)
    for arguments in (["check", str(path)], ["serve", "--conf", str(path)], ["-conf", str(path)]):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"{path}:{MISTAKES[name].line}\n"


def test_a_mistake_in_an_imported_file_is_placed_there(tmp_path: Path) -> None:
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "a.server").write_text("a.test:53 {\n    errors\n}\n")
    (tmp_path / "custom" / "b.server").write_text("b.test:53 {\n    erors\n}\n")
    assert refused(tmp_path, ".:53 {\n    errors\n}\nimport custom/*.server\n") == (
        f"{tmp_path}/custom/b.server:2:5: unknown directive 'erors' (did you mean 'errors'?)"
    )


def test_more_than_15_name_servers_in_resolv_conf(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("".join(f"nameserver 192.0.2.{i}\n" for i in range(16)))
    assert refused(tmp_path, ".:53 {\n    forward . resolv.conf\n}\n").startswith(
        f"{tmp_path}/Corefile:2:15: 16 name servers in {tmp_path}/resolv.conf"
    )


def test_a_resolv_conf_without_a_name_server(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search example.com\n# nameserver 192.0.2.1\nnameserver localhost\n")
    assert refused(tmp_path, ".:53 {\n    forward . resolv.conf\n}\n").startswith(
        f"{tmp_path}/Corefile:2:15: no name server in {tmp_path}/resolv.conf ("
    )


def refused(folder: Path, corefile: str) -> str:
    """The only line that `dnsd check` prints."""
    (folder / "Corefile").write_text(corefile)
    done = run("check", str(folder / "Corefile"))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_every_directive_has_its_mistakes() -> None:
    assert {name.partition(":")[0] for name in MISTAKES if ":" in name} == set(ORDER)
