"""How plugins read their words: what each reader takes, and where and why it refuses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile import read
from dnsd.corefile.regex import RegexError, compile_regex
from dnsd.corefile.syntax import CorefileError, Directive, Position, Word
from tests.corefile.memory import parse_text


def word(text: str) -> Word:
    return Word(text, Position("Corefile", 3, 7))


def directive(line: str) -> Directive:
    (block,) = parse_text(f". {{\n {line}\n}}")
    return block.directives[0]


COUNTS = {
    "as many as wanted": ("d a b", 1, 2, None),
    "none": ("d", 0, 0, None),
    "any number": ("d a b c d e", 0, None, None),
    "too few": ("d a", 2, None, "Corefile:2:2: 'd' needs at least 2 arguments, not 1"),
    "one missing": ("d", 1, 1, "Corefile:2:2: 'd' needs 1 argument, not 0"),
    "one too many": ("d a bb", 1, 1, "Corefile:2:6: 'bb' is too much: 'd' takes 1 argument"),
    "two too many": ("d a b c d", 0, 2, "Corefile:2:8: 'c' is too much: 'd' takes at most 2 arguments"),
    "one where none is": ("d a", 0, 0, "Corefile:2:4: 'a' is too much: 'd' takes no arguments"),
}


@pytest.mark.parametrize(("line", "minimum", "maximum", "error"), COUNTS.values(), ids=COUNTS)
def test_arguments(line: str, minimum: int, maximum: int | None, error: str | None) -> None:
    if error is None:
        assert [argument.text for argument in read.arguments(directive(line), minimum, maximum)] == line.split()[1:]
    else:
        with pytest.raises(CorefileError, match=f"^{re.escape(error)}$"):
            read.arguments(directive(line), minimum, maximum)


def test_arguments_of_an_option() -> None:
    (option,) = directive("d { o x y }").options
    with pytest.raises(CorefileError, match=r"^Corefile:2:10: 'y' is too much: 'o' takes 1 argument$"):
        read.arguments(option, 1, 1)


def test_no_options() -> None:
    read.no_options(directive("d a"))
    with pytest.raises(CorefileError, match=r"^Corefile:2:6: 'd' has no options$"):
        read.no_options(directive("d { o x }"))


def integer(word: Word) -> int:
    return read.integer(word, 0, 3600)


def positive(word: Word) -> int:
    return read.integer(word, 1)


def number(word: Word) -> float:
    return read.number(word, 0)


def percentage(word: Word) -> float:
    return read.number(word, 0, 100)


def policy(word: Word) -> str:
    return read.choice(word, "random", "sequential")


TAKES: list[tuple[Callable[[Word], object], str, object]] = [
    (integer, "0", 0),
    (integer, "3600", 3600),
    (integer, "+7", 7),
    (integer, "007", 7),
    (positive, "1", 1),
    (positive, "999999999999999999", 999_999_999_999_999_999),
    (number, "0", 0.0),
    (number, "1.5", 1.5),
    (number, ".5", 0.5),
    (percentage, "100", 100.0),
    (read.duration, "0", 0.0),
    (read.duration, "+0", 0.0),
    (read.duration, "0s", 0.0),
    (read.duration, "5s", 5.0),
    (read.duration, "+5s", 5.0),
    (read.duration, "300ms", 0.3),
    (read.duration, "1.5h", 5400.0),
    (read.duration, "1m30s", 90.0),
    (read.duration, "2h45m0.5s", 9900.5),
    (read.duration, ".5s", 0.5),
    (read.duration, "1.s", 1.0),
    (read.duration, "250us", 0.00025),
    (read.duration, "250\u00b5s", 0.00025),
    (read.duration, "250\u03bcs", 0.00025),
    (read.duration, "5ns", 5e-9),
    (read.duration_or_seconds, "30", 30.0),
    (read.duration_or_seconds, "0", 0.0),
    (read.duration_or_seconds, "1m", 60.0),
    (policy, "random", "random"),
    (policy, "sequential", "sequential"),
    (read.zone, "Cluster.Local", "cluster.local."),
    (read.zone, ".", "."),
    (read.zone, "10.96.0.0/12", "96.10.in-addr.arpa."),
    (read.zone, "example.org:53", "example.org."),
    (read.zone, "tls://example.org", "example.org."),
    (read.ip_address, "192.0.2.1", ipaddress.ip_address("192.0.2.1")),
    (read.ip_address, "2001:DB8::1", ipaddress.ip_address("2001:db8::1")),
    (read.ip_address, "fe80::1%eth0", ipaddress.ip_address("fe80::1%eth0")),
    (read.network, "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8")),
    (read.network, "10.1.2.3/8", ipaddress.ip_network("10.0.0.0/8")),
    (read.network, "192.0.2.1", ipaddress.ip_network("192.0.2.1/32")),
    (read.network, "2001:db8::/32", ipaddress.ip_network("2001:db8::/32")),
]


@pytest.mark.parametrize(("reader", "text", "value"), TAKES, ids=[f"{row[0].__name__} {row[1]}" for row in TAKES])
def test_takes(reader: Callable[[Word], object], text: str, value: object) -> None:
    got = reader(word(text))
    assert got == (pytest.approx(value) if isinstance(value, float) else value)
    assert type(got) is type(value)


REFUSES: list[tuple[Callable[[Word], object], str, str]] = [
    (integer, "-1", "'-1' is not a whole number from 0 to 3600"),
    (integer, "3601", "'3601' is not a whole number from 0 to 3600"),
    (integer, "1.0", "is not a whole number"),
    (integer, "1_000", "is not a whole number"),
    (integer, " 1", "is not a whole number"),
    (integer, "", "'' is not a whole number"),
    (integer, "\u0663", "is not a whole number"),
    (integer, "9" * 5000, "is not a whole number"),
    (positive, "0", "'0' is not a whole number, 1 or more"),
    (number, "-0.1", "'-0.1' is not a number, 0 or more"),
    (number, "nan", "is not a number"),
    (number, "inf", "is not a number"),
    (number, "9" * 400, "is not a number"),
    (percentage, "100.1", "'100.1' is not a number from 0 to 100"),
    (read.duration, "5", "'5' is not a duration (a number and its unit, such as 500ms, 30s, 1m30s or 1.5h)"),
    (read.duration, "", "'' is not a duration"),
    (read.duration, "s", "is not a duration"),
    (read.duration, "-5s", "is not a duration"),
    (read.duration, "5d", "is not a duration"),
    (read.duration, "5 s", "is not a duration"),
    (read.duration, "5s3", "is not a duration"),
    (read.duration, "5S", "is not a duration"),
    (read.duration, "1..5s", "is not a duration"),
    (read.duration, ".s", "is not a duration"),
    (read.duration, "2600000h", "too long a time (at most 292 years)"),
    (read.duration, "9" * 400 + "s", "too long a time"),
    (read.duration_or_seconds, "1.5", "is not a duration"),
    (read.duration_or_seconds, "-1", "is not a duration"),
    (policy, "round", "'round' is not known here (one of random, sequential)"),
    (policy, "Random", "is not known here"),
    (read.zone, "a..b", "empty label in 'a..b'"),
    (read.zone, "", "no zone in ''"),
    (read.zone, "10.0.0.0/33", "'33' is not a prefix length"),
    (read.ip_address, "192.0.2.256", "'192.0.2.256' is not an IP address"),
    (read.ip_address, "192.0.2.1:53", "is not an IP address"),
    (read.ip_address, "", "'' is not an IP address"),
    (read.network, "10.0.0.0/33", "'10.0.0.0/33' is not a network (an address and a prefix length"),
    (read.network, "10.0.0.0/255.0.0.0", "is not a network"),
    (read.network, "10.0.0.0/", "is not a network"),
    (read.network, "10.0.0/8", "is not a network"),
    (read.network, "", "'' is not a network"),
    (read.regex, "(a", "'(a' is not a regular expression: missing )"),
    (read.regex, "[[:letter:]]", "unknown character class [:letter:]"),
    (read.regex, r"\Qa\E", "bad escape"),
]


@pytest.mark.parametrize(("reader", "text", "message"), REFUSES, ids=[f"{r[0].__name__} {r[1][:20]}" for r in REFUSES])
def test_refuses_at_the_word(reader: Callable[[Word], object], text: str, message: str) -> None:
    with pytest.raises(CorefileError) as raised:
        reader(word(text))
    assert str(raised.value).startswith("Corefile:3:7: ")
    assert message in str(raised.value)


def test_one_choice_only() -> None:
    with pytest.raises(CorefileError, match=r"^Corefile:3:7: 'all' is not known here \(only 'empty_service' is\)$"):
        read.choice(word("all"), "empty_service")


def test_zones_of_several_words() -> None:
    assert read.zones([word("cluster.local"), word("10.0.0.0/7"), word("ip6.arpa")]) == (
        "cluster.local.",
        "10.in-addr.arpa.",
        "11.in-addr.arpa.",
        "ip6.arpa.",
    )


def test_an_unknown_option_suggests_the_nearest() -> None:
    option = directive("k { falthrough . }").options[0]
    error = read.unknown_option(option, {"fallthrough", "ttl", "pods"})
    assert str(error) == "Corefile:2:6: unknown option 'falthrough' (did you mean 'fallthrough'?)"


def test_an_unknown_option_far_from_all_suggests_nothing() -> None:
    error = read.unknown_option(directive("k { xyz }").options[0], {"fallthrough", "ttl"})
    assert str(error) == "Corefile:2:6: unknown option 'xyz'"


def test_an_unknown_directive_suggests_the_nearest() -> None:
    error = read.unknown_directive(directive("Kubernets cluster.local"), ["kubernetes", "k8s_external"])
    assert str(error) == "Corefile:2:2: unknown directive 'Kubernets' (did you mean 'kubernetes'?)"


MATCHES = {
    "a named group": (r"^ip-(?P<a>[0-9]+)[.]test[.]$", "ip-10.test.", {"a": "10"}),
    "a named group of newer Go": (r"^(?<a>x)$", "x", {"a": "x"}),
    "a POSIX class": (r"^[[:alpha:]_]+$", "ab_c", {}),
    "punctuation": (r"^[[:punct:]]+$", r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~""", {}),
    "the end of the text": (r"^a\z", "a", {}),
    "a backslash before a z": (r"^\\z$", r"\z", {}),
    "any letter case": (r"(?i)^EXAMPLE\.org\.$", "example.ORG.", {}),
    "a set in a set": (r"^[[a]$", "[", {}),
    "a template's repetition": (r"^a{2,3}$", "aaa", {}),
}


@pytest.mark.parametrize(("expression", "text", "groups"), MATCHES.values(), ids=MATCHES)
def test_regex_of_go(expression: str, text: str, groups: dict[str, str]) -> None:
    match = read.regex(word(expression)).search(text)
    assert match is not None
    assert match.groupdict() == groups


@pytest.mark.parametrize(
    ("expression", "text"), [(r"^\d$", "\u0663"), (r"^\w$", "\u00e9"), (r"^[[:punct:]]$", "a"), (r"^a\z", "a\n")]
)
def test_regex_of_go_does_not_match(expression: str, text: str) -> None:
    assert read.regex(word(expression)).search(text) is None


@given(st.one_of(st.text(), st.text(alphabet="()[]{}?P<>:=!#^$|*+\\zQdau,-19 ")))
def test_any_text_is_a_regex_or_refused(text: str) -> None:
    try:
        compile_regex(text)
    except RegexError as error:
        reason = str(error)
    else:
        reason = "none: it is one"
    assert reason


@given(st.integers(0, 2**63 // 10**6))
def test_a_duration_is_what_go_prints(milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h{minutes}m{seconds}.{rest:03}s"
    assert read.duration(word(text)) == pytest.approx(milliseconds / 1000)
