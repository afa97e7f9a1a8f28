"""The grammar of the Corefile (spec.md section 5.1), as a table of texts and what they mean."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from dnsd.corefile import imports
from dnsd.corefile.syntax import CorefileError
from tests.corefile.memory import outline, parse_files, parse_text

DATA = Path(__file__).parent / "data"

GRAMMAR = {
    "a key alone is a block": (".", [".:"]),
    "a block may be empty": (". {\n}", [".:"]),
    "one block may omit its braces": (
        ".:53\nerrors\nlog . {\n class denial\n}\n",
        [".:53: errors; log . {class denial}"],
    ),
    "keys are separated by blanks": ("a b\tc {\n}", ["a. b. c.:"]),
    "a comma may follow a key": ("a, b {\n}", ["a. b.:"]),
    "a trailing comma continues the keys": ("a,\n b,\n\n c {\n errors\n}", ["a. b. c.: errors"]),
    "a port binds to its own key": ("a b:1053 {\n}", ["a. b.:1053:"]),
    "several blocks": ("a {\n log\n}\nb {\n errors\n}", ["a.: log", "b.: errors"]),
    "a last block may omit its braces": ("a {\n}\nb\nerrors", ["a.:", "b.: errors"]),
    "a directive repeats": (".\nforward a x\nforward b y", [".: forward a x; forward b y"]),
    "options": (". {\n k z {\n  pods insecure\n  ttl 30\n }\n}", [".: k z {pods insecure; ttl 30}"]),
    "options may be none": (". {\n k {\n }\n errors\n}", [".: k; errors"]),
    "an option may have options": (". {\n a {\n  b c {\n   d e\n  }\n  f\n }\n}", [".: a {b c {d e}; f}"]),
    "a brace ends and begins a line": (". { health { lameduck 5s } }", [".: health {lameduck 5s}"]),
    "blank lines and indentation": ("\n\n  . {\n\n\t\terrors\n\n}\n\n", [".: errors"]),
    "any white space separates": (". {\n a\vb\fc\u00a0d\u2003e\n}", [".: a b c d e"]),
    "byte order mark": ("\ufeff. {\n}", [".:"]),
    "carriage return": (". {\r\n errors\r\n log\r\n}\r\n", [".: errors; log"]),
    "no newline at the end": (". {\n errors\n}", [".: errors"]),
    "a comment": ("# first\n. { # second\n errors # third\n} # fourth", [".: errors"]),
    "a comment starts inside a word": (". {\n log a#b c\n}", [".: log a"]),
    "a comment hides braces and quotes": ('. {\n log # } "\n}', [".: log"]),
    "quotes hold blanks": ('. {\n log "a b" c\n}', [".: log <a b> c"]),
    "quotes hold a number sign": ('. {\n log "a#b"\n}', [".: log a#b"]),
    "quotes hold lines": ('. {\n log "a\n b" c\n errors\n}', [".: log <a\n b> c; errors"]),
    "quotes hold nothing": ('. {\n log "" c\n}', [".: log <> c"]),
    "quotes hold braces": ('. {\n log "{" "}"\n}', [".: log <{> <}>"]),
    "quotes hold the word import": ('. {\n "import" a\n}', [".: import a"]),
    "an escaped quote": ('. {\n log "say \\"hi\\""\n}', ['.: log <say "hi">']),
    "no other escape": ('. {\n log "\\d\\n\\\\"\n}', [r".: log \d\n\\"]),
    "a quote inside a word is a letter": ('. {\n log a"b"\n}', ['.: log a"b"']),
    "a closing quote ends the word": ('. {\n log "a"b\n}', [".: log a b"]),
    "balanced braces are letters": (". {\n log {type} {1}.x a{2,3}\n}", [".: log <{type}> <{1}.x> <a{2,3}>"]),
    "import as an argument is a word": (". {\n log import x\n}", [".: log import x"]),
    "letter case is kept, but for zones": ("Example.ORG {\n Log ABC\n}", ["example.org.: Log ABC"]),
}


@pytest.mark.parametrize(("text", "blocks"), GRAMMAR.values(), ids=GRAMMAR)
def test_grammar(text: str, blocks: list[str]) -> None:
    assert outline(parse_text(text)) == blocks


KEYS = {
    "the root": (".", ["dns . None"]),
    "the root with a port": (".:53", ["dns . 53"]),
    "a port alone is the root's": (":1053", ["dns . 1053"]),
    "a scheme and a port": ("dns://:1053", ["dns . 1053"]),
    "fully qualified": ("example.org.", ["dns example.org. None"]),
    "lower case": ("EXAMPLE.org:5", ["dns example.org. 5"]),
    "port 0": (".:0", ["dns . 0"]),
    "the highest port": (".:65535", ["dns . 65535"]),
    "tls": ("tls://example.org", ["tls example.org. None"]),
    "quic": ("quic://example.org:8853", ["quic example.org. 8853"]),
    "https": ("https://.", ["https . None"]),
    "https3": ("https3://.", ["https3 . None"]),
    "grpc": ("grpc://.:443", ["grpc . 443"]),
    "scheme in capitals": ("TLS://a", ["tls a. None"]),
    "service labels": ("_dns._udp.*.a-b", ["dns _dns._udp.*.a-b. None"]),
    "an octet of IPv4": ("10.0.0.0/8", ["dns 10.in-addr.arpa. None"]),
    "three octets of IPv4": ("192.0.2.0/24:53", ["dns 2.0.192.in-addr.arpa. 53"]),
    "an IPv4 address": ("192.0.2.7/32", ["dns 7.2.0.192.in-addr.arpa. None"]),
    "all of IPv4": ("0.0.0.0/0", ["dns in-addr.arpa. None"]),
    "bits below the prefix": ("10.1.2.3/8", ["dns 10.in-addr.arpa. None"]),
    "IPv6": ("2001:db8::/32", ["dns 8.b.d.0.1.0.0.2.ip6.arpa. None"]),
    "IPv6 with a port": ("tls://2001:db8::/32:853", ["tls 8.b.d.0.1.0.0.2.ip6.arpa. 853"]),
    "all of IPv6": ("::/0", ["dns ip6.arpa. None"]),
    "IPv6 between nibbles": ("2001:db8::/31", [f"dns {n}.b.d.0.1.0.0.2.ip6.arpa. None" for n in "89"]),
    "IPv4 between octets": ("10.96.0.0/12", [f"dns {n}.10.in-addr.arpa. None" for n in range(96, 112)]),
    "most zones of one network": ("10.1.0.0/17:9", [f"dns {n}.1.10.in-addr.arpa. 9" for n in range(128)]),
    "classless delegation (RFC 2317) is a name": ("0/25.2.0.192.in-addr.arpa", ["dns 0/25.2.0.192.in-addr.arpa. None"]),
    "63 octets in a label": ("a" * 63, [f"dns {'a' * 63}. None"]),
    "255 octets in a name": (
        ".".join(["a" * 63] * 3 + ["a" * 61]),
        [f"dns {'.'.join(['a' * 63] * 3 + ['a' * 61])}. None"],
    ),
}


@pytest.mark.parametrize(("key", "zones"), KEYS.values(), ids=KEYS)
def test_keys(key: str, zones: list[str]) -> None:
    (block,) = parse_text(f"{key} {{\n}}")
    assert [f"{zone.scheme} {zone.zone} {zone.port}" for zone in block.keys] == zones


ENVIRONMENT = {"ZONE": "example.org", "PORT": "1053", "TWO": "a b", "BRACE": "{", "NESTED": "{$ZONE}", "EMPTY": ""}
VARIABLES = {
    "in a key": ("{$ZONE}:{%PORT%} {\n}", ["example.org.:1053:"]),
    "in the name of a directive": (".\n{$ZONE} x", [".: example.org x"]),
    "in an argument": (".\nfile db.{$ZONE}.{$PORT}", [".: file db.example.org.1053"]),
    "in an option": (".\nk {\n {%ZONE%} {$PORT}\n}", [".: k {example.org 1053}"]),
    "in quotes": ('.\nlog "to {$ZONE} "', [".: log <to example.org >"]),
    "unset is empty": (".\nlog {$UNSET} x{%UNSET%}y", [".: log <> xy"]),
    "an empty key does not count": ("{$UNSET} a {$EMPTY}, {\n}", None),
    "an empty key between others": ("a {$UNSET} b {\n}", ["a. b.:"]),
    "a value is not split": (".\nlog {$TWO}", [".: log <a b>"]),
    "a value is no brace": (".\nlog {$BRACE}", [".: log <{>"]),
    "a value is not substituted again": (".\nlog {$NESTED}", [".: log <{$ZONE}>"]),
    "an incomplete reference is text": (".\nlog {%ZONE} {$} {%%}", [".: log <{%ZONE}> <{$}> <{%%}>"]),
}


@pytest.mark.parametrize(("text", "blocks"), VARIABLES.values(), ids=VARIABLES)
def test_environment_variables(text: str, blocks: list[str] | None) -> None:
    if blocks is None:
        with pytest.raises(CorefileError):
            parse_text(text, ENVIRONMENT)
    else:
        assert outline(parse_text(text, ENVIRONMENT)) == blocks


IMPORTS: dict[str, tuple[dict[str, str], list[str]]] = {
    "a snippet in a block": (
        {"Corefile": "(s) {\n errors\n log\n}\n. {\n import s\n loop\n}"},
        [".: errors; log; loop"],
    ),
    "a snippet with options": ({"Corefile": "(s) {\n h {\n  x\n }\n}\n. {\n import s\n}"}, [".: h {x}"]),
    "a snippet in options": (
        {"Corefile": "(s) {\n ttl 30\n}\n. {\n k {\n  import s\n  z\n }\n}"},
        [".: k {ttl 30; z}"],
    ),
    "a snippet of blocks": ({"Corefile": "(s) {\n a {\n  log\n }\n}\nimport s\nb {\n}"}, ["a.: log", "b.:"]),
    "a snippet twice": ({"Corefile": "(s) {\n log\n}\na {\n import s\n}\nb {\n import s\n}"}, ["a.: log", "b.: log"]),
    "a snippet in a snippet": ({"Corefile": "(a) {\n log\n}\n(b) {\n import a\n}\n. {\n import b\n}"}, [".: log"]),
    "an empty snippet": ({"Corefile": "(s) {\n}\n. {\n import s\n}"}, [".:"]),
    "on one line": ({"Corefile": "(s) { log }\n. { import s }"}, [".: log"]),
    "a snippet's name from a variable": ({"Corefile": "(x) {\n log\n}\n. {\n import {$X}\n}"}, [".: log"]),
    "a snippet before a file": ({"Corefile": "(f) {\n log\n}\n. {\n import f\n}", "f": "errors"}, [".: log"]),
    "a file in a block": ({"Corefile": ". {\n import f\n loop\n}", "f": "errors\nlog"}, [".: errors; log; loop"]),
    "a file of blocks": ({"Corefile": "import f\nb {\n}", "f": "a {\n log\n}\n"}, ["a.: log", "b.:"]),
    "a file of keys": ({"Corefile": "a,\nimport f\nlog", "f": "b"}, ["a. b.: log"]),
    "a file defines a snippet": ({"Corefile": "import f\n. {\n import s\n}", "f": "(s) {\n log\n}"}, [".: log"]),
    "a file uses a snippet": ({"Corefile": "(s) {\n log\n}\nimport f", "f": ". {\n import s\n}"}, [".: log"]),
    "relative to the importing file": (
        {"Corefile": ". {\n import d/f\n}", "d/f": "import g\nimport ../h", "d/g": "log", "h": "errors"},
        [".: log; errors"],
    ),
    "a snippet's imports are relative to where it is written": (
        {"Corefile": "import d/s\n. {\n import s\n}", "d/s": "(s) {\n import f\n}", "d/f": "log"},
        [".: log"],
    ),
    "an absolute path": ({"Corefile": ". {\n import /etc/f\n}", "/etc/f": "log"}, [".: log"]),
    "* in the order of names": (
        {"Corefile": ". {\n import d/*.x\n}", "d/b.x": "two", "d/a.x": "one", "d/c.y": "no"},
        [".: one; two"],
    ),
    "?": ({"Corefile": ". {\n import f?\n}", "f1": "one", "f2": "two", "f33": "no"}, [".: one; two"]),
    "files of one pattern may import each other": (
        {"Corefile": ". {\n import d/*\n}", "d/a": "one\nimport b", "d/b": "two"},
        [".: one; two; two"],
    ),
    "a byte order mark in a file": ({"Corefile": ". {\n import f\n}", "f": "\ufefflog"}, [".: log"]),
}


@pytest.mark.parametrize(("files", "blocks"), IMPORTS.values(), ids=IMPORTS)
def test_import(files: dict[str, str], blocks: list[str]) -> None:
    assert outline(parse_files(files, {"X": "x"})) == blocks


def test_a_pattern_without_files_only_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="dnsd.corefile"):
        blocks = parse_text(". {\n import custom/*.override\n errors\n}\nimport custom/*.server\n")
    assert outline(blocks) == [".: errors"]
    assert [record.getMessage() for record in caplog.records] == [
        "Corefile:2:9: no file matches 'custom/*.override'",
        "Corefile:5:8: no file matches 'custom/*.server'",
    ]


def test_words_keep_the_place_where_they_are_written() -> None:
    files = {
        "Corefile": '(s) {\n  log "a\nb" c\n}\na,\n  b {\n import s\n\timport d/f\n}\n',
        "d/f": "# comment\n  cache 30 {\n    {$UNSET}x y\n  }\n",
    }
    (block,) = parse_files(files)
    log, cache = block.directives
    assert [str(key.position) for key in block.keys] == ["Corefile:5:1", "Corefile:6:3"]
    assert [str(word.position) for word in (log.name, *log.arguments)] == [
        "Corefile:2:3",
        "Corefile:2:7",
        "Corefile:3:4",
    ]
    assert [str(word.position) for word in (cache.name, *cache.arguments)] == ["d/f:2:3", "d/f:2:9"]
    (option,) = cache.options
    assert [str(word.position) for word in (option.name, *option.arguments)] == ["d/f:3:5", "d/f:3:15"]


def test_as_many_imports_of_snippets_as_coredns_allows() -> None:
    text = "(s) {\n}\n. {\n" + " import s\n" * imports.MAX_SNIPPET_IMPORTS
    assert outline(parse_text(text + "}")) == [".:"]
    with pytest.raises(CorefileError, match="Corefile:10004:9: more than 10,000 imports of snippets"):
        parse_text(text + " import s\n}")


def test_as_many_imports_of_files_as_coredns_allows() -> None:
    text = ". {\n" + " import f\n" * imports.MAX_FILE_IMPORTS
    with pytest.raises(CorefileError, match="Corefile:100002:9: more than 100,000 imports of files"):
        parse_files({"Corefile": text + " import f\n}", "f": ""})


def test_snippets_that_multiply_end_at_the_bound() -> None:
    doubling = "".join(f"(s{n}) {{\n import s{n - 1}\n import s{n - 1}\n}}\n" for n in range(1, 40))
    with pytest.raises(CorefileError, match="more than 10,000 imports of snippets"):
        parse_text(f"(s0) {{\n}}\n{doubling}\n. {{\n import s39\n}}\n")


def test_the_corefile_of_kubeadm() -> None:
    text = (DATA / "kubeadm.Corefile").read_text()
    (block,) = outline(parse_text(text))
    assert block.split("; ") == [
        ".:53: errors",
        "health {lameduck 5s}",
        "ready",
        "kubernetes cluster.local in-addr.arpa ip6.arpa {pods insecure",
        "fallthrough in-addr.arpa ip6.arpa",
        "ttl 30}",
        "prometheus :9153",
        "forward . /etc/resolv.conf {max_concurrent 1000}",
        "cache 30 {disable success cluster.local",
        "disable denial cluster.local}",
        "loop",
        "reload",
        "loadbalance",
    ]


COREFILES = sorted((DATA / "plugins").iterdir())


@pytest.mark.parametrize("path", COREFILES, ids=[path.stem for path in COREFILES])
def test_corefiles_of_plugins(path: Path) -> None:
    """These files are indented by one blank a level, so that their lines say what they are without a parser."""
    text = path.read_text()
    environment = {"PORT": "1053", "UPSTREAM": "127.0.0.1:5300", "DIR": "/zones", "KUBECONFIG": "/kubeconfig"}
    blocks = parse_text(text, environment)
    assert [key.port for block in blocks for key in block.keys] == [1053] * len(
        re.findall(r"^\S+ \{$", text, re.MULTILINE)
    )
    directives = [line for block in blocks for line in block.directives]
    assert [line.name.text for line in directives] == re.findall(r"^ (\w\S*)", text, re.MULTILINE)
    options = [option.name.text for line in directives for option in line.options]
    assert options == re.findall(r"^  (\w\S*)", text, re.MULTILINE)
