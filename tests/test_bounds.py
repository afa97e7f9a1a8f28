"""Every named limit of dnsd is reached by a test.

A limit is a constant of a module whose name begins with MAX_. A test reaches it if it names it, in a file that imports
from the limit's module; or if it is named here.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dnsd.cli import serve as cli
from dnsd.cluster.api import connection
from dnsd.cluster.index import Index
from dnsd.cluster.schema import MAX_SOA_TTL
from dnsd.corefile.syntax import CorefileError, Position, Word
from dnsd.plugins import directive, file, k8s_external, loadbalance, template, textfile
from dnsd.plugins.file import fields
from dnsd.plugins.forward import directive as forward_directive
from dnsd.plugins.forward import engine, targets
from dnsd.plugins.forward.settings import Stanza
from dnsd.serve import supervisor
from dnsd.wire.codes import Rcode
from tests.cluster.apiobjects import namespace, service
from tests.cluster.asking import cluster
from tests.plugins import harness
from tests.plugins.asking import make_query
from tests.plugins.forward.scripted import Desk

ROOT = Path(__file__).parent.parent

BY_VALUE = {
    # limit: the file of the test that reaches it, and what in it is at the limit or one beyond
    "dnsd.cluster.api.watch.MAX_PAGE_OCTETS": ("cluster/test_api.py", "([5_000_000] * 2, ["),
    "dnsd.cluster.schema.MAX_POD_EXTRA_LABELS": ("cluster/test_schema.py", "a.b.c.1-2-3-4.ns1.pod"),
    "dnsd.corefile.read.MAX_DURATION": ("corefile/test_read.py", "2600000h"),
    "dnsd.corefile.zones.MAX_PORT": ("corefile/test_errors.py", "a:65536"),
    "dnsd.corefile.zones.MAX_NAME_OCTETS": ("corefile/test_errors.py", "name of 256 octets"),
    "dnsd.corefile.zones.MAX_LABEL_OCTETS": ("corefile/test_parser.py", "63 octets in a label"),
    "dnsd.plugins.bufsize.MAX_OCTETS": ("plugins/test_bufsize.py", '"4097"'),
    "dnsd.plugins.cache.settings.MAX_SERVFAIL": ("plugins/cache/test_settings.py", "servfail 6m"),
    "dnsd.plugins.cache.settings.MAX_RECHECK": ("plugins/cache/test_settings.py", "serve_stale 1h immediate 30s 6m"),
    "dnsd.plugins.chaos.MAX_STRING": ("plugins/test_chaos.py", "'x' * 256"),
    "dnsd.plugins.hosts.MAX_TTL": ("plugins/test_hosts.py", "ttl 65536"),
    "dnsd.plugins.k8s_external.MAX_TTL": ("plugins/test_k8s_external.py", "ttl 3601"),
    "dnsd.plugins.kubernetes_settings.MAX_TTL": ("plugins/test_kubernetes.py", "ttl 3601"),
    "dnsd.plugins.nsid.MAX_OCTETS": ("plugins/test_nsid.py", "'x' * 129"),
    "dnsd.plugins.rewrite.options.MAX_DATA": ("plugins/test_rewrite.py", "'x' * 513"),
    "dnsd.plugins.rewrite.options.MAX_CODE": ("plugins/test_rewrite.py", "0x10000"),
    "dnsd.plugins.timeouts.MAX_SECONDS": ("plugins/test_timeouts.py", "idle 25h"),
    "dnsd.wire.name.MAX_LABEL": ("wire/test_name.py", '"a" * 64'),
    "dnsd.serve.tcp.MAX_UNREAD": ("serve/test_tcp.py", "test_a_client_that_does_not_read_is_left_and_holds_little"),
}
ENFORCED_BELOW = {
    "dnsd.plugins.forward.https.MAX_CONNECTIONS": "aiohttp's connector keeps to it",
    "dnsd.plugins.forward.udp.MAX_REPLY": "recv(2) returns no more",
    "dnsd.plugins.forward.udp.MAX_READY": "epoll_wait(2) returns no more",
}
"""Limits that are handed to somebody whose own tests reach them."""


def limits() -> list[str]:
    """`MODULE.NAME` of every limit."""
    found = []
    for path in sorted((ROOT / "dnsd").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(target, ast.Name) and target.id.startswith("MAX_"):
                found.append(f"{module}.{target.id}")
    return found


TESTS = {path: path.read_text() for path in sorted((ROOT / "tests").rglob("*.py"))}


def named_by_a_test(limit: str) -> bool:
    module, _, name = limit.rpartition(".")
    package, _, last = module.rpartition(".")
    imports = re.compile(rf"(from|import) {re.escape(module)}\b|from {re.escape(package)} import .*\b{last}\b")
    uses = re.compile(rf"\b{name}\b")
    return any(imports.search(text) and uses.search(text) for text in TESTS.values())


@pytest.mark.parametrize("limit", limits())
def test_every_limit_has_a_test(limit: str) -> None:
    if limit in BY_VALUE:
        file, text = BY_VALUE[limit]
        assert text in (ROOT / "tests" / file).read_text()
    else:
        assert limit in ENFORCED_BELOW or named_by_a_test(limit)


def test_what_is_named_here_is_a_limit() -> None:
    assert {*BY_VALUE, *ENFORCED_BELOW} <= set(limits())


# -- limits that have no better place


def word(text: str) -> Word:
    return Word(text, Position("Corefile", 1, 1))


def test_there_are_no_more_workers_than_anybody_has_use_for() -> None:
    assert cli._workers(str(cli.MAX_WORKERS)) == cli.MAX_WORKERS
    for text in (str(cli.MAX_WORKERS + 1), "0", "-1", "many"):
        with pytest.raises(argparse.ArgumentTypeError):
            cli._workers(text)


@pytest.mark.parametrize("length", [supervisor.MAX_MESSAGE + 1, 2**31])
def test_a_channel_that_announces_too_much_is_broken(length: int) -> None:
    async def run() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(supervisor._LENGTH.pack(length) + b"x" * 100)
        assert await supervisor.receive(reader) is None

    asyncio.run(run())


def test_a_file_that_names_upstreams_is_not_read_without_end(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    filler = "#" * (targets.MAX_RESOLV_CONF - 1) + "\n"
    path.write_text("nameserver 192.0.2.1\n" + filler + "nameserver 192.0.2.2\n")
    assert [target.host for target in targets._resolv_conf(word("resolv.conf"), path)] == ["192.0.2.1"]


def test_ports_and_rcodes_of_directives_have_an_end() -> None:
    assert directive.listen_address(word(f":{directive.MAX_PORT}")) == ":65535"
    with pytest.raises(CorefileError):
        directive.listen_address(word(f":{directive.MAX_PORT + 1}"))
    assert directive.rcode(word(str(directive.MAX_RCODE))) == directive.MAX_RCODE
    with pytest.raises(CorefileError):
        directive.rcode(word(str(directive.MAX_RCODE + 1)))


def test_strings_of_zone_files_have_255_octets_at_most() -> None:
    assert fields._string("x" * fields.MAX_STRING) == b"\xff" + b"x" * 255
    with pytest.raises(fields.BadField, match="256 octets"):
        fields._string("x" * (fields.MAX_STRING + 1))


def test_weights_have_an_end() -> None:
    assert loadbalance.parse_weights(f"a.test\n192.0.2.1 {loadbalance.MAX_WEIGHT}\n", "weights")
    with pytest.raises(textfile.Unreadable, match=":2: the weight '256'"):
        loadbalance.parse_weights(f"a.test\n192.0.2.1 {loadbalance.MAX_WEIGHT + 1}\n", "weights")


def test_extended_rcodes_need_an_opt_record() -> None:
    beyond = directive.MAX_HEADER_RCODE + 1
    assert directive.tellable(directive.MAX_HEADER_RCODE, make_query("a.test", use_edns=False)) == 15
    assert directive.tellable(beyond, make_query("a.test", use_edns=False)) == Rcode.SERVFAIL
    assert directive.tellable(beyond, make_query("a.test", use_edns=0)) == beyond


def test_expressions_have_an_end() -> None:
    assert directive.pattern(word("a" * directive.MAX_PATTERN))
    with pytest.raises(CorefileError, match=f"of {directive.MAX_PATTERN + 1} characters"):
        directive.pattern(word("a" * (directive.MAX_PATTERN + 1)))


def test_patience_with_upstreams_has_an_end() -> None:
    corefile = ". {{\n forward . 192.0.2.1 {{\n  read_timeout {seconds}s\n }}\n}}\n"
    harness.build(corefile.format(seconds=int(forward_directive.MAX_READ_TIMEOUT)))
    with pytest.raises(CorefileError, match="3:16: "):
        harness.build(corefile.format(seconds=int(forward_directive.MAX_READ_TIMEOUT) + 1))


def test_a_failure_names_so_many_attempts_and_no_more() -> None:
    desk = Desk(Stanza((), ()), upstreams=2 * engine.MAX_NOTES)
    for channel in desk.udp + desk.tcp:
        channel.refuses = True
    waiter = desk.ask()
    desk.wait(engine.DEADLINE + 1.0)
    assert waiter.text.count("connection refused") == engine.MAX_NOTES


def test_codes_of_extended_errors_have_16_bits() -> None:
    corefile = ". {{\n template IN A {{\n  rcode REFUSED\n  ederror {code}\n }}\n}}\n"
    harness.build(corefile.format(code=template.MAX_EDE))
    with pytest.raises(CorefileError, match=f"from 0 to {template.MAX_EDE}"):
        harness.build(corefile.format(code=template.MAX_EDE + 1))


def test_a_zone_file_that_leads_in_circles_ends(tmp_path: Path) -> None:
    """Two zones whose names point at each other: every turn is counted, up to MAX_DEPTH of dnsd.plugins.file."""
    for zone, other in (("a.test", "b.test"), ("b.test", "a.test")):
        soa = f"@ 60 IN SOA ns.{zone}. admin.{zone}. 1 60 60 60 60\n"
        (tmp_path / zone).write_text(f"$ORIGIN {zone}.\n{soa}@ 60 IN NS ns.{zone}.\nloop 60 IN CNAME loop.{other}.\n")
    corefile = f". {{\n file {tmp_path}/a.test a.test\n file {tmp_path}/b.test b.test\n}}\n"
    reply = harness.answer(corefile, "loop.a.test")
    assert reply is not None
    assert reply.rcode() == 0
    assert 1 <= sum(map(len, reply.answer)) <= file.MAX_DEPTH + 1


def test_external_names_that_lead_in_circles_end(tmp_path: Path) -> None:
    """A load balancer whose host name is the Service's own external name."""
    item = service("shop", "web", "10.96.0.1")
    item["status"] = {"loadBalancer": {"ingress": [{"hostname": "web.shop.ext.test"}]}}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all([namespace("shop"), item]))
    corefile = (
        f". {{\n k8s_external ext.test\n kubernetes cluster.local {{\n  manifests {tmp_path}/cluster.yaml\n }}\n}}\n"
    )
    reply = harness.answer(corefile, "web.shop.ext.test")
    assert reply is not None
    assert 1 <= sum(map(len, reply.answer)) <= k8s_external.MAX_DEPTH + 1


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    with path.open("wb") as out:
        out.truncate(textfile.MAX_OCTETS + 1)  # a hole: takes no room
    with pytest.raises(textfile.Unreadable, match="octets"):
        textfile.TextFile(str(path)).changed()


def test_the_words_of_a_refusal_are_not_read_without_end() -> None:
    class Endless:
        """A response that never stops."""

        chunks = 0

        @property
        def content(self) -> Endless:
            return self

        async def readany(self) -> bytes:
            self.chunks += 1
            return bytes(1024)

    response: Any = Endless()
    assert len(asyncio.run(connection._beginning(response))) == connection.MAX_STATUS_OCTETS
    assert response.chunks == connection.MAX_STATUS_OCTETS // 1024


@pytest.mark.parametrize("ttl", [0, MAX_SOA_TTL, MAX_SOA_TTL + 1, 3600])
def test_the_ttl_of_a_soa_record_has_a_limit_of_its_own(ttl: int) -> None:
    """Spec.md section 2.7: the record's TTL is cut, its MINIMUM is not."""
    reply = cluster(f"ttl {ttl}", Index()).ask("cluster.local", "SOA")
    (soa,) = reply.answer
    assert (soa.ttl, soa[0].minimum) == (min(ttl, MAX_SOA_TTL), ttl)
