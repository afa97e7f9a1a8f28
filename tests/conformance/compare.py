"""Asks a DNS server the questions of a recording, and says where its answers differ from the recorded ones.

A recording has one JSON object a line: {"q": question, "a": answer}, the answer as CoreDNS 1.14.7 gave it for the
cluster in data/cluster.yaml. A SOA serial is written SERIAL. Where the reference decides by the type asked for whether
a name exists, RFC 8020 wins, and that is no difference.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

Json: TypeAlias = dict[str, Any]

CLUSTER_ZONES = ("cluster.local.", "in-addr.arpa.", "ip6.arpa.")
"""Zones that are the server's own: their answers are compared in full, AA, authority and additional included."""
ALL_ZONES = ("",)


def load(path: Path) -> list[Json]:
    """The rows of a recording."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def compare(host: str, port: int, rows: Sequence[Json], zones: tuple[str, ...] = CLUSTER_ZONES) -> dict[str, list[str]]:
    """Question (as its JSON text) to what differs, for each question whose answer does."""
    exists = Existence(rows)
    found = {}
    for row in rows:
        texts = differences(row["q"], row["a"], ask(host, port, row["q"]), exists, zones)
        if texts:
            found[json.dumps(row["q"])] = texts
    return found


def ask(host: str, port: int, q: Json, timeout: float = 10.0) -> Json:
    """Ask one question, over UDP or TCP as recorded."""
    message = dns.message.make_query(q["name"], q["type"], rdclass=q.get("class", "IN"), use_edns=False)
    message.flags = dns.flags.Flag(0)
    for flag in q.get("flags", ["RD"]):
        message.flags |= dns.flags.from_text(flag)
    edns = q.get("edns")
    if edns:
        message.use_edns(
            edns=edns.get("version", 0),
            payload=edns.get("size", 1232),
            ednsflags=dns.flags.DO if edns.get("do") else 0,
            options=[dns.edns.GenericOption(code, bytes.fromhex(data)) for code, data in edns.get("options", [])],
        )
    try:
        if q.get("tcp"):
            reply = dns.query.tcp(message, host, port=port, timeout=timeout)
        else:
            reply = dns.query.udp(message, host, port=port, timeout=timeout, ignore_unexpected=True)
    except dns.exception.DNSException as error:  # silence, or a reply that cannot be read: a finding like any other
        return {"error": type(error).__name__}
    answer: Json = {
        "rcode": dns.rcode.to_text(reply.rcode()),
        "flags": dns.flags.to_text(reply.flags).split(),
        "answer": records(reply.answer),
        "authority": records(reply.authority),
        "additional": records(reply.additional),
    }
    if reply.edns >= 0:
        answer["edns"] = {"size": reply.payload, "version": reply.edns}
    return answer


def records(section: Iterable[dns.rrset.RRset]) -> list[list[Any]]:
    """The records of a section as recordings have them."""
    found = []
    for rrset in section:
        for rdata in rrset:
            text = rdata.to_text()
            if rrset.rdtype == dns.rdatatype.SOA:
                fields = text.split()
                fields[2] = "SERIAL"
                text = " ".join(fields)
            found.append([rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), text])
    return found


class Existence:
    """Which names exist by the recording: those with records, and every name above one (RFC 8020, RFC 4592)."""

    def __init__(self, rows: Iterable[Json]) -> None:
        self.names: set[str] = set()
        for row in rows:
            # a SOA at a name that does not exist is a quirk of the recorded server, not a record
            if row["a"].get("answer") and row["q"]["type"] != "SOA":
                for owner, *_ in row["a"]["answer"] + row["a"]["additional"]:
                    labels = owner.lower().split(".")
                    self.names.update(".".join(labels[i:]) for i in range(len(labels) - 1))

    def __contains__(self, name: object) -> bool:
        return str(name).lower() in self.names


def differences(
    q: Json, want: Json, got: Json, exists: Container[str], zones: tuple[str, ...] = CLUSTER_ZONES
) -> list[str]:
    """What differs between two answers to `q`; empty where `got` is as good as `want`.

    Names under `zones` are the server's own, and are compared in full.
    """
    if "error" in got:
        return [f"no answer: {got['error']}"]
    name, type_ = q["name"].lower(), q["type"]
    own = name.endswith(zones)
    negative_want, negative_got = _negative(want), _negative(got)
    if type_ == "SOA" and want["answer"] and name.endswith(".cluster.local."):
        return [] if negative_got else ["SOA record at a name that is not the apex"]
    if type_ == "SOA" and zones is CLUSTER_ZONES and name.endswith("arpa."):
        return []
    missing_by_type = own and negative_want and want["rcode"] == "NXDOMAIN" and name in exists
    rcode = "NOERROR" if missing_by_type else want["rcode"]
    found: list[str] = []
    # an empty non-terminal may be told apart from a missing name, but never the other way round
    if got["rcode"] != rcode and not (missing_by_type and negative_got):
        found.append(f"rcode {got['rcode']} for {rcode}")
    if own and negative_want and type_ in ("ANY", "NS") and got["answer"]:
        return [text for text in found if not text.startswith("rcode NOERROR")]  # more than the reference says
    if type_ == "ANY" and not name.endswith(CLUSTER_ZONES):
        return []
    found += [
        f"flag {flag} {'missing' if flag in want['flags'] else 'set'}"
        for flag in (("TC", "RD", "AA") if own else ("TC", "RD"))
        if (flag in want["flags"]) != (flag in got["flags"])
    ]
    if "QR" not in got["flags"]:
        found.append("flag QR missing")
    if "TC" in want["flags"] and "TC" in got["flags"]:
        return found
    return found + _sections(want, got, own=own, negative=negative_want) + _spelling(name, want, got)


def _negative(answer: Json) -> bool:
    return answer["rcode"] in ("NOERROR", "NXDOMAIN") and not answer["answer"]


def _sections(want: Json, got: Json, *, own: bool, negative: bool) -> list[str]:
    """Differences of the sections, whose records come in any order."""
    found = []
    compared = ["answer", *(["authority"] if negative else []), *(["additional"] if own else [])]
    for section in compared:
        a, b = Counter(map(_key, want[section])), Counter(map(_key, got[section]))
        if a != b:
            missing, extra = list((a - b).elements())[:2], list((b - a).elements())[:2]
            found.append(f"{section}: missing {missing} extra {extra}")
    return found


def _key(record: Sequence[Any]) -> tuple[str, int, str, str]:
    return record[0].lower(), record[1], record[2], record[3].lower()


def _spelling(name: str, want: Json, got: Json) -> list[str]:
    """The owner name comes back as it was asked; OPT comes back where there was one."""
    found = []
    if (
        want["answer"]
        and got["answer"]
        and want["answer"][0][0] != got["answer"][0][0]
        and {record[0].lower() for record in got["answer"]} == {name}
    ):
        found.append(f"owner name {got['answer'][0][0]} for {want['answer'][0][0]}")
    if ("edns" in want) != ("edns" in got):
        found.append("OPT missing" if "edns" in want else "OPT without one in the query")
    return found
