"""Wrong Corefiles, and the place and the words with which each is refused."""

from __future__ import annotations

import pytest

from dnsd.corefile.syntax import CorefileError
from tests.corefile.memory import parse_files, parse_text

WRONG = {
    "nothing": ("", "1:1", "no server block"),
    "only white space": (" \n\n", "1:1", "no server block"),
    "only a comment": ("# .", "1:1", "no server block"),
    "only a snippet": ("(s) {\n errors\n}\n", "1:1", "no server block"),
    "only an empty pattern": ("import none/*\n", "1:1", "no server block"),
    "a brace without a zone": ("{\n errors\n}", "1:1", "'{' without a zone"),
    "a closing brace first": ("}\n. {\n}", "1:1", "'}' without a matching '{'"),
    "a closing brace too many": (". {\n errors\n}\n}\n", "4:1", "'}' without a matching '{'"),
    "a closing brace without braces": (".\nerrors\n}\n", "3:1", "'}' without a matching '{'"),
    "a closing brace after a key": ("a }\n", "1:3", "'}' without a matching '{'"),
    "a block never closed": (". {\n errors\n", "1:3", "this '{' is never closed"),
    "a directive never closed": (".\nhealth {\n lameduck 5s\n", "2:8", "this '{' is never closed"),
    "an inner brace forgotten": (". {\n health {\n  lameduck 5s\n errors\n}\n", "1:3", "a '}' is missing"),
    "a snippet never closed": ("(s) {\n errors\n", "1:5", "this '{' is never closed"),
    "a brace on the line after its zone": (".\n{\n errors\n}", "2:1", "end of the line of '.'"),
    "a brace on the line after its directive": (". {\n k z\n {\n }\n}", "3:2", "end of the line of 'z'"),
    "a brace on the line after its option": (". {\n k {\n  o\n  {\n  }\n }\n}", "4:3", "end of the line of 'o'"),
    "two braces never closed": (". { k {", "1:7", "this '{' is never closed"),
    "a brace on the line after its snippet": ("(s)\n{\n}\n.", "2:1", "end of the line of '(s)'"),
    "a brace in a brace": (". {\n {\n }\n}", "2:2", "'{' without a name before it"),
    "two braces": (". { { } }", "1:5", "'{' without a name before it"),
    "a brace glued to a directive": (". {\n kubernetes{\n }\n}", "2:12", "'{' is glued to a word: 'kubernetes{'"),
    "a brace glued to a zone": ("example.org{\n}", "1:12", "'{' is glued to a word"),
    "a brace glued to what follows": (". {errors\n}", "1:3", "'{' is glued to a word: '{errors'"),
    "a closing brace glued to a word": (". {\n h { lameduck 5s}\n}", "2:17", "'}' is glued to a word: '5s}'"),
    "a closing brace glued to what follows": (". {\n errors\n}a {\n}", "3:1", "'}' is glued to a word: '}a'"),
    "braces glued together": (". {}", "1:3", "'{' is glued to a word: '{}'"),
    "a variable never closed": (". {\n log {$HOME\n}", "2:6", "'{' is glued to a word: '{$HOME'"),
    "a word after a closing brace": (". {\n h {\n } x\n}", "3:4", "'x' after '}'"),
    "a key after a closing brace": ("a {\n} b {\n}", "2:3", "'b' after '}'"),
    "a key after a snippet": ("(s) { log } b {\n}", "1:13", "'b' after '}'"),
    "braces three deep": (". {\n a {\n  b {\n   c {\n   }\n  }\n }\n}", "4:4", "braces nested more than 2 deep"),
    "a quote never closed": ('. {\n log "a b\n}\n', "2:6", "this quote is never closed"),
    "a quote closed by an escape": ('. {\n log "a\\"\n}\n', "2:6", "this quote is never closed"),
    "a comma before a brace": ("a, b, {\n}", "1:4", "no zone follows the comma of 'b,'"),
    "a comma at the end": ("a,\n", "1:1", "no zone follows the comma of 'a,'"),
    "keys glued with a comma": ("a,b {\n}", "1:1", "',' cannot be part of a zone"),
    "an empty key": ('"" {\n}', "1:1", "a server block without a zone"),
    "an unset key": ("{$UNSET} {\n}", "1:1", "a variable that is not set is empty"),
    "an unset directive": (". {\n {$UNSET} x\n}", "2:2", "an empty directive name"),
    "an unknown scheme": ("a dot://b {\n}", "1:3", "unknown scheme 'dot' (one of dns, tls"),
    "a scheme alone": ("tls:// {\n}", "1:1", "no zone in 'tls://'"),
    "two schemes": ("dns://tls://a {\n}", "1:1", "':' cannot be part of a zone"),
    "a colon without a port": ("a: {\n}", "1:1", "'' is not a port"),
    "a port that is a word": ("a:http {\n}", "1:1", "'http' is not a port"),
    "a port above 65535": ("a:65536 {\n}", "1:1", "'65536' is not a port"),
    "a port far above 65535": (f"a:{'0' * 6}53 {{\n}}", "1:1", "is not a port"),
    "a port in other digits": ("a:٥٣ {\n}", "1:1", "is not a port"),
    "a negative port": ("a:-1 {\n}", "1:1", "'-1' is not a port"),
    "two ports": ("a:1:2 {\n}", "1:1", "neither a name nor a network"),
    "an IPv6 address": ("a 2001:db8::1 {\n}", "1:3", "needs a prefix length"),
    "an IPv6 address in brackets": ("[::1]:53 {\n}", "1:1", "neither a name nor a network"),
    "a prefix above 32": ("10.0.0.0/33 {\n}", "1:1", "'33' is not a prefix length of 10.0.0.0 (a number from 0 to 32)"),
    "a prefix above 128": ("2001:db8::/129 {\n}", "1:1", "(a number from 0 to 128)"),
    "a prefix that is a mask": ("10.0.0.0/255.0.0.0 {\n}", "1:1", "'255.0.0.0' is not a prefix length"),
    "no prefix after the slash": ("10.0.0.0/ {\n}", "1:1", "'' is not a prefix length"),
    "a label of 64 octets": (f"{'a' * 64}.b {{\n}}", "1:1", "label of 64 octets"),
    "a name of 256 octets": (f"{'.'.join(['a' * 63] * 3 + ['a' * 62])} {{\n}}", "1:1", "name of 256 octets"),
    "an empty label": ("a..b {\n}", "1:1", "empty label in 'a..b'"),
    "a dot first": (".a {\n}", "1:1", "empty label in '.a'"),
    "two dots": (".. {\n}", "1:1", "empty label in '..'"),
    "a blank in a zone": ('"a b" {\n}', "1:1", "not visible ASCII"),
    "an international zone": ("bücher.example {\n}", "1:1", "xn-- form"),
    "an escape in a zone": ("a\\.b {\n}", "1:1", "'\\' cannot be part of a zone"),
    "a snippet's name with a blank": ("(a b) {\n}", "1:1", "'(' cannot be part of a zone"),
    "a snippet beside a key": ("a (b) {\n}", "1:3", "'(' cannot be part of a zone"),
    "a snippet without a name": ("() {\n}", "1:1", "a snippet without a name"),
    "a snippet without braces": ("(s)\nerrors\n", "1:1", "snippet '(s)' needs braces"),
    "a snippet defined twice": ("(s) {\n}\n(s) {\n}\n.", "3:1", "snippet 's' is defined twice"),
    "a snippet that imports itself": ("(s) {\n log\n import s\n}\n.", "3:9", "snippet 's' imports itself"),
    "import of nothing": (". {\n import\n}", "2:2", "'import' needs the name"),
    "import of an empty name": (". {\n import {$UNSET}\n}", "2:9", "'import' of an empty name (from '{$UNSET}')"),
    "import of two files": (". {\n import f f\n}", "2:11", "'import' takes one name only"),
    "import with an argument": ("(s) {\n}\n. {\n import s x\n}", "4:11", "snippets of a Corefile have no arguments"),
    "import with braces": (". {\n import f {\n }\n}", "2:11", "'import' has no braces"),
    "import of a missing file": (". {\n import g\n}", "2:9", "no snippet 'g' and no file 'g'"),
    "import before the snippet": (". {\n import s\n}\n(s) {\n}", "2:9", "defined above the line that imports it"),
    "two of the same wildcard": (". {\n import */*\n}", "2:9", "more than one wildcard in '*/*'"),
    "a character class": (". {\n import [a]*\n}", "2:9", "more than one wildcard"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "place", "message"), WRONG.values(), ids=WRONG)
def test_wrong_corefile(text: str, place: str, message: str) -> None:
    with pytest.raises(CorefileError) as raised:
        parse_files({"Corefile": text, "f": "log"})
    assert str(raised.value).startswith(f"Corefile:{place}: ")
    assert message in str(raised.value)


WRONG_IMPORTS: dict[str, tuple[dict[str, str], str, str]] = {
    "an error in a file is the file's": ({"Corefile": ". {\n import d/f\n}", "d/f": "log\nk{"}, "d/f:2:2", "glued"),
    "an error in a snippet is the snippet's": ({"Corefile": "(s) {\n a:b:c\n}\nimport s"}, "Corefile:2:2", "a:b:c"),
    "a file never closes": ({"Corefile": ". {\n import f\n}", "f": "k {\n o"}, "f:1:3", "never closed"),
    "a file closes too often": ({"Corefile": "import f\n.", "f": "a {\n}\n}"}, "f:3:1", "'}' without a matching"),
    "a missing file of a file": ({"Corefile": "import d/f", "d/f": "import g"}, "d/f:1:8", "no file 'd/g'"),
    "a file imports itself": ({"Corefile": "import f", "f": "log\nimport f"}, "f:2:8", "f imported by f"),
    "the Corefile imports itself": (
        {"Corefile": ".\nimport Corefile"},
        "Corefile:2:8",
        "Corefile imported by Corefile",
    ),
    "files in a circle": (
        {"Corefile": "import f", "f": "import d/g", "d/g": "import ../f"},
        "d/g:1:8",
        "f imported by d/g imported by f",
    ),
    "snippets in a circle": (
        {"Corefile": "(a) {\n import b\n}\n(b) {\n import a\n}\n. {\n import a\n}"},
        "Corefile:5:9",
        "(a) imported by (b) imported by (a)",
    ),
    "a pattern in a circle": ({"Corefile": "import d/*", "d/f": "import *"}, "d/f:1:8", "d/f imported by d/f"),
}


@pytest.mark.parametrize(("files", "place", "message"), WRONG_IMPORTS.values(), ids=WRONG_IMPORTS)
def test_wrong_import(files: dict[str, str], place: str, message: str) -> None:
    with pytest.raises(CorefileError) as raised:
        parse_files(files)
    assert str(raised.value).startswith(f"{place}: ")
    assert message in str(raised.value)


def test_an_error_has_parts_for_tools() -> None:
    with pytest.raises(CorefileError) as raised:
        parse_text(". {\n kubernetes{\n}")
    error = raised.value
    assert (error.position.file, error.position.line, error.position.column) == ("Corefile", 2, 12)
    assert str(error) == f"Corefile:2:12: {error.message} ({error.hint})"
