"""What the documentation shows is what happens: Corefiles load, `dig` prints what is shown, plugins have pages."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dnsd.plugins.build import ORDER
from tests.cluster.authority import Authority
from tests.dropin.published import PAGES
from tests.plugins import harness
from tests.process import Dnsd, dig, dnsd, free_port

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "docs" / "plugins"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
CLUSTER = ROOT / "dnsd" / "demo-cluster.yaml"

SECTIONS = ("Name", "Description", "Syntax", "Metrics", "Examples", "Bugs")
"""Of a plugin's page, in the order of CoreDNS's man pages; only the one on metrics may be left out."""

FILES = {"weights.txt": "www.example.org\n192.0.2.1 3\n192.0.2.2 1\n"}
"""Files that an example names, and that are nowhere else."""


FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """A Corefile, and the sessions below it."""

    corefile: str
    consoles: tuple[str, ...]


def fenced(path: Path) -> Iterator[tuple[str, str, int]]:
    """Language, text and line of each fenced block."""
    text = path.read_text(encoding="utf-8")
    for found in FENCED.finditer(text):
        yield found[1], found[2], text.count("\n", 0, found.start()) + 1


def examples() -> Iterator[tuple[str, Example]]:
    """Each Corefile by its place."""
    for path in DOCUMENTS:
        place, corefile = "", ""
        consoles: list[str] = []
        for language, text, line in fenced(path):
            if language == "corefile":
                if place:
                    yield place, Example(corefile, tuple(consoles))
                place, corefile, consoles = f"{path.relative_to(ROOT)}:{line}", text, []
            elif language == "console" and place:
                consoles.append(text)
        if place:
            yield place, Example(corefile, tuple(consoles))


EXAMPLES = dict(examples())
SESSIONS = {place: example for place, example in EXAMPLES.items() if example.consoles}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an example runs: beside the zones that ship."""
    (tmp_path / "zones").symlink_to(ROOT / "zones")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    certificate, key = Authority.make().issue("dnsd", server=True)
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    return tmp_path


@pytest.mark.parametrize("place", EXAMPLES)
def test_an_example_loads(place: str, folder: Path) -> None:
    assert harness.build(EXAMPLES[place].corefile, folder).instance.fronts


@pytest.mark.parametrize("place", SESSIONS)
def test_an_example_prints_what_is_shown(place: str, folder: Path) -> None:
    example = SESSIONS[place]
    corefile = re.sub(r"^(\S+) \{$", r"\1:PORT {\n    bind 127.0.0.1", example.corefile, flags=re.MULTILINE)
    corefile = PAGES.sub(lambda line: f"{line[1]}{line[2]} 127.0.0.1:{free_port()}", corefile)
    with dnsd(corefile, folder, "--manifests", str(CLUSTER)) as server:
        for console in example.consoles:
            assert session(server, console) == console


def session(server: Dnsd, console: str) -> str:
    """Run the commands of a session, and write it down again with what they print."""
    said = ""
    for line in console.splitlines():
        if line.startswith("$ "):
            program, *words = shlex.split(line[2:])
            assert program == "dig", line
            said += f"{line}\n{dig(server, *words)}"
    return said


@pytest.mark.parametrize("name", ORDER)
def test_a_plugin_has_a_page(name: str) -> None:
    text = (PLUGINS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n\n## Name\n\n*{name}* - ")
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert found == [section for section in SECTIONS if section in found or section != "Metrics"]
    syntax = [block for language, block, _ in fenced(PLUGINS / f"{name}.md") if language == ""]
    assert any(line.split()[0] == name for block in syntax for line in block.splitlines() if line.strip())
    assert any(place.startswith(f"docs/plugins/{name}.md:") for place in EXAMPLES)


@pytest.mark.parametrize("name", ORDER)
def test_a_plugin_has_a_test(name: str) -> None:
    folder = ROOT / "tests" / "plugins"
    assert [*folder.glob(f"test_{name}.py"), *folder.glob(f"test_{name}_*.py"), *folder.glob(f"{name}/test_*.py")]


def test_every_page_is_about_a_plugin() -> None:
    assert {path.stem for path in PLUGINS.iterdir()} <= set(ORDER)


def test_what_make_is_told_in_the_readme_it_can_do() -> None:
    words = re.findall(r"^\$ (make .+)$|`(make [^`]+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    commands = {first or second for first, second in words}
    assert {"make run", "make test", "make bench"} <= commands
    for command in commands:
        done = subprocess.run(["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, command


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *DOCUMENTS[1:]], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_links_to_exists(document: Path) -> None:
    prose = FENCED.sub("", document.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose):
        assert target.startswith(("https://", "http://")) or (document.parent / target).exists(), target


def test_a_plugin_of_others_works_as_the_design_notes_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of docs/design.md, installed, adds its directive without a rebuild."""
    blocks = {language: text for language, text, _ in fenced(ROOT / "docs" / "design.md")}
    entry = re.search(r"\[project\.entry-points\.\"(.+)\"\]\n(.+) = \"(.+)\"", blocks["toml"])
    assert entry is not None
    installed = tmp_path / "installed"
    metadata = installed / f"{entry[3]}-1.dist-info"
    metadata.mkdir(parents=True)
    (installed / f"{entry[3]}.py").write_text(blocks["python"])
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {entry[3]}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{entry[1]}]\n{entry[2]} = {entry[3]}\n")
    corefile = '. {\n    bind 127.0.0.1\n    greet "good morning"\n    whoami\n}\n'.replace(". {", ".:PORT {")
    environment = {"PYTHONPATH": str(installed)}
    with dnsd(corefile, tmp_path, environment=environment) as server:
        assert server.texts("hello.example.org", "TXT") == ['"good morning"']
        assert server.texts("other.example.org", "TXT") == []
