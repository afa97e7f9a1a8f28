"""`bind`: the addresses of a block's listeners."""

from __future__ import annotations

import time

import pytest

from dnsd.cluster.sources import make_source
from dnsd.cluster.store import Clusters
from dnsd.corefile.parser import parse
from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.build import Host
from dnsd.serve.instance import make_instance

INTERFACES = {"lo": ["127.0.0.1", "::1"], "eth0": ["10.0.0.5", "fe80::1%eth0"]}

TABLE = [
    # directives, the addresses listened on
    ("", ["dns://:53"]),
    ("bind 127.0.0.1", ["dns://127.0.0.1:53"]),
    ("bind 127.0.0.1 ::1", ["dns://127.0.0.1:53", "dns://[::1]:53"]),
    ("bind 127.0.0.1\nbind ::1", ["dns://127.0.0.1:53", "dns://[::1]:53"]),
    ("bind lo", ["dns://127.0.0.1:53", "dns://[::1]:53"]),
    ("bind lo {\nexcept ::1\n}", ["dns://127.0.0.1:53"]),
    ("bind lo eth0 {\nexcept 127.0.0.1 ::1\n}", ["dns://10.0.0.5:53", "dns://[fe80::1%eth0]:53"]),
    ("bind 127.0.0.1 lo", ["dns://127.0.0.1:53", "dns://[::1]:53"]),
    ("bind 0:0:0:0:0:0:0:1", ["dns://[::1]:53"]),
]


def addresses(corefile: str) -> list[str]:
    blocks = parse(corefile, "Corefile", environment={}, read=str, glob=lambda pattern: [pattern])
    host = Host(".", Clusters(make_source), time.monotonic, lambda: INTERFACES)
    return [str(address) for address in make_instance(blocks, host).fronts]


@pytest.mark.parametrize(("directives", "expected"), TABLE, ids=[row[0] or "nothing" for row in TABLE])
def test_listens_on(directives: str, expected: list[str]) -> None:
    assert addresses(f". {{\n{directives}\nwhoami\n}}\n") == expected


MISTAKES = [
    ("bind", "2:1"),
    ("bind 10.0.0.999", "2:6"),
    ("bind nothing0", "2:6"),
    ("bind lo {\nbut ::1\n}", "3:1"),
    ("bind lo {\nexcept\n}", "3:1"),
]


@pytest.mark.parametrize(("directives", "place"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistakes_are_told_with_their_place(directives: str, place: str) -> None:
    with pytest.raises(CorefileError) as error:
        addresses(f". {{\n{directives}\nwhoami\n}}\n")
    assert str(error.value).startswith(f"Corefile:{place}: ")


OVERLAPS = [
    "a.test {\nbind 127.0.0.1\nwhoami\n}\na.test {\nbind 127.0.0.1\nwhoami\n}\n",
    "a.test {\nbind 127.0.0.1\nwhoami\n}\na.test {\nwhoami\n}\n",
    "a.test {\nwhoami\n}\na.test {\nbind 127.0.0.1\nwhoami\n}\n",
]


@pytest.mark.parametrize("corefile", OVERLAPS, ids=["bound twice", "bound, then not", "not bound, then bound"])
def test_one_zone_has_one_block_an_address(corefile: str) -> None:
    with pytest.raises(CorefileError, match=r"already served on port 53"):
        addresses(corefile)


def test_one_zone_may_be_served_on_several_addresses_and_ports() -> None:
    corefile = "a.test {\nbind 127.0.0.1\nwhoami\n}\na.test {\nbind ::1\nwhoami\n}\na.test:54 {\nwhoami\n}\n"
    assert addresses(corefile) == ["dns://127.0.0.1:53", "dns://[::1]:53", "dns://:54"]
