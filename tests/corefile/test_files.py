"""Corefiles on disk: imports, mounted ConfigMaps, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsd.corefile.files import load
from dnsd.corefile.syntax import CorefileError
from tests.corefile.memory import outline


def write(folder: Path, **texts: str) -> str:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder / "Corefile")


def test_imports_are_relative_to_the_corefile_not_to_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    write(tmp_path / "conf", common="errors\nimport ../log", one="first", two="second")
    path = write(tmp_path, log="log", Corefile="{$ZONE} {\n import conf/common\n import conf/*o*\n}")
    with pytest.raises(CorefileError, match="more than one wildcard"):
        load(path, {"ZONE": "."})
    write(tmp_path, Corefile="{$ZONE} {\n import conf/common\n import conf/*o\n}")
    assert outline(load(path, {"ZONE": "."})) == [".: errors; log; second"]


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, Corefile=".\nimport f*", f1="log", f2="errors")
    monkeypatch.chdir(tmp_path)
    assert outline(load("Corefile", {})) == [".: log; errors"]


def test_a_mounted_configmap_is_not_read_twice(tmp_path: Path) -> None:
    """The kubelet mounts `..data` -> `..2026_01_01` and links each key through it."""
    custom = tmp_path / "custom"
    (custom / "..2026_01_01").mkdir(parents=True)
    (custom / "..2026_01_01" / "a").write_text("log")
    (custom / "..data").symlink_to("..2026_01_01")
    (custom / "a").symlink_to("..data/a")
    assert outline(load(write(tmp_path, Corefile=".\nimport custom/*"), {})) == [".: log"]


def test_letters_of_patterns_in_the_folders_above_are_letters(tmp_path: Path) -> None:
    folder = tmp_path / "[a]"
    folder.mkdir()
    assert outline(load(write(folder, Corefile=".\nimport f?", f1="log"), {})) == [".: log"]


def test_a_wildcard_in_a_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(f"log {name}")
    assert outline(load(write(tmp_path, Corefile=".\nimport */f"), {})) == [".: log a; log b"]


def test_a_missing_corefile(tmp_path: Path) -> None:
    with pytest.raises(CorefileError, match=r"none:1:1: cannot read the Corefile: .*No such file"):
        load(str(tmp_path / "none"), {})


UNREADABLE = {
    "a folder": ("folder", "cannot read '.*folder': .*Is a directory"),
    "not UTF-8": ("latin1", "cannot read '.*latin1': .*invalid continuation byte"),
    "a name with a zero octet": ("a\0b", "cannot read .*embedded null byte"),
    "a name that is too long": ("a" * 300, "cannot read .*File name too long"),
}


@pytest.mark.parametrize(("name", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_import_that_cannot_be_read_is_an_error_of_the_import(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin1").write_bytes(b"log \xe9t\xe9")
    with pytest.raises(CorefileError, match=f"Corefile:2:8: {message}"):
        load(write(tmp_path, Corefile=f".\nimport {name}"), {})


def test_a_corefile_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_bytes(b"\xff")
    with pytest.raises(CorefileError, match=r"Corefile:1:1: cannot read the Corefile: .*invalid start byte"):
        load(str(tmp_path / "Corefile"), {})
