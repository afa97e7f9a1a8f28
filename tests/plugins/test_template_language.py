"""The language of `template`: what Go's text/template does, for what records need."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.template.functions import FUNCTIONS, LAZY, MAX_WIDTH
from dnsd.plugins.template.nodes import Template, TemplateError
from dnsd.plugins.template.run import MAX_OUTPUT, MAX_STEPS, Struct, run
from dnsd.plugins.template.syntax import MAX_DEPTH, parse

NAMES = (*FUNCTIONS, *LAZY)
DATA = Struct(
    Name="a.example.",
    Match=["a.example.", "a", ""],
    Group={"0": "a.example.", "a": "7b", "empty": ""},
    Number=3,
    Yes=True,
    Nothing=None,
    Meta=lambda label: f"<{label}>",
    Question=Struct(Name="A.example.", Qtype=1),
)


def read(text: str) -> Template:
    return parse(text, NAMES)


def made(text: str) -> str:
    return run(read(text), DATA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain } text {", "plain } text {"),
        ("{{ .Name }} 60", "a.example. 60"),
        ("{{.Name}}", "a.example."),
        ("{{ .Group.a }}.{{ index .Match 1 }}", "7b.a"),
        ("{{ .Question.Name }}", "A.example."),
        ("a {{- .Number -}} b", "a3b"),
        ("a \n {{- .Number }} b", "a3 b"),
        ("a{{/* a comment */}}b", "ab"),
        ("a {{- /* a comment */ -}} b", "ab"),
        ('{{ "text" }}{{ `raw "text"` }}', 'textraw "text"'),
        ('{{ "a\\tb\\x41\\u0042" }}', "a\tbAB"),
        ("{{ 12 }} {{ 0x10 }} {{ 0b11 }} {{ 0o17 }} {{ -5 }} {{ 1.5 }} {{ .5 }} {{ 'a' }}", "12 16 3 15 -5 1.5 0.5 97"),
        ("{{ true }} {{ false }}", "true false"),
        ("{{ .Match }}", "[a.example. a ]"),
        ("{{ .Group.nosuch }}", "<no value>"),
        ('{{ .Meta "a/b" }}', "<a/b>"),
        ('{{ "a/b" | .Meta }}', "<a/b>"),
        ("{{ (index .Match 1) }}", "a"),
    ],
)
def test_actions(text: str, expected: str) -> None:
    assert made(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ if .Yes }}y{{ end }}", "y"),
        ("{{ if .Nothing }}y{{ end }}", ""),
        ("{{ if .Group.empty }}y{{ else }}n{{ end }}", "n"),
        ("{{ if .Group.nosuch }}y{{ else }}n{{ end }}", "n"),
        ('{{ if eq .Group.a "x" }}x{{ else if eq .Group.a "7b" }}7b{{ else }}n{{ end }}', "7b"),
        ("{{ with .Group.a }}{{ . }}-{{ $.Name }}{{ end }}", "7b-a.example."),
        ("{{ with .Group.empty }}y{{ else }}n{{ end }}", "n"),
        ("{{ with .Group.empty }}y{{ else with .Group.a }}{{ . }}{{ end }}", "7b"),
        ("{{ range .Match }}<{{ . }}>{{ end }}", "<a.example.><a><>"),
        ("{{ range $i, $x := .Match }}{{ $i }}={{ $x }};{{ end }}", "0=a.example.;1=a;2=;"),
        ("{{ range $x := .Match }}{{ $x }};{{ end }}", "a.example.;a;;"),
        ("{{ range $k, $v := .Group }}{{ $k }}={{ $v }};{{ end }}", "0=a.example.;a=7b;empty=;"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range .Nothing }}x{{ else }}none{{ end }}", "none"),
        ("{{ range .Match }}{{ if eq . `a` }}{{ break }}{{ end }}x{{ end }}", "x"),
        ("{{ range .Match }}{{ if eq . `a` }}{{ continue }}{{ end }}x{{ end }}", "xx"),
        ("{{ $x := .Group.a }}{{ $x }}{{ $x = `b` }}{{ $x }}", "7bb"),
        ("{{ $x := 1 }}{{ if .Yes }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if .Yes }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ $q := .Question }}{{ $q.Qtype }}", "1"),
        ("{{ if $x := .Group.a }}{{ $x }}{{ end }}", "7b"),
    ],
)
def test_blocks_and_variables(text: str, expected: str) -> None:
    assert made(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ parseInt .Group.a 16 8 }}", "123"),
        ('{{ parseInt "ff" 16 8 }}', "255"),
        ('{{ parseInt "0x1f" 0 64 }}', "31"),
        ("{{ .Group.a | printf `%s-%s` `x` }}", "x-7b"),
        ("{{ index .Group `a` }}{{ index .Group `nosuch` }}", "7b"),
        ("{{ index `abc` 1 }}", "98"),
        ("{{ slice `abcdef` 1 3 }}{{ slice `abc` 2 }}{{ slice .Match 0 1 }}", "bcc[a.example.]"),
        ("{{ len .Match }} {{ len .Name }} {{ len .Group }}", "3 10 3"),
        ("{{ and .Yes .Number }} {{ and .Nothing .Nosuch }}", "3 <nil>"),
        ("{{ or .Nothing .Number }} {{ or .Number .Nosuch }}", "3 3"),
        ("{{ .Number | and .Yes }}", "3"),
        ("{{ not .Yes }} {{ not .Nothing }}", "false true"),
        ("{{ eq .Number 3 }} {{ eq .Number 1 2 3 }} {{ eq .Number 1 2 }}", "true true false"),
        ("{{ ne .Number 3 }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 }} {{ ge 2 3 }}", "false true true false false"),
        ("{{ lt `a` `b` }} {{ eq .Nothing .Nothing }}", "true true"),
        ("{{ print 1 2 `a` 3 }}", "1 2a3"),
        ("{{ println 1 `a` }}", "1 a\n"),
    ],
)
def test_functions(text: str, expected: str) -> None:
    assert made(text) == expected


@pytest.mark.parametrize(
    ("format_", "value", "expected"),
    [
        ("%d", "5", "5"), ("%5d|", "5", "    5|"), ("%-5d|", "5", "5    |"), ("%05d", "5", "00005"), ("%+d", "5", "+5"),
        ("%x", "255", "ff"), ("%X", "255", "FF"), ("%#x", "255", "0xff"), ("%02x", "10", "0a"), ("%o", "8", "10"),
        ("%b", "5", "101"), ("%c", "65", "A"), ("%s", "`a`", "a"), ("%4s", "`a`", "   a"), ("%.1s", "`abc`", "a"),
        ("%q", "`a`", '"a"'), ("%x", "`AB`", "4142"), ("%v", "`a`", "a"), ("%v", "5", "5"), ("%t", "true", "true"),
        ("%f", "1.5", "1.500000"), ("%.1f", "1.5", "1.5"), ("100%%%d", "5", "100%5"),
    ],
)  # fmt: skip
def test_printf(format_: str, value: str, expected: str) -> None:
    assert made(f"{{{{ printf `{format_}` {value} }}}}") == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{{ .Name", "'{{' without '}}'"),
        ("{{", "'{{' without '}}'"),
        ("{{ }}", "an action with nothing in it"),
        ("{{ .Name | }}", "a value is missing"),
        ("{{ ( .Name }}", "'(' without ')'"),
        ("{{ .Name ) }}", "')' is too much"),
        ("{{ if .Yes }}", "'{{if}}' without '{{end}}'"),
        ("{{ end }}", "'{{end}}' without its beginning"),
        ("{{ else }}", "'{{else}}' without its beginning"),
        ("{{ if .Yes }}{{ else }}{{ else }}{{ end }}", "'{{if}}' without '{{end}}'"),
        ("{{ if .Yes }}{{ end .Yes }}", "'.Yes' is too much"),
        ("{{ nosuch 1 }}", "there is no function 'nosuch'"),
        ("{{ html .Name }}", "there is no function 'html'"),
        ("{{ $x }}", "there is no variable '$x'"),
        ("{{ $x = 1 }}", "there is no variable '$x'"),
        ("{{ if .Yes }}{{ $x := 1 }}{{ end }}{{ $x }}", "there is no variable '$x'"),
        ("{{ $i, $x := .Match }}", "two variables are for 'range' only"),
        ("{{ break }}", "'break' outside 'range'"),
        ("{{ .Name | 5 }}", "a literal cannot take the result of a pipeline"),
        ('{{ template "x" }}', "there are no named templates here"),
        ('{{ "a\\q" }}', "is not understood"),
        ("{{ # }}", "'# }}' is not understood"),
        ("{{ 09 }}", "09 is no literal"),
        ("{{ .Name(1) }}", "a blank is missing before '('"),
        ('{{ "a""b" }}', "a blank is missing before '\"b\"'"),
        ("{{ := }}", "':=' is not understood here"),
        ("{{" + "(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1) + "}}", "parentheses within parentheses"),
        ("{{if 1}}" * (MAX_DEPTH + 1) + "{{end}}" * (MAX_DEPTH + 1), "blocks within blocks"),
        ("{{if 1}}" + "{{else if 1}}" * (MAX_DEPTH + 1) + "{{end}}", "blocks within blocks"),
    ],
    ids=lambda value: value[:40],
)
def test_what_cannot_be_read_is_said(text: str, error: str) -> None:
    with pytest.raises(TemplateError) as found:
        read(text)
    assert error in str(found.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{{ .Nosuch }}", "there is no field .Nosuch"),
        ("{{ .Name.x }}", "a.example. has no field .x"),
        ("{{ .Nothing.x }}", "<nil> has no field .x"),
        ("{{ .Name 1 }}", "a.example. takes no arguments"),
        ("{{ .Meta }}", "does not take 0 arguments"),
        ("{{ index .Match 3 }}", "index: 3 is out of range"),
        ("{{ index .Number 3 }}", "index: 3 has no elements"),
        ("{{ slice .Match 2 1 }}", "out of range"),
        ("{{ slice .Number }}", "3 cannot be sliced"),
        ("{{ len 5 }}", "len of 5"),
        ("{{ eq .Number `3` }}", "eq: 3 and 3 cannot be compared"),
        ("{{ eq 3 }}", "eq: nothing to compare with"),
        ("{{ lt .Number `3` }}", "cannot be compared"),
        ("{{ range .Name }}{{ end }}", "range over a.example."),
        ("{{ parseInt `g` 16 8 }}", "parseInt: 'g' is no number of base 16 and 8 bits"),
        ("{{ parseInt `256` 10 8 }}", "parseInt: '256' is no number of base 10 and 8 bits"),
        ("{{ parseInt `-1` 10 8 }}", "parseInt: '-1'"),
        ("{{ parseInt `1_0` 10 8 }}", "parseInt: '1_0'"),
        ("{{ parseInt `` 10 8 }}", "parseInt: ''"),
        ("{{ parseInt `1` 1 8 }}", "base 1 or 8 bits cannot be"),
        ("{{ parseInt 1 10 8 }}", "parseInt takes a text"),
        ("{{ parseInt `1` }}", "parseInt does not take 1 arguments"),
        ("{{ printf 5 }}", "printf takes a text first"),
        ("{{ printf `%d` `a` }}", "printf: %d does not fit a"),
        ("{{ printf `%d` }}", "printf: no value for %d"),
        ("{{ printf `%d` 1 2 }}", "printf: 1 values too many"),
        ("{{ printf `%z` 1 }}", "printf: %z does not fit 1"),
        ("{{ or }}", "'or' of nothing"),
    ],
)
def test_what_cannot_be_run_is_said(text: str, error: str) -> None:
    with pytest.raises(TemplateError) as found:
        made(text)
    assert error in str(found.value)


X = "x" * (MAX_OUTPUT // 8)


@pytest.mark.parametrize(
    ("rule", "fits", "does_not"),
    [
        ("characters", "x" * MAX_OUTPUT, "x" * (MAX_OUTPUT + 1)),
        ("characters of loops", f"{{{{ range 8 }}}}{X}{{{{ end }}}}", f"{{{{ range 9 }}}}{X}{{{{ end }}}}"),
        ("steps", f"{{{{ range {MAX_STEPS - 1} }}}}x{{{{ end }}}}", f"{{{{ range {MAX_STEPS} }}}}x{{{{ end }}}}"),
        ("steps without end", "{{ range 999999999999 }}{{ end }}", "{{ range 999999999999 }}x{{ end }}"),
        ("values", "", "{{ $x := `xx` }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}"),
        ("padding", f"{{{{ printf `%{MAX_WIDTH}d` 1 }}}}", f"{{{{ printf `%{MAX_WIDTH + 1}d` 1 }}}}"),
    ],
)  # fmt: skip
def test_limits(rule: str, fits: str, does_not: str) -> None:
    made(fits)
    with pytest.raises(TemplateError, match=r"more than|wider than"):
        made(does_not)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("{{ .Name }}{{ .Group.a }}", [("Name",), ("Group", "a")]),
        ("{{ with .Name }}{{ .inner }}{{ $.Remote }}{{ end }}", [("Name",), ("Remote",)]),
        ("{{ if .Name }}{{ .Remote }}{{ end }}", [("Name",), ("Remote",)]),
        ("{{ . }}", [()]),
        ("{{ $ }}", [()]),
        ("{{ index .Match 1 | printf `%s` }}", [("Match",)]),
    ],
)
def test_which_fields_a_template_uses(text: str, fields: list[tuple[str, ...]]) -> None:
    assert list(read(text).fields) == fields


PIECES = st.sampled_from(
    ["{{", "}}", "if", "else", "end", "range", "with", ".", ".Name", ".Match", "$", "$x", ":=", "=", "|", "(", ")", ",",
     "index", "printf", "`a`", '"%d"', "1", "-", " ", "\n", "x", "break", "/*", "*/"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=25).map(" ".join))
def test_no_text_does_anything_but_run_or_say_why_not(text: str) -> None:
    with contextlib.suppress(TemplateError):
        assert len(made(text)) <= MAX_OUTPUT
