"""`dnsd demo`: the session that the README shows is what happens."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

from tests.process import command, dig, free_port

README = Path(__file__).parents[2] / "README.md"


def session() -> list[tuple[list[str], list[str]]]:
    """Each `dig` of the README's first session, with the lines below it."""
    found: list[tuple[list[str], list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((shlex.split(line[2:]), []))
            elif found:
                found[-1][1].append(line)
    return [(words, lines) for words, lines in found if words[0] == "dig" and "5353" in words]


def test_the_readme_tells_the_truth(tmp_path: Path) -> None:
    port = free_port()
    with command(["demo", "--port", str(port)], port, tmp_path) as server:
        asked = session()
        assert len(asked) >= 4
        for words, lines in asked:
            rest = [word for word in words[1:] if word not in ("-p", "5353", "@127.0.0.1")]
            assert dig(server, *rest).splitlines() == lines, words
        assert server.stop(signal.SIGINT) == 0


def test_every_example_that_it_prints_has_an_answer(tmp_path: Path) -> None:
    port = free_port()
    with command(["demo", "-p", str(port)], port, tmp_path) as server:
        examples = [line.split() for line in server.log.splitlines() if line.startswith("  dig ")]
        assert len(examples) >= 5
        for words in examples:
            rest = [word for word in words[1:] if word not in ("-p", str(port), "@127.0.0.1")]
            assert dig(server, "+short", *rest).strip(), words
