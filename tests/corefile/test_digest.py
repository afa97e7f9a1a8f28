"""The digest of a Corefile changes with its meaning, and with nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile.digest import digest
from dnsd.corefile.syntax import ServerBlock
from tests.corefile.memory import parse_files, parse_text
from tests.corefile.test_properties import BLOCKS, Writer

TEXT = ".:53 {\n errors\n cache 30 {\n  disable success a\n }\n}\n"

SAME = {
    "comments": "# c\n.:53 { # c\n errors # c\n cache 30 {\n  disable success a # c\n }\n}\n",
    "white space": "\n.:53   {\n\n\terrors\ncache\t30 {\ndisable success a\n}\n}",
    "quotes": '.:53 {\n "errors"\n cache "30" {\n  "disable" success a\n }\n}\n',
    "without braces": ".:53\nerrors\ncache 30 {\n disable success a\n}\n",
    "the default scheme": TEXT.replace(".:53", "dns://.:53"),
    "a snippet": "(s) {\n errors\n}\n.:53 {\n import s\n cache 30 {\n  disable success a\n }\n}\n",
}
OTHER = {
    "a zone": TEXT.replace(".:53", "a:53"),
    "a port": TEXT.replace(":53", ":54"),
    "no port": TEXT.replace(":53", ""),
    "a scheme": TEXT.replace(".:53", "tls://.:53"),
    "a directive": TEXT.replace(" errors\n", " errors\n log\n"),
    "an argument": TEXT.replace("30", "31"),
    "an option": TEXT.replace("disable success", "disable denial"),
    "a block": TEXT + "a {\n}\n",
    "where words are divided": TEXT.replace("success a", '"success a"'),
    "what is below what": ".:53 {\n errors\n cache 30\n disable success a\n}\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_same_digest(text: str) -> None:
    assert digest(parse_text(text)) == digest(parse_text(TEXT))


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_other_digest(text: str) -> None:
    assert digest(parse_text(text)) != digest(parse_text(TEXT))


def test_a_change_in_an_imported_file_is_a_change() -> None:
    main = ".\nimport f"
    assert digest(parse_files({"Corefile": main, "f": "log"})) != digest(parse_files({"Corefile": main, "f": "errors"}))


def test_digest_is_sha512_and_stays_over_versions() -> None:
    assert digest(parse_text(".")) == (
        "2a49e95a1f1c0526d4646930b8e136da2afdc8f269970da68d43a8f6f41658bb"
        "7e29a32bd50069eb03c3610ae7c9b80588f36a9130d048844c8d7868a402d17a"
    )


@given(BLOCKS, st.randoms(use_true_random=False))
def test_how_it_is_written_does_not_count(blocks: list[ServerBlock], choices: random.Random) -> None:
    assert digest(parse_files({"Corefile": Writer(choices).corefile(blocks)})) == digest(blocks)
