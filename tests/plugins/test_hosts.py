"""`hosts`: addresses and names from lines of text (hosts(5))."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.plugins.hosts import MAX_ADDRESSES, MAX_NAMES, Hosts, Settings, parse
from dnsd.resolve.answer import Answer
from tests.plugins import harness
from tests.plugins.asking import Next, make_query, plugin, refused, resolve, run, samples, warnings
from tests.plugins.harness import answer, records
from tests.process import dnsd, eventually

INLINE = """. {
    hosts /nowhere {
        192.0.2.5 inline.test Other.Test.
        2001:db8::5 inline.test
        192.0.2.6 two.test
        192.0.2.7 two.test
        ttl 77
    }
}"""


def ask(corefile: str, name: str, type_: str, directory: Path | str = ".") -> list[str] | str:
    """The texts of the answer's records, the rcode where it is not NOERROR, or that the query passed to `whoami`."""
    reply = answer(corefile, name, type_, directory=directory)
    assert reply is not None
    if reply.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(reply.rcode())
    if reply.additional:
        return "passed"
    assert reply.authority == []
    assert all(owner.lower() == f"{name.lower()}." for owner, *_ in records(reply.answer))
    return [text for *_, text in records(reply.answer)]


@pytest.mark.parametrize(
    ("rule", "name", "type_", "expected"),
    [
        ("an IPv4 address", "inline.test", "A", ["192.0.2.5"]),
        ("an IPv6 address", "inline.test", "AAAA", ["2001:db8::5"]),
        ("a second name of a line", "other.test", "A", ["192.0.2.5"]),
        ("several addresses of a name", "two.test", "A", ["192.0.2.6", "192.0.2.7"]),
        ("letter case does not matter", "INLINE.Test", "A", ["192.0.2.5"]),
        ("a name that exists has no other types", "inline.test", "TXT", []),
        ("nor addresses of the other family", "two.test", "AAAA", []),
        ("nor anything for ANY", "inline.test", "ANY", []),
        ("names of an address", "5.2.0.192.in-addr.arpa", "PTR", ["inline.test.", "other.test."]),
        ("an address has nothing but names", "5.2.0.192.in-addr.arpa", "A", "SERVFAIL"),
        ("hosts files have no SOA record to say NXDOMAIN with", "nosuch.test", "A", "SERVFAIL"),
    ],
)
def test_lines_of_the_corefile(rule: str, name: str, type_: str, expected: list[str] | str) -> None:
    assert ask(INLINE, name, type_) == expected, rule


def test_names_of_an_ipv6_address() -> None:
    name = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
    assert ask(INLINE, name, "PTR") == ["inline.test."]


def test_answers_are_authoritative_and_have_the_ttl() -> None:
    reply = answer(INLINE, "inline.test", "A")
    assert reply is not None
    assert reply.flags & dns.flags.AA
    assert [rrset.ttl for rrset in reply.answer] == [77]


FILE = """\
# a comment
127.0.0.1   localhost      # another
192.0.2.1   a.test b.test
::1%lo      localhost

nonsense    c.test
192.0.2.9
192.0.2.2   bad..name d.test
192.0.2.1   a.test
192.0.2.3   e.example
"""


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("a.test", "A", ["192.0.2.1"]),
        ("b.test", "A", ["192.0.2.1"]),
        ("c.test", "A", "SERVFAIL"),
        ("d.test", "A", "SERVFAIL"),
        ("localhost", "A", ["127.0.0.1"]),
        ("localhost", "AAAA", ["::1"]),
        ("1.2.0.192.in-addr.arpa", "PTR", ["a.test.", "b.test."]),
    ],
)
def test_lines_of_a_file(name: str, type_: str, expected: list[str] | str, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(FILE)
    assert ask(". {\nhosts hosts\n}", name, type_, tmp_path) == expected


def test_lines_that_cannot_be_used_are_counted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        parse(FILE, "hosts", Settings(((),)))
    assert caplog.messages == ["hosts: 3 lines are no address with names, the first is line 6"]


def test_the_file_and_the_corefile_add_up(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("192.0.2.1 a.test\n192.0.2.2 a.test\n")
    corefile = ". {\nhosts hosts {\n192.0.2.2 a.test\n192.0.2.3 a.test\n}\n}"
    assert ask(corefile, "a.test", "A", tmp_path) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


@pytest.mark.parametrize(
    ("rule", "name", "expected"),
    [
        ("a name in a zone", "x.a.test", ["192.0.2.1"]),
        ("a name in a line and in no zone goes on", "b.test", "passed"),
        ("a name in a zone and in no line does not", "y.a.test", "SERVFAIL"),
    ],
)
def test_zones(rule: str, name: str, expected: list[str] | str) -> None:
    corefile = ". {\nhosts /nowhere a.test {\n192.0.2.1 x.a.test b.test\n}\nwhoami\n}"
    assert ask(corefile, name, "A") == expected, rule


def test_addresses_are_in_every_zone() -> None:
    corefile = "a.test in-addr.arpa {\nhosts /nowhere a.test {\n192.0.2.1 x.a.test\n}\n}"
    assert ask(corefile, "1.2.0.192.in-addr.arpa", "PTR") == ["x.a.test."]


def test_a_line_in_no_zone_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    plugin("hosts /nowhere a.test {\n192.0.2.1 b.test\n}")
    assert warnings(caplog) == ["Corefile:3:11: 'b.test' is in no zone of 'hosts', and is never answered"]


@pytest.mark.parametrize(
    ("option", "name", "type_", "expected"),
    [
        ("fallthrough", "nosuch.test", "A", "passed"),
        ("fallthrough test", "nosuch.test", "A", "passed"),
        ("fallthrough example", "nosuch.test", "A", "SERVFAIL"),
        ("", "nosuch.test", "A", "SERVFAIL"),
        ("", "9.2.0.192.in-addr.arpa", "PTR", "passed"),
        ("", "a.test", "PTR", "passed"),
        ("no_reverse", "1.2.0.192.in-addr.arpa", "PTR", "passed"),
        ("fallthrough", "a.test", "AAAA", []),
    ],
)
def test_what_goes_on_to_the_next_plugin(option: str, name: str, type_: str, expected: list[str] | str) -> None:
    corefile = f". {{\nhosts /nowhere {{\n192.0.2.1 a.test\n{option}\n}}\nwhoami\n}}"
    assert ask(corefile, name, type_) == expected


def test_an_answer_is_right_until_the_file_changes() -> None:
    key = frozenset({("hosts", "/nowhere")})
    assert resolve(INLINE, "inline.test", "A").validity.keys == key
    passed = run(plugin("hosts /nowhere {\nfallthrough\n}"), make_query("a.test"), Next())
    assert passed.validity.keys == key


def test_a_change_drops_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.1 a.test\n")
    chain = harness.build(". {\nhosts hosts {\nreload 1ms\n}\n}", tmp_path)
    dropped: list[frozenset[tuple[str | bytes, ...]]] = []
    chain.clusters.listeners.append(dropped.append)

    async def scenario() -> list[tuple[str, int, str, str]]:
        await harness.start(chain)
        try:
            path.write_text("192.0.2.22 a.test\n")
            while not dropped:
                await asyncio.sleep(0.001)
            reply = await chain.ask("a.test")
            assert reply is not None
            return records(reply.answer)
        finally:
            await chain.instance.stop()

    found = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert found == [("a.test.", 3600, "A", "192.0.2.22")]
    assert dropped == [frozenset({("hosts", str(path))})]


def test_a_server_answers_from_the_file_as_it_is_now(tmp_path: Path) -> None:
    """A kept answer, a kept negative answer, a file that goes and comes back: asked of a real server."""
    path = tmp_path / "hosts"
    path.write_text("192.0.2.1 a.test\n")
    corefile = f".:PORT {{\nbind 127.0.0.1\nhosts {path} {{\n192.0.2.5 inline.test\nreload 10ms\nfallthrough\n}}\n"
    corefile += f"file {tmp_path / 'zone'} test\n}}"
    (tmp_path / "zone").write_text("@ 60 IN SOA ns admin 1 2 3 4 60\n@ 60 IN NS ns\n")
    with dnsd(corefile, tmp_path) as server:
        assert (server.texts("a.test"), server.texts("b.test")) == (["192.0.2.1"], [])
        path.write_text("192.0.2.2 a.test b.test\n")
        eventually(lambda: server.texts("a.test") == server.texts("b.test") == ["192.0.2.2"])
        path.unlink()
        eventually(lambda: "No such file" in server.log)
        assert (server.texts("a.test"), server.texts("inline.test")) == (["192.0.2.2"], ["192.0.2.5"])
        path.write_text("192.0.2.3 a.test\n")
        eventually(lambda: server.texts("a.test") == ["192.0.2.3"])


def test_a_file_that_is_not_there_is_warned_of_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    subject = plugin("hosts /nowhere/hosts {\nreload 0\n}")
    assert caplog.messages == []
    asyncio.run(subject.start())
    assert warnings(caplog) == ["/nowhere/hosts: No such file or directory"]


def test_reload_0_looks_once(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("192.0.2.1 a.test\n")

    async def scenario() -> int:
        subject = plugin("hosts hosts {\nreload 0\n}", tmp_path)
        await subject.start()
        others = len(asyncio.all_tasks()) - 1
        await subject.stop()
        return others

    assert asyncio.run(scenario()) == 0


def test_metrics(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.1 a.test b.test\n")
    subject = plugin("hosts hosts {\n192.0.2.5 inline.test\n}", tmp_path)
    assert samples(subject) == {
        ("coredns_hosts_entries", str(path)): 6,
        ("coredns_hosts_reload_timestamp_seconds",): path.stat().st_mtime,
    }


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@given(st.lists(st.tuples(st.ip_addresses(), st.lists(NAMES, min_size=1, max_size=3)), max_size=8))
def test_a_table_says_what_its_lines_say(lines: list[tuple[object, list[str]]]) -> None:
    text = "\n".join(f"{address}\t{' '.join(names)} # and so on" for address, names in lines)
    table = parse(text, "hosts", Settings(((),)))
    pairs = {(str(address), name) for address, names in lines for name in names}
    assert sum(map(len, table.addresses.values())) == sum(map(len, table.names.values()))
    mapped = {pair for pair in pairs if pair[0].startswith("::ffff:")}
    assert len(pairs) - len(mapped) <= sum(map(len, table.addresses.values())) <= len(pairs)
    assert {b".".join(name).decode() for name in table.addresses} == {name for _, name in pairs}


def test_a_table_has_limits() -> None:
    many = [f"10.{i >> 8}.{i & 255}.1 a.test" for i in range(MAX_ADDRESSES + 1)]
    common = [f"0.0.0.0 n{i}.test" for i in range(MAX_NAMES + 1)]
    table = parse("\n".join([*many, *common]), "hosts", Settings(((),)))
    assert len(table.addresses[b"a", b"test"]) == MAX_ADDRESSES
    assert len(table.names[bytes(4)]) == MAX_NAMES
    assert len(table.addresses) == 1 + MAX_NAMES + 1


@given(st.text(max_size=200))
def test_no_text_breaks_a_table(text: str) -> None:
    parse(text, "hosts", Settings(((),)))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("ttl 0", "'0' is not a whole number from 1 to 65535"),
        ("ttl 65536", "'65536' is not a whole number from 1 to 65535"),
        ("reload often", "'often' is not a duration"),
        ("reload 5", "'5' is not a duration"),
        ("no_reverse now", "'now' is too much"),
        ("192.0.2.1", "'192.0.2.1' needs at least 1 argument, not 0"),
        ("192.0.2.1 bad..name", "empty label in name"),
        ("192.0.2.256 a.test", "unknown option '192.0.2.256'"),
        ("falltrough", "unknown option 'falltrough' (did you mean 'fallthrough'?)"),
    ],
)
def test_what_is_wrong_is_said(options: str, error: str) -> None:
    assert error in refused(f". {{\nhosts {{\n{options}\n}}\n}}")


def test_it_can_be_used_once() -> None:
    assert "'hosts' can be used once in a server block" in refused(". {\nhosts a\nhosts b\n}")


def test_the_usual_file_is_that_of_the_host() -> None:
    subject = plugin("hosts")
    assert isinstance(subject, Hosts)
    assert ("coredns_hosts_entries", "/etc/hosts") in samples(subject)
    assert run(subject, make_query("localhost")) != Answer()
