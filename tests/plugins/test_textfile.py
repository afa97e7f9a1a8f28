"""A text file that is read again when it changes."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from dnsd.plugins.textfile import TextFile, Unreadable, follow

log = logging.getLogger("dnsd.plugin.test")


def replace(path: Path, text: str) -> None:
    """As an editor, or the kubelet, puts a new file in the place of one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_its_text_is_given_once_for_each_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    file = TextFile(str(path))
    assert [file.changed(), file.changed()] == ["one", None]
    assert file.modified == path.stat().st_mtime
    replace(path, "two")
    assert [file.changed(), file.changed()] == ["two", None]


def test_a_change_of_the_same_length_is_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    file = TextFile(str(path))
    file.changed()
    path.write_text("two")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert file.changed() == "two"


def test_a_file_that_goes_is_said_once_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = TextFile(str(path))
    with pytest.raises(Unreadable, match="No such file"):
        file.changed()
    assert file.changed() is None
    path.write_text("here")
    assert file.changed() == "here"
    path.unlink()
    with pytest.raises(Unreadable, match=f"{path}: No such file"):
        file.changed()
    path.write_text("here")
    assert file.changed() == "here"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="Is a directory"):
        TextFile(str(tmp_path)).changed()


def test_octets_that_are_no_utf8_come_through(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"# caf\xe9")
    text = TextFile(str(path)).changed()
    assert text is not None
    assert text.encode("utf-8", "surrogateescape") == b"# caf\xe9"


def test_a_file_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x" * 10)
    assert TextFile(str(path), limit=10).changed() == "x" * 10
    with pytest.raises(Unreadable, match="more than 9 octets"):
        TextFile(str(path), limit=9).changed()


def test_following_hands_over_changes_and_outlives_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    file = TextFile(str(path))
    taken: list[str] = []

    def take(text: str) -> None:
        if text == "bad":
            raise Unreadable("bad text")
        if text == "worse":
            raise RuntimeError("worse text")
        taken.append(text)

    async def scenario() -> None:
        following = asyncio.create_task(follow(file, 0.001, take, log))
        for text in ("one", "bad", "worse", "three"):
            replace(path, text)
            while text not in taken and text not in caplog.text:
                await asyncio.sleep(0.001)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert taken == ["one", "three"]
    assert caplog.messages == ["bad text", f"cannot use {path}"]
