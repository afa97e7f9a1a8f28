"""What holds for every Corefile: it parses or is refused with a place, and means what was written."""

from __future__ import annotations

import random
import re

from hypothesis import example, given
from hypothesis import strategies as st

from dnsd.corefile.parser import MAX_DEPTH
from dnsd.corefile.syntax import CorefileError, Directive, Option, ServerBlock, Word, ZoneKey
from dnsd.corefile.zones import DEFAULT_PORTS
from tests.corefile.memory import NOWHERE, parse_files, without_positions, words


def quotable(text: str) -> bool:
    """Whether quotes can hold it: not with an odd number of backslashes before a quote or at the end."""
    return not re.search(r'(?<!\\)(\\\\)*\\("|\Z)', text)


BARE = st.from_regex(r"[^\s#\"{}][^\s#{}]*", fullmatch=True).filter(lambda text: "\r" not in text and text != "import")
QUOTED = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: quotable(text) and not re.search(r"\{\$[^}]+\}|\{%[^%]+%\}", text)
)
WORDS = st.builds(Word, BARE | QUOTED, st.just(NOWHERE))
NAMES = st.builds(Word, (BARE | QUOTED).filter(bool), st.just(NOWHERE))
ARGUMENTS = st.lists(WORDS, max_size=3).map(tuple)


def options(inner: st.SearchStrategy[tuple[Option, ...]]) -> st.SearchStrategy[tuple[Option, ...]]:
    return st.lists(st.builds(Option, NAMES, ARGUMENTS, inner), max_size=3).map(tuple)


OPTIONS = options(options(st.just(())))
ZONES = st.lists(st.from_regex(r"[a-z0-9_*-]{1,12}", fullmatch=True), max_size=4).map(
    lambda labels: ".".join(labels) + "."
)
PORTS = st.none() | st.integers(0, 65_535)
KEYS = st.builds(ZoneKey, st.sampled_from(sorted(DEFAULT_PORTS)), ZONES, PORTS, st.just(NOWHERE))
DIRECTIVES = st.lists(st.builds(Directive, NAMES, ARGUMENTS, OPTIONS), max_size=4).map(tuple)
BLOCKS = st.lists(
    st.builds(ServerBlock, st.lists(KEYS, min_size=1, max_size=3).map(tuple), DIRECTIVES), min_size=1, max_size=3
)


class Writer:
    """Writes a tree as a Corefile; blanks, line ends, comments, quotes and commas are as the choices fall."""

    def __init__(self, choices: random.Random) -> None:
        self.choose = choices.choice

    def corefile(self, blocks: list[ServerBlock]) -> str:
        bare = len(blocks) == 1 and self.choose([True, False])
        return self.choose(["", "\ufeff", "# first\n", "\n"]) + "".join(
            self.block(block, bare=bare) for block in blocks
        )

    def block(self, block: ServerBlock, *, bare: bool) -> str:
        keys = self.choose([" ", ",\n", ", # more\n\t"]).join(self.key(key) for key in block.keys)
        body = "".join(self.line(line) for line in block.directives)
        return f"{keys}{self.end()}{body}" if bare else f"{keys} {{{self.end()}{body}}}{self.end()}"

    def key(self, key: ZoneKey) -> str:
        scheme = f"{key.scheme}://" if key.scheme != "dns" or self.choose([True, False]) else ""
        return f"{scheme}{self.choose([str.upper, str.lower])(key.zone)}{'' if key.port is None else f':{key.port}'}"

    def line(self, line: Directive | Option, depth: int = 0) -> str:
        head = self.choose([" ", "\t"]).join(self.word(word.text) for word in (line.name, *line.arguments))
        braces = "".join(self.line(option, depth + 1) for option in line.options)
        if line.options or (depth < MAX_DEPTH and self.choose([True, False])):
            head += f" {{{self.end()}{braces}}}"
        return f"  {head}{self.end()}"

    def word(self, text: str) -> str:
        needs_quotes = not text or text[0] == '"' or re.search(r"[\s#{}]", text) or text == "import"
        if not quotable(text) or not (needs_quotes or self.choose([True, False])):
            return text
        return '"' + text.replace('"', '\\"') + '"'

    def end(self) -> str:
        return self.choose(["\n", "\r\n", "\n\n", ' # "comment" {\n', "\t \n"])


@given(BLOCKS, st.randoms(use_true_random=False))
def test_what_is_written_is_what_is_read(blocks: list[ServerBlock], choices: random.Random) -> None:
    assert without_positions(parse_files({"Corefile": Writer(choices).corefile(blocks)})) == blocks


@given(BLOCKS, st.randoms(use_true_random=False))
def test_a_word_stands_at_its_position(blocks: list[ServerBlock], choices: random.Random) -> None:
    text = Writer(choices).corefile(blocks)
    rows = text.removeprefix("\ufeff").replace("\r", "").split("\n")
    for block in parse_files({"Corefile": text}):
        for word in words(block.directives):
            here = rows[word.position.line - 1][word.position.column - 1 :]
            assert here.startswith(('"', word.text))


# fmt: off
PIECES = [
    "import ", "import f", "import g*", "import s", "(s) {", "{", "}", " {\n", "\n}\n", "\n", "\r\n", " ", "\t",
    '"', '\\"', "#", ",", ".", ":", "/", "://", "tls://", "a", ".:53", "10.0.0.0/9", "::/1", "{$A}", "{%A%}", "{$", "é",
]
# fmt: on


def spliced(blocks: list[ServerBlock], choices: random.Random, piece: str) -> str:
    """A Corefile with one slip in it: something put in, in place of up to three letters."""
    text = Writer(choices).corefile(blocks)
    at = choices.randrange(len(text))
    return text[:at] + piece + text[at + choices.randrange(4) :]


TEXT = st.one_of(
    st.text(),
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.builds(spliced, BLOCKS, st.randoms(use_true_random=False), st.sampled_from(PIECES)),
)


@given(TEXT, TEXT, TEXT, st.dictionaries(st.just("A"), st.text(alphabet="a.{}s \n*/:(),")))
@example("import f", "import g*", "(s) {\nimport f\n}", {})
def test_any_text_parses_or_is_refused_at_a_place_that_exists(
    main: str, f: str, g: str, environment: dict[str, str]
) -> None:
    files = {"Corefile": main, "f": f, "g1": g}
    place = None
    try:
        blocks = parse_files(files, environment)
    except CorefileError as error:
        place = error.position
    if place is None:
        assert blocks
    else:
        lines = files[place.file].replace("\r", "").split("\n")
        assert 1 <= place.line <= len(lines)
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1
