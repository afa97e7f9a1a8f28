"""An answer that is remembered is given until what it says changes, and not once more: a table of changes.

Each question is asked before and after, twice each time, over the real sockets: the second reply comes from the memo.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.cluster.apiobjects import Json, endpoint_slice, namespace, pod, service
from tests.cluster.asking import cluster
from tests.cluster.worlds import filled, identity, parsed
from tests.serve.serving import Serving, serving
from tests.wire.queries import query

Z = "cluster.local"
WEB, DB = f"web.shop.svc.{Z}", f"db.shop.svc.{Z}"
POD = f"10-244-0-9.shop.pod.{Z}"
PTR_OF_WEB, PTR_OF_DB = "1.0.96.10.in-addr.arpa", "1.0.244.10.in-addr.arpa"


def external(name: str, target: str) -> Json:
    item = service("shop", name)
    item["spec"] = {"type": "ExternalName", "externalName": target}
    return item


WORLD = [
    namespace("shop"),
    service("shop", "web", "10.96.0.1"),
    service("shop", "db"),
    endpoint_slice("shop", "db-1", "db", ["10.244.0.1"]),
    endpoint_slice("shop", "web-1", "web", ["10.244.0.5"]),
    external("alias", WEB),
    external("twice", f"alias.shop.svc.{Z}"),
    external("dangling", f"later.shop.svc.{Z}"),
    namespace("void"),
    pod("shop", "p", "10.244.0.9"),
]


def gone(item: Json) -> Json:
    return {"gone": item}


Said: TypeAlias = list[str] | str
"""The texts of an answer's records, or the word for there being none."""
NX, NODATA = "NXDOMAIN", "NODATA"

CHANGES: dict[str, tuple[list[Json], str, str, Said, Said]] = {
    # what happens, objects put or gone, name, type, what is said before, what is said after
    "a service appears": ([service("shop", "new", "10.96.0.9")], f"new.shop.svc.{Z}", "A", NX, ["10.96.0.9"]),
    "a service goes": ([gone(WORLD[1])], WEB, "A", ["10.96.0.1"], NX),
    "a cluster IP changes": ([service("shop", "web", "10.96.0.8")], WEB, "A", ["10.96.0.1"], ["10.96.0.8"]),
    "a service becomes dual-stack": (
        [service("shop", "web", "10.96.0.1", "fd00::1")],
        WEB,
        "AAAA",
        NODATA,
        ["fd00::1"],
    ),
    "a port changes": (
        [service("shop", "web", "10.96.0.1", ports={"http": 81})],
        WEB,
        "SRV",
        [f"0 100 80 {WEB}."],
        [f"0 100 81 {WEB}."],
    ),
    "a port appears": (
        [service("shop", "web", "10.96.0.1", ports={"http": 80, "admin": 9})],
        f"_admin._tcp.{WEB}",
        "A",
        NX,
        ["10.96.0.1"],
    ),
    "a service becomes headless": ([service("shop", "web")], WEB, "A", ["10.96.0.1"], ["10.244.0.5"]),
    "a service becomes an ExternalName": ([external("web", DB)], WEB, "CNAME", NODATA, [f"{DB}."]),
    "an endpoint appears": (
        [endpoint_slice("shop", "db-1", "db", ["10.244.0.1", "10.244.0.2"])],
        DB,
        "A",
        ["10.244.0.1"],
        ["10.244.0.1", "10.244.0.2"],
    ),
    "a second slice appears": (
        [endpoint_slice("shop", "db-2", "db", ["10.244.0.2"])],
        DB,
        "A",
        ["10.244.0.1"],
        ["10.244.0.1", "10.244.0.2"],
    ),
    "the last endpoint is not ready": (
        [endpoint_slice("shop", "db-1", "db", ["10.244.0.1"], ready=False)],
        DB,
        "A",
        ["10.244.0.1"],
        NX,
    ),
    "the last slice goes": ([gone(WORLD[3])], DB, "A", ["10.244.0.1"], NX),
    "a slice moves away": ([endpoint_slice("shop", "db-1", "web", ["10.244.0.1"])], DB, "A", ["10.244.0.1"], NX),
    "a slice moves here": (
        [endpoint_slice("shop", "web-1", "db", ["10.244.0.5"])],
        DB,
        "A",
        ["10.244.0.1"],
        ["10.244.0.1", "10.244.0.5"],
    ),
    "an endpoint's own name appears": (
        [endpoint_slice("shop", "db-2", "db", ["10.244.0.2"])],
        f"10-244-0-2.{DB}",
        "A",
        NX,
        ["10.244.0.2"],
    ),
    "an endpoint's own name goes": ([gone(WORLD[3])], f"10-244-0-1.{DB}", "A", ["10.244.0.1"], NX),
    "a namespace goes": ([gone(WORLD[0])], WEB, "A", ["10.96.0.1"], NX),
    "a namespace appears": ([namespace("new")], f"new.svc.{Z}", "A", NX, NODATA),
    "what an ExternalName points to changes": (
        [service("shop", "web", "10.96.0.8")],
        f"alias.shop.svc.{Z}",
        "A",
        ["10.96.0.1", f"{WEB}."],
        ["10.96.0.8", f"{WEB}."],
    ),
    "what an ExternalName points to goes": (
        [gone(WORLD[1])],
        f"alias.shop.svc.{Z}",
        "A",
        ["10.96.0.1", f"{WEB}."],
        NODATA,
    ),
    "what an ExternalName points to appears": (
        [service("shop", "later", "10.96.0.7")],
        f"dangling.shop.svc.{Z}",
        "A",
        NODATA,
        ["10.96.0.7", f"later.shop.svc.{Z}."],
    ),
    "the end of a chain changes": (
        [service("shop", "web", "10.96.0.8")],
        f"twice.shop.svc.{Z}",
        "A",
        ["10.96.0.1", f"alias.shop.svc.{Z}.", f"{WEB}."],
        ["10.96.0.8", f"alias.shop.svc.{Z}.", f"{WEB}."],
    ),
    "the middle of a chain changes": (
        [external("alias", DB)],
        f"twice.shop.svc.{Z}",
        "CNAME",
        [f"alias.shop.svc.{Z}."],
        [f"alias.shop.svc.{Z}."],
    ),
    "the middle of a chain points elsewhere": (
        [external("alias", DB)],
        f"twice.shop.svc.{Z}",
        "A",
        ["10.96.0.1", f"alias.shop.svc.{Z}.", f"{WEB}."],
        ["10.244.0.1", f"alias.shop.svc.{Z}.", f"{DB}."],
    ),
    "a pod goes": ([gone(WORLD[-1])], POD, "A", ["10.244.0.9"], NX),
    "a pod appears": ([pod("shop", "q", "10.244.0.10")], f"10-244-0-10.shop.pod.{Z}", "A", NX, ["10.244.0.10"]),
    "a pod has another address": ([pod("shop", "p", "10.244.0.10")], POD, "A", ["10.244.0.9"], NX),
    "a pod ends": ([pod("shop", "p", "10.244.0.9", phase="Succeeded")], POD, "A", ["10.244.0.9"], NX),
    "an address gets a name": (
        [service("shop", "new", "10.96.0.9")],
        "9.0.96.10.in-addr.arpa",
        "PTR",
        NX,
        [f"new.shop.svc.{Z}."],
    ),
    "an address loses its name": ([service("shop", "web", "10.96.0.8")], PTR_OF_WEB, "PTR", [f"{WEB}."], NX),
    "an endpoint's address loses its name": ([gone(WORLD[3])], PTR_OF_DB, "PTR", [f"10-244-0-1.{DB}."], NX),
    "a service takes an endpoint's address": (
        [service("shop", "new", "10.244.0.1")],
        PTR_OF_DB,
        "PTR",
        [f"10-244-0-1.{DB}."],
        [f"new.shop.svc.{Z}."],
    ),
    "the namespace behind an address goes": ([gone(WORLD[0])], PTR_OF_WEB, "PTR", [f"{WEB}."], NX),
    "a namespace gets its first name": ([service("void", "a", "10.96.0.9")], f"void.svc.{Z}", "TXT", NX, NODATA),
}

UNRELATED = [
    service("shop", "other", "10.96.0.77"),
    namespace("other"),
    endpoint_slice("shop", "other-1", "other", ["10.244.7.7"]),
    pod("shop", "other", "10.244.7.8"),
]


def apply(server: Serving, item: Json, now: float) -> None:
    if "gone" not in item:
        server.index.put(parsed(item), now)
        return
    kind, namespace_, name = identity(item["gone"])
    kinds: dict[str, Any] = {type_.__name__: type_ for type_ in server.index.kinds}
    server.index.delete(kinds[kind], namespace_, name, now)


async def ask(server: Serving, name: str, type_: str) -> Said:
    """What is said twice, over UDP and over TCP."""
    wire = query(name, dns.rdatatype.from_text(type_))
    asked = [
        await server.ask_udp(wire),
        await server.ask_udp(wire),
        await server.ask_tcp(wire),
        await server.ask_tcp(wire),
    ]
    said: list[Said] = []
    for data in asked:
        reply = dns.message.from_wire(data)
        texts = sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)
        said.append(texts or (NODATA if reply.rcode() == dns.rcode.NOERROR else dns.rcode.to_text(reply.rcode())))
    assert all(one == said[0] for one in said)
    return said[0]


@pytest.mark.parametrize(("changes", "name", "type_", "before", "after"), CHANGES.values(), ids=CHANGES)
def test_the_next_answer_is_the_new_one_when(
    changes: list[Json], name: str, type_: str, before: Said, after: Said
) -> None:
    async def run() -> None:
        index = filled({identity(item): item for item in WORLD})
        async with serving(cluster("pods verified", index, more="bind 127.0.0.1\nloadbalance")) as server:
            assert await ask(server, name, type_) == before
            for number, change in enumerate(changes):
                apply(server, change, 2000.0 + number)
            assert await ask(server, name, type_) == after

    asyncio.run(run())


@pytest.mark.parametrize(("name", "type_"), [(row[1], row[2]) for row in CHANGES.values()], ids=CHANGES)
def test_what_did_not_change_stays_remembered(name: str, type_: str) -> None:
    """Exact both ways: else every change anywhere would cost every client."""

    async def run() -> None:
        index = filled({identity(item): item for item in WORLD})
        async with serving(cluster("pods verified", index, more="bind 127.0.0.1")) as server:
            await ask(server, name, type_)
            kept = [len(face.memo) for face in server.faces]
            assert kept == [1, 1]
            for number, change in enumerate(UNRELATED):
                if not name.endswith(f"new.svc.{Z}") or change["kind"] != "Namespace":
                    apply(server, change, 2000.0 + number)
            assert [len(face.memo) for face in server.faces] == kept

    asyncio.run(run())


def test_the_serial_of_the_zone_is_never_stale() -> None:
    """An answer to a SOA question depends on every change; a negative answer may carry the serial of its day."""

    async def run() -> None:
        index = filled({identity(item): item for item in WORLD})
        async with serving(cluster("", index, more="bind 127.0.0.1")) as server:
            serials = []
            for number, change in enumerate(UNRELATED):
                said = await ask(server, Z, "SOA")
                serials.append(int(said[0].split()[2]))
                apply(server, change, 3000.0 + number)
            assert serials == sorted(set(serials)), "each change is seen, and the serial grows"

    asyncio.run(run())
