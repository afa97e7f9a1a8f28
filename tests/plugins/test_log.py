"""`log`: which queries are logged, and what a line says (spec.md section 7.2)."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.log.format import Exchange, Template, fields, seconds_text
from dnsd.plugins.log.plugin import Class, classify
from dnsd.resolve.answer import Answer, Reason
from dnsd.resolve.query import Client, Query, from_message
from dnsd.wire import codes, records
from dnsd.wire.codes import Rcode, Type, type_number
from dnsd.wire.name import from_text
from dnsd.wire.query import Message, accept
from tests.observe.web import scrape, total
from tests.plugins import harness
from tests.process import dnsd, eventually, free_port

OWNER = from_text("www.example.org")
ADDRESS = records.address(OWNER, 30, bytes((10, 0, 0, 1)))
SOA = records.soa(from_text("example.org"), 30, OWNER, OWNER, (1, 2, 3, 4, 5))
NS = records.record(from_text("example.org"), Type.NS, 30, records.cname(OWNER, 30, OWNER).rdata)

CLIENTS = {
    "udp": Client("10.244.0.7", 40000, "udp", "10.96.0.10", "dns://:53"),
    "tcp": Client("10.244.0.7", 40000, "tcp", "10.96.0.10", "dns://:53"),
    "udp6": Client("fd00::7", 40000, "udp", "fd00::a", "dns://:53"),
}


def query(name: str = "WWW.Example.org", type_: str = "A", client: str = "udp", **options: Any) -> Query:
    made = dns.message.make_query(name, type_, **{"flags": dns.flags.RD, **options})
    made.id = 29008
    message = accept(made.to_wire())
    assert isinstance(message, Message)
    return from_message(message, CLIENTS[client])


def exchange(asked: Query | None = None, answer: Answer | None = None, seconds: float = 0.000072118) -> Exchange:
    return Exchange(asked or query(), answer or Answer(Rcode.NOERROR, codes.AA, (ADDRESS,)), seconds)


LINES = {
    "the common format": (
        "{common}",
        exchange(),
        '10.244.0.7:40000 - 29008 "A IN www.example.org. udp 33 false 512" NOERROR qr,aa,rd 64 0.000072118s',
    ),
    "an IPv6 client stands in brackets": (
        "{common}",
        exchange(query(client="udp6")),
        '[fd00::7]:40000 - 29008 "A IN www.example.org. udp 33 false 512" NOERROR qr,aa,rd 64 0.000072118s',
    ),
    "the combined format adds the opcode": (
        "{combined}",
        exchange(),
        '10.244.0.7:40000 - 29008 "A IN www.example.org. udp 33 false 512" NOERROR qr,aa,rd 64 0.000072118s "0"',
    ),
    "OPT gives DO and the buffer": (
        "{>do} {>bufsize} {size}",
        exchange(query(use_edns=0, payload=1232, want_dnssec=True)),
        "true 1232 44",
    ),
    "a buffer is never below 512": ("{>bufsize}", exchange(query(use_edns=0, payload=100)), "512"),
    "TCP takes 65535": ("{proto} {>bufsize}", exchange(query(client="tcp", use_edns=0, payload=1232)), "tcp 65535"),
    "addresses of both ends": ("{local} {remote} {port}", exchange(), "10.96.0.10 10.244.0.7 40000"),
    "unknown types and classes have numbers": (
        "{type} {class}",
        exchange(query(type_="TYPE65280", rdclass="CH")),
        "TYPE65280 CH",
    ),
    "every flag": (
        "{>rflags}",
        exchange(
            query(flags=dns.flags.RD | dns.flags.CD),
            Answer(Rcode.NOERROR, codes.AA | codes.TC | codes.RA | codes.AD),
        ),
        "qr,aa,tc,rd,ra,ad,cd",
    ),
    "an rcode without a name": ("{rcode}", exchange(answer=Answer(3841)), "RCODE3841"),
    "silence has no rcode and no flags": (
        "{rcode} {>rflags} {rsize}",
        exchange(answer=Answer(Rcode.NOERROR, silent=True)),
        "- - 0",
    ),
    "placeholders of the header in any letter case": ("{>ID} {>rFlags}", exchange(), "29008 qr,aa,rd"),
    "others in lower case only": ("{NAME} {nothing} {", exchange(), "{NAME} {nothing} {"),
    "metadata is not there": ("{/kubernetes/client-namespace}", exchange(), "-"),
    "a percent sign is itself": ("100% {type} %s", exchange(), "100% A %s"),
    "octets of a name that would break a line are escaped": (
        "{name}",
        exchange(query(r"a\010b\"c.example.org")),
        r"a\010b\"c.example.org.",
    ),
}


@pytest.mark.parametrize("rule", LINES)
def test_a_line_says(rule: str) -> None:
    template, given_, line = LINES[rule]
    assert Template(template)(given_) == line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.000072118, "0.000072118s"), (0.5, "0.5s"), (12.0, "12s"), (0, "0s"), (-1e-9, "0s")]
)
def test_seconds_are_plain_decimals(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@given(st.floats(0, 1e4))
def test_seconds_never_have_an_exponent(seconds: float) -> None:
    assert re.fullmatch(r"\d+(\.\d*[1-9])?s", seconds_text(seconds))


CLASSES = {
    "data": (Answer(answer=(ADDRESS,)), "A", Class.SUCCESS),
    "a CNAME alone": (Answer(answer=(records.cname(OWNER, 1, OWNER),)), "A", Class.SUCCESS),
    "a referral": (Answer(authority=(NS,)), "A", Class.SUCCESS),
    "no data": (Answer(authority=(SOA,)), "A", Class.DENIAL),
    "no data, with NS beside the SOA": (Answer(authority=(NS, SOA)), "A", Class.DENIAL),
    "no data and no SOA": (Answer(), "A", Class.DENIAL),
    "no such name": (Answer(Rcode.NXDOMAIN, authority=(SOA,)), "A", Class.DENIAL),
    "SERVFAIL": (Answer(Rcode.SERVFAIL, authority=(SOA,)), "A", Class.ERROR),
    "REFUSED": (Answer(Rcode.REFUSED), "A", Class.ERROR),
    "silence": (Answer(silent=True), "A", Class.ERROR),
    "a transfer": (Answer(answer=(SOA,)), "AXFR", Class.ERROR),
}


@pytest.mark.parametrize("rule", CLASSES)
def test_an_answer_is_of_a_class(rule: str) -> None:
    answer, type_, expected = CLASSES[rule]
    assert type_number(type_)
    assert classify(query(type_=type_, client="tcp"), answer) is expected


COREFILE = """
.:53 {
    %s
    hosts {
        10.0.0.1 www.example.org
        fallthrough www.example.org gone.example.org
    }
}
"""


def asked_lines(log: str, caplog: pytest.LogCaptureFixture, *names: str) -> list[str]:
    """The lines logged for queries of type A."""
    caplog.set_level(logging.INFO, "dnsd.query")

    async def run() -> None:
        chain = harness.build(COREFILE % log)
        await harness.start(chain)
        for name in names:
            await chain.ask(name)
        await chain.instance.stop()

    asyncio.run(run())
    return [record.getMessage() for record in caplog.records if record.name == "dnsd.query"]


FORMAT = '"{name} {rcode}"'
RULES = {
    "every name by default": ("log", ["www.example.org.", "gone.example.org."]),
    "names under one": (f"log www.example.org {FORMAT}", ["www.example.org."]),
    "names in any letter case, with or without the dot": (f"log WWW.Example.ORG. {FORMAT}", ["www.example.org."]),
    "several names": (
        f"log gone.example.org www.example.org {FORMAT}",
        ["www.example.org.", "gone.example.org."],
    ),
    "a format alone is for every name": (f"log {FORMAT}", ["www.example.org.", "gone.example.org."]),
    "whole labels count": (f"log ww.example.org {FORMAT}", []),
    "one class": (f"log . {FORMAT} {{\n class success\n }}", ["www.example.org."]),
    "classes on one line": (f"log . {FORMAT} {{\n class denial error\n }}", ["gone.example.org."]),
    "classes on several lines": (
        f"log . {FORMAT} {{\n class success\n class error\n }}",
        ["www.example.org.", "gone.example.org."],
    ),
    "all beside another class is all": (
        f"log . {FORMAT} {{\n class denial all\n }}",
        ["www.example.org.", "gone.example.org."],
    ),
    "the first rule for a name is the one that counts": (
        f"log www.example.org {FORMAT} {{\n class error\n }}\n log . {FORMAT}",
        ["gone.example.org."],
    ),
    "slow answers of any class": (
        f"log . {FORMAT} {{\n class denial\n minDuration 0s\n }}",
        ["www.example.org.", "gone.example.org."],
    ),
    "no answer is that slow": (f"log . {FORMAT} {{\n class denial\n minDuration 1h\n }}", []),
}


@pytest.mark.parametrize("rule", RULES)
def test_is_logged(rule: str, caplog: pytest.LogCaptureFixture) -> None:
    log, expected = RULES[rule]
    lines = asked_lines(log, caplog, "www.example.org", "gone.example.org")
    found = [name for line in lines for name in ("www.example.org.", "gone.example.org.") if name in line]
    assert found == expected


def test_a_failure_is_logged_with_the_rcode_that_the_server_makes_of_it(caplog: pytest.LogCaptureFixture) -> None:
    assert asked_lines(f"log {FORMAT}", caplog, "gone.example.org") == ["gone.example.org. SERVFAIL"]


def test_json_has_the_reason_too() -> None:
    answer = Answer(Rcode.NXDOMAIN, codes.AA, reason=Reason("no such service"))
    found = fields(exchange(query(use_edns=0, payload=1232), answer, 0.25))
    assert json.loads(json.dumps(found)) == {
        "client": "10.244.0.7",
        "client_port": 40000,
        "server": "10.96.0.10",
        "protocol": "udp",
        "id": 29008,
        "opcode": 0,
        "name": "www.example.org.",
        "class": "IN",
        "type": "A",
        "do": False,
        "bufsize": 1232,
        "size": 44,
        "rcode": "NXDOMAIN",
        "flags": ["qr", "aa", "rd"],
        "response_size": 33,
        "duration": 0.25,
        "reason": "no such service",
    }


@pytest.mark.parametrize(
    "log",
    [
        "log {\n class nothing\n }",
        "log {\n class\n }",
        "log {\n minDuration\n }",
        "log {\n minDuration soon\n }",
        "log {\n colour blue\n }",
        "log a..b",
    ],
)
def test_is_refused(log: str) -> None:
    with pytest.raises(CorefileError):
        harness.build(COREFILE % log)


SERVER = """
.:PORT {
    bind 127.0.0.1
    %s
    hosts {
        10.0.0.1 www.example.org
    }
}
"""


def test_every_query_is_logged_however_often_it_is_repeated(tmp_path: Path) -> None:
    with dnsd(SERVER % "log example.org", tmp_path) as server:
        for _ in range(3):
            assert server.texts("www.example.org") == ["10.0.0.1"]
        line = re.compile(
            r"^\[INFO\] 127\.0\.0\.1:\d+ - \d+ "
            r'"A IN www\.example\.org\. udp 33 false 512" NOERROR qr,aa,rd 64 0\.\d+s$',
            re.MULTILINE,
        )
        eventually(lambda: len(line.findall(server.log)) == 3, "three lines")


def test_what_is_of_no_logged_class_is_answered_from_the_memo(tmp_path: Path) -> None:
    port = free_port()
    log = f"log . {{\n class error\n }}\n prometheus 127.0.0.1:{port}"
    with dnsd(SERVER % log, tmp_path) as server:
        for _ in range(3):
            assert server.texts("www.example.org") == ["10.0.0.1"]
        assert total(scrape(port), "dnsd_memo_entries", proto="udp") == 1
        assert "www.example.org" not in server.log


def test_all_lines_are_json_where_that_is_asked_for(tmp_path: Path) -> None:
    with dnsd(SERVER % "errors\n log example.org json", tmp_path, "--log-format", "json") as server:
        server.ask("www.example.org")
        server.ask("nobody.example.com")
        eventually(lambda: "nobody" in server.log, "the line of the failure")
        lines = [json.loads(line) for line in server.log.splitlines()]
    queries = [line for line in lines if "name" in line]
    assert [(line["name"], line["rcode"], line["level"]) for line in queries] == [
        ("www.example.org.", "NOERROR", "info")
    ]
    (failure,) = [line for line in lines if line.get("plugin") == "errors" and "nobody" in line["message"]]
    assert failure["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", failure["time"])
