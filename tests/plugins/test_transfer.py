"""The plugin `transfer`: whole zones over TCP to those who may have them, and NOTIFY when one changes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.cluster.sources import make_source
from dnsd.cluster.store import Clusters
from dnsd.corefile.files import glob, read
from dnsd.corefile.parser import parse
from dnsd.corefile.syntax import CorefileError
from dnsd.plugins import transfer as module
from dnsd.plugins.build import Host
from dnsd.plugins.transfer import MAX_TRANSFERS, MESSAGE_OCTETS, Transfer, notify
from dnsd.serve import tcp as tcp_module
from dnsd.serve.instance import make_instance
from dnsd.serve.server import Server
from dnsd.wire import name as names
from tests.plugins import harness
from tests.process import Dnsd, dnsd, eventually, free_port

CLUSTER = Path(__file__).parent.parent / "conformance" / "data" / "cluster.yaml"
ZONE = """\
$TTL 300
@         SOA ns admin 7 7200 3600 1209600 120
          NS  ns
          NS  ns.elsewhere.example.
          MX  10 mail
ns        A   192.0.2.53
mail      A   192.0.2.25
*.wild    TXT "anything"
a.b.deep  A   192.0.2.88
lab       NS  ns.lab
ns.lab    A   192.0.2.99
www       CNAME mail
"""
COREFILE = """\
.:PORT {
    bind 127.0.0.1
    errors
    file db example.org
    transfer example.org {
        to *
    }
}
"""
DEADLINE = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dnsd]:
    folder = tmp_path_factory.mktemp("transfer")
    (folder / "db").write_text(ZONE)
    with dnsd(COREFILE, folder) as running:
        yield running


def transferred(server: Dnsd, origin: str = "example.org") -> dns.zone.Zone:
    zone = dns.zone.Zone(origin, relativize=False)
    dns.query.inbound_xfr("127.0.0.1", zone, port=server.port, timeout=DEADLINE, lifetime=DEADLINE)
    return zone


def messages(server: Dnsd, query: dns.message.Message) -> list[dns.message.Message]:
    """Every message of a reply over TCP, until the second SOA record."""
    found: list[dns.message.Message] = []
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as sock:
        dns.query.send_tcp(sock, query, time.time() + DEADLINE)
        soas = 0
        while soas < 2:
            message, _ = dns.query.receive_tcp(sock, time.time() + DEADLINE, one_rr_per_rrset=True)
            found.append(message)
            soas += sum(rrset.rdtype == dns.rdatatype.SOA for rrset in message.answer)
            if not message.answer:
                break
    return found


def ixfr(name: str, serial: int) -> dns.message.Message:
    query = dns.message.make_query(name, "IXFR")
    query.authority.append(dns.rrset.from_text(f"{name}.", 0, "IN", "SOA", f"a. b. {serial} 1 2 3 4"))
    return query


# -- AXFR


def test_a_zone_arrives_as_it_is_in_its_file(server: Dnsd) -> None:
    assert transferred(server) == dns.zone.from_text(ZONE, "example.org", relativize=False)


def test_a_transfer_begins_and_ends_with_the_soa_record_and_has_aa(server: Dnsd) -> None:
    """RFC 5936 section 2.2."""
    (message,) = messages(server, dns.message.make_query("Example.ORG", "AXFR"))
    assert message.flags & dns.flags.AA
    assert message.question[0].name.to_text() == "Example.ORG."
    types = [rrset.rdtype for rrset in message.answer]
    assert types[0] == types[-1] == dns.rdatatype.SOA
    assert types.count(dns.rdatatype.SOA) == 2
    assert types[1:3] == [dns.rdatatype.NS, dns.rdatatype.NS]
    assert not message.authority
    assert not message.additional


def test_a_large_zone_comes_in_several_messages_in_order(tmp_path: Path) -> None:
    count = 3000
    text = ZONE + f"$GENERATE 1-{count} h$ A 192.0.2.1\n$GENERATE 1-40 big$ TXT {'x' * 250}\n"
    (tmp_path / "db").write_text(text)
    with dnsd(COREFILE, tmp_path) as server:
        query = dns.message.make_query("example.org", "AXFR")
        found = messages(server, query)
        assert len(found) > 3
        assert all(message.id == query.id and message.question == query.question for message in found)
        assert all(not message.flags & dns.flags.TC for message in found)
        assert all(len(message.to_wire()) <= MESSAGE_OCTETS for message in found)
        hosts = [rrset.name.to_text() for message in found for rrset in message.answer if rrset.name[0][:1] == b"h"]
        assert hosts == [f"h{i}.example.org." for i in range(1, count + 1)]
        assert transferred(server) == dns.zone.from_text(text, "example.org", relativize=False)
        assert server.texts("ns.example.org") == ["192.0.2.53"]
        eventually(lambda: f"example.org. went to 127.0.0.1: {count + 40 + 12} records, serial 7" in server.log)


def test_queries_behind_a_transfer_on_its_connection_are_answered_after_it(tmp_path: Path) -> None:
    """RFC 7766 section 6.2.1.1 and spec.md section 1.6: in order."""
    (tmp_path / "db").write_text(ZONE + "$GENERATE 1-3000 h$ A 192.0.2.1\n")
    with dnsd(COREFILE, tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), DEADLINE) as sock:
        for name, type_ in (("example.org", "AXFR"), ("mail.example.org", "A")):
            dns.query.send_tcp(sock, dns.message.make_query(name, type_), time.time() + DEADLINE)
        end = None
        while end is None:
            message, _ = dns.query.receive_tcp(sock, time.time() + DEADLINE, one_rr_per_rrset=True)
            end = message if message.question[0].rdtype == dns.rdatatype.A else None
        assert end.answer[0][0].to_text() == "192.0.2.25"


def test_dig_and_the_server_agree_on_the_number_of_records(server: Dnsd) -> None:
    dig = shutil.which("dig")
    if dig is None:
        pytest.skip("needs dig")
    command = [dig, "@127.0.0.1", "-p", str(server.port), "example.org", "AXFR", "+onesoa", "+noall", "+answer"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE).stdout
    assert len(output.splitlines()) == 11


# -- IXFR


@pytest.mark.parametrize(
    ("theirs", "whole"),
    [(7, False), (8, False), (6, True), (7 + 2**31 - 1, False), (7 + 2**31 + 1, True), (2**32 - 1, True), (0, True)],
)
def test_a_client_gets_the_zone_where_its_serial_is_an_older_one(theirs: int, whole: bool, server: Dnsd) -> None:
    """RFC 1995 section 4, with serials compared as in RFC 1982 section 3.2."""
    reply = dns.query.tcp(ixfr("example.org", theirs), "127.0.0.1", port=server.port, one_rr_per_rrset=True)
    assert len(reply.answer) == (12 if whole else 1)
    assert {reply.answer[0].rdtype, reply.answer[-1].rdtype} == {dns.rdatatype.SOA}


@pytest.mark.parametrize("theirs", [6, 7])
def test_over_udp_there_is_the_soa_record_alone(theirs: int, server: Dnsd) -> None:
    """RFC 1995 section 2: a client whose serial is older comes back over TCP."""
    reply = dns.query.udp(ixfr("example.org", theirs), "127.0.0.1", port=server.port)
    assert [rrset.rdtype for rrset in reply.answer] == [dns.rdatatype.SOA]


def test_a_soa_record_that_is_cut_off_is_formerr(server: Dnsd) -> None:
    wire = ixfr("example.org", 7).to_wire()
    rdata = wire[-26:]
    short = wire[:-28] + struct.pack("!H", len(rdata) - 3) + rdata[:-3]
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as sock:
        sock.sendall(struct.pack("!H", len(short)) + short)
        reply, _ = dns.query.receive_tcp(sock, time.time() + DEADLINE)
    assert reply.rcode() == dns.rcode.FORMERR


# -- who may have what


REFUSED = [
    ("AXFR over UDP", "example.org", "AXFR", False, dns.rcode.REFUSED),
    ("IXFR without a SOA record over UDP", "example.org", "IXFR", False, dns.rcode.REFUSED),
    ("IXFR without a SOA record", "example.org", "IXFR", True, dns.rcode.SERVFAIL),
    ("a name that is no zone", "www.example.org", "AXFR", True, dns.rcode.REFUSED),
    ("a zone that is not listed", "example.com", "AXFR", True, dns.rcode.REFUSED),
    ("a zone above", "org", "AXFR", True, dns.rcode.REFUSED),
]


@pytest.mark.parametrize(("what", "name", "type_", "tcp", "rcode"), REFUSED, ids=[row[0] for row in REFUSED])
def test_there_is_no_transfer_of(
    what: str, name: str, type_: str, tcp: bool, rcode: dns.rcode.Rcode, server: Dnsd
) -> None:
    reply = server.ask(name, type_, tcp=tcp)
    assert reply.rcode() == rcode
    assert not reply.answer


ALLOWED = [
    ("*", "192.0.2.1", True),
    ("*", "2001:db8::1", True),
    ("192.0.2.1", "192.0.2.1", True),
    ("192.0.2.1", "192.0.2.2", False),
    ("192.0.2.1:5353", "192.0.2.1", True),
    ("192.0.2.0/24", "192.0.2.200", True),
    ("192.0.2.0/24", "192.0.3.1", False),
    ("192.0.2.0/24", "2001:db8::1", False),
    ("2001:db8::/32", "2001:db8::1", True),
    ("2001:db8::1", "2001:db8:0::1", True),
    ("[2001:db8::1]:5353", "2001:db8::1", True),
    ("2001:db8::1", "2001:db8::2", False),
    ("192.0.2.1 198.51.100.0/24", "198.51.100.7", True),
]


@pytest.mark.parametrize(("to", "client", "allowed"), ALLOWED)
def test_to_says_who_may_have_a_zone(to: str, client: str, allowed: bool, tmp_path: Path) -> None:
    (tmp_path / "db").write_text("@ 60 SOA a b 7 2 3 4 5\n")
    corefile = f".:53 {{\n file db example.org\n transfer {{\n  to {to}\n }}\n}}"
    reply = harness.answer(corefile, "example.org", "AXFR", directory=tmp_path, client=client, protocol="tcp")
    assert reply is not None
    assert reply.rcode() == (dns.rcode.NOERROR if allowed else dns.rcode.REFUSED)
    assert bool(reply.answer) == allowed


@pytest.mark.parametrize("first", [True, False])
def test_the_rule_with_the_longest_zone_by_labels_decides(first: bool, tmp_path: Path) -> None:
    """Not the one that comes last in the alphabet, and not the last in the file."""
    (tmp_path / "db").write_text("@ 60 SOA a b 7 2 3 4 5\n")
    rules = [" transfer zzz.example {\n  to *\n }", " transfer a.zzz.example {\n  to 192.0.2.1\n }"]
    lines = "\n".join(rules if first else reversed(rules))
    corefile = f".:53 {{\n file db a.zzz.example zzz.example\n{lines}\n}}"
    for zone, rcode in (("a.zzz.example", dns.rcode.REFUSED), ("zzz.example", dns.rcode.NOERROR)):
        reply = harness.answer(corefile, zone, "AXFR", directory=tmp_path, client="192.0.2.9", protocol="tcp")
        assert reply is not None
        assert reply.rcode() == rcode


WRONG = [
    ("transfer", "'transfer' needs 'to'"),
    ("transfer {\n to\n }", "2:2: 'to' needs at least 1 argument"),
    ("transfer {\n to here\n }", "2:5: 'here' is not an IP address"),
    ("transfer {\n to 192.0.2.1:0\n }", "'0' is not a whole number from 1 to 65535"),
    ("transfer {\n to 192.0.2.0/33\n }", "'192.0.2.0/33' is not a network"),
    ("transfer {\n from 192.0.2.1\n }", "2:2: unknown option 'from'"),
]


@pytest.mark.parametrize(("lines", "message"), WRONG)
def test_a_directive_that_cannot_be_used_is_refused(lines: str, message: str) -> None:
    with pytest.raises(CorefileError) as caught:
        harness.build(f"example.org {{ {lines}\n}}")
    assert message in str(caught.value)


# -- cluster zones


def test_a_cluster_zone_has_what_queries_are_answered_with(tmp_path: Path) -> None:
    corefile = f"""\
.:PORT {{
    bind 127.0.0.1
    kubernetes cluster.local in-addr.arpa {{
        manifests {CLUSTER}
        ttl 30
    }}
    transfer {{
        to 127.0.0.1
    }}
}}
"""
    with dnsd(corefile, tmp_path) as server:
        zone = transferred(server, "cluster.local")
        found = sorted(
            (name.to_text(), rdataset.rdtype, sorted(rdata.to_text() for rdata in rdataset))
            for name, rdataset in zone.iterate_rdatasets()
        )
        for name, rdtype, texts in found:
            assert server.texts(name, dns.rdatatype.to_text(rdtype), tcp=True) == texts, name
        assert server.ask("in-addr.arpa", "AXFR", tcp=True).rcode() == dns.rcode.REFUSED
    names_ = {name for name, _, _ in found}
    for name in (
        "web.shop.svc", "_http._tcp.web.shop.svc", "db.shop.svc", "db-0.db.shop.svc", "ext.shop.svc", "both.dual.svc",
    ):  # fmt: skip
        assert f"{name}.cluster.local." in names_
    assert not any(name.endswith((".pod.cluster.local.", "in-addr.arpa.")) for name in names_)


def test_a_cluster_zone_is_servfail_before_the_first_sync(tmp_path: Path) -> None:
    async def run() -> None:
        corefile = ".:53 {\n kubernetes cluster.local {\n  manifests nothing.yaml\n }\n transfer {\n  to *\n }\n}"
        reply = await harness.build(corefile, tmp_path).ask("cluster.local", "AXFR", protocol="tcp")
        assert reply is not None
        assert reply.rcode() == dns.rcode.SERVFAIL

    asyncio.run(run())


# -- limits


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, zone: str) -> AsyncIterator[tuple[int, Transfer]]:
    """A server in this event loop: its port, and its plugin."""
    (tmp_path / "db").write_text(zone)
    clusters = Clusters(make_source, ())
    blocks = parse(COREFILE.replace("PORT", str(free_port())), "Corefile", environment={}, read=read, glob=glob)
    instance = make_instance(blocks, Host(str(tmp_path), clusters, time.monotonic, dict))
    server = Server(time.monotonic)
    await server.start(instance)
    await instance.start()
    (plugin,) = [plugin for plugin in instance.plugins if isinstance(plugin, Transfer)]
    try:
        yield next(iter(server.listeners)).port, plugin
    finally:
        await server.close()
        await instance.stop()


async def until(what: object, text: str) -> None:
    assert callable(what)
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, text
        await asyncio.sleep(0.01)


LARGE = ZONE + "$GENERATE 1-20000 h$ TXT " + "x" * 250 + "\n"
"""More than socket buffers and ours take together."""


def test_a_client_that_does_not_read_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(tcp_module, "IDLE_SECONDS", 60.0)

    async def run() -> None:
        async with serving(tmp_path, LARGE) as (port, plugin):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            query = dns.message.make_query("example.org", "AXFR").to_wire()
            writer.write(struct.pack("!H", len(query)) + query)
            await until(lambda: plugin.running == 1, "the transfer")
            await until(lambda: plugin.running == 0, "the end of the transfer")
            with contextlib.suppress(ConnectionError):
                while await reader.read(65536):
                    pass
            writer.close()

    asyncio.run(run())


def test_more_transfers_than_the_limit_are_refused_until_one_ends(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, LARGE) as (port, plugin):
            query = dns.message.make_query("example.org", "AXFR").to_wire()
            framed = struct.pack("!H", len(query)) + query
            slow = [await asyncio.open_connection("127.0.0.1", port, limit=1024) for _ in range(MAX_TRANSFERS)]
            for _, writer in slow:
                writer.write(framed)
            await until(lambda: plugin.running == MAX_TRANSFERS, "the transfers")

            async def rcode() -> dns.rcode.Rcode:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(framed)
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = dns.message.from_wire(await reader.readexactly(length))
                writer.transport.abort()
                return reply.rcode()

            assert await rcode() == dns.rcode.SERVFAIL
            slow[0][1].transport.abort()
            await until(lambda: plugin.running < MAX_TRANSFERS, "the end of one")
            assert await rcode() == dns.rcode.NOERROR
            for _, writer in slow:
                writer.transport.abort()
            await until(lambda: plugin.running == 0, "the end of all")

    asyncio.run(run())


def test_a_transfer_that_breaks_closes_its_connection_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(contents: module.Contents) -> Iterator[list[object]]:
        yield [contents.soa]
        raise RuntimeError("no more of it")

    monkeypatch.setattr(module, "_parts", broken)

    async def run() -> None:
        async with serving(tmp_path, ZONE) as (port, plugin):
            for name, type_, messages in (("example.org", "AXFR", 1), ("mail.example.org", "A", 1)):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                query = dns.message.make_query(name, type_).to_wire()
                writer.write(struct.pack("!H", len(query)) + query)
                for _ in range(messages):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    assert dns.message.from_wire(await reader.readexactly(length)).answer
                if type_ == "AXFR":
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
                writer.close()
            assert plugin.running == 0

    asyncio.run(run())
    assert "a reply to 127.0.0.1 broke off" in caplog.text


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**31 - 1))
def test_a_serial_is_newer_than_one_before_it_and_never_the_other_way_round(serial: int, step: int) -> None:
    """RFC 1982 section 3.2."""
    later = (serial + step) % 2**32
    assert module._is_newer(later, serial)
    assert not module._is_newer(serial, later)
    assert not module._is_newer(serial, serial)


# -- NOTIFY


class Secondary:
    """A UDP socket that takes NOTIFY, and answers as it is told to."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(DEADLINE)
        self.port: int = self.sock.getsockname()[1]

    def receive(
        self, *, rcode: dns.rcode.Rcode | None = dns.rcode.NOERROR, id_: int | None = None
    ) -> dns.message.Message:
        data, peer = self.sock.recvfrom(512)
        query = dns.message.from_wire(data)
        if rcode is not None:
            reply = dns.message.make_response(query)
            reply.set_rcode(rcode)
            reply.id = query.id if id_ is None else id_
            self.sock.sendto(reply.to_wire(), peer)
        return query


@pytest.fixture
def secondary() -> Iterator[Secondary]:
    found = Secondary()
    yield found
    found.sock.close()


def test_secondaries_are_told_at_the_start_and_when_the_serial_changes(tmp_path: Path, secondary: Secondary) -> None:
    (tmp_path / "db").write_text(ZONE)
    corefile = f"""\
.:PORT {{
    bind 127.0.0.1
    file db example.org {{
        reload 100ms
    }}
    transfer {{
        to * 127.0.0.1:{secondary.port} 192.0.2.0/24
    }}
}}
"""
    with dnsd(corefile, tmp_path) as server:
        first = secondary.receive()
        assert first.opcode() == dns.opcode.NOTIFY
        assert first.flags & dns.flags.AA
        assert [(q.name.to_text(), q.rdtype) for q in first.question] == [("example.org.", dns.rdatatype.SOA)]
        eventually(lambda: "knows that example.org. changed" in server.log)
        (tmp_path / "new").write_text(ZONE.replace("admin 7", "admin 8"))
        (tmp_path / "new").rename(tmp_path / "db")
        second = secondary.receive()
        assert second.id != first.id or second.to_wire() == first.to_wire()
        assert dns.zone.Zone.get_soa(transferred(server)).serial == 8


def tell(secondary: Secondary, *replies: dict[str, object]) -> list[dns.message.Message]:
    """The messages that arrive when a notifier tells a secondary that answers so."""

    async def run() -> list[dns.message.Message]:
        notifier = notify.Notifier()
        notifier.tell(names.from_text("example.org"), ("127.0.0.1", secondary.port))
        found = [await asyncio.to_thread(secondary.receive, **reply) for reply in replies]  # type: ignore[arg-type]
        await until(lambda: not notifier._tasks, "the end of telling")
        return found

    return asyncio.run(run())


def test_a_secondary_that_is_silent_is_told_some_times_and_left(
    secondary: Secondary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "ANSWER_SECONDS", 0.05)
    silent: dict[str, object] = {"rcode": None}
    found = tell(secondary, *[silent] * notify.ATTEMPTS)
    assert len({message.id for message in found}) > 1
    assert "did not answer to NOTIFY of example.org." in caplog.text


def test_an_answer_with_another_id_is_passed_over(secondary: Secondary, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def wrong_then_right() -> None:
        data, peer = secondary.sock.recvfrom(512)
        reply = dns.message.make_response(dns.message.from_wire(data))
        right = reply.id
        for wire in (b"", data, b"\xff"):
            secondary.sock.sendto(wire, peer)
        reply.id = right ^ 1
        reply.set_rcode(dns.rcode.REFUSED)
        secondary.sock.sendto(reply.to_wire(), peer)
        reply.id = right
        reply.set_rcode(dns.rcode.NOERROR)
        secondary.sock.sendto(reply.to_wire(), peer)

    async def run() -> None:
        notifier = notify.Notifier()
        notifier.tell(names.from_text("example.org"), ("127.0.0.1", secondary.port))
        await asyncio.to_thread(wrong_then_right)
        await until(lambda: not notifier._tasks, "the end of telling")

    asyncio.run(run())
    assert "knows that example.org. changed" in caplog.text
    assert "REFUSED" not in caplog.text


def test_a_secondary_that_refuses_is_told_once(secondary: Secondary, caplog: pytest.LogCaptureFixture) -> None:
    tell(secondary, {"rcode": dns.rcode.REFUSED})
    assert "answered REFUSED to NOTIFY of example.org." in caplog.text


def test_one_task_tells_a_secondary_about_a_zone_however_often_it_changes(secondary: Secondary) -> None:
    async def run() -> None:
        notifier = notify.Notifier()
        for _ in range(50):
            notifier.tell(names.from_text("example.org"), ("127.0.0.1", secondary.port))
        assert len(notifier._tasks) == 1
        await notifier.stop()
        await until(lambda: not notifier._tasks, "the end of telling")

    asyncio.run(run())


# -- a real secondary


def test_nsd_fetches_a_zone_and_fetches_it_again_when_it_is_told(tmp_path: Path) -> None:
    nsd = shutil.which("nsd")
    if nsd is None:
        pytest.skip("needs nsd")
    port = free_port()
    (tmp_path / "db").write_text(ZONE)
    corefile = f"""\
.:PORT {{
    bind 127.0.0.1
    file db example.org {{
        reload 100ms
    }}
    transfer {{
        to 127.0.0.1:{port}
    }}
}}
"""
    with dnsd(corefile, tmp_path) as server:
        (tmp_path / "nsd.conf").write_text(f"""\
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    zonesdir: "{tmp_path}"
    database: ""
    pidfile: "{tmp_path}/nsd.pid"
    xfrdfile: "{tmp_path}/xfrd.state"
    xfrdir: "{tmp_path}"
    zonelistfile: "{tmp_path}/zone.list"
    server-count: 1
remote-control:
    control-enable: no
zone:
    name: example.org
    allow-notify: 127.0.0.1 NOKEY
    request-xfr: 127.0.0.1@{server.port} NOKEY
""")
        with subprocess.Popen([nsd, "-d", "-c", str(tmp_path / "nsd.conf")], stderr=subprocess.DEVNULL) as process:
            try:
                eventually(lambda: address(port, "mail.example.org") == ["192.0.2.25"], "the zone at NSD")
                (tmp_path / "new").write_text(ZONE.replace("admin 7", "admin 8").replace("192.0.2.25", "192.0.2.26"))
                (tmp_path / "new").rename(tmp_path / "db")
                eventually(lambda: address(port, "mail.example.org") == ["192.0.2.26"], "the new zone at NSD")
            finally:
                process.terminate()


def address(port: int, name: str) -> list[str]:
    """What a server at a port answers, or nothing."""
    try:
        reply = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=1)
    except (OSError, dns.exception.DNSException):
        return []
    return [rdata.to_text() for rdata in itertools.chain.from_iterable(reply.answer)]
