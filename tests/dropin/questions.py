"""Questions with the answers that are expected, as people write them down, and the answers that a server gives, alike.

    # why this answer, and no other
    web.shop.svc.cluster.local A
        NOERROR aa rd
        web.shop.svc.cluster.local. 30 A 10.96.10.1

After NAME and TYPE there may be `tcp`, a class, or `@ADDRESS` to ask there. The reply has its rcode and flags first,
then the records of its answer section and, where that is empty, the SOA record of its authority section. A question
that was asked before has `*` for its TTLs, which may have counted down.
"""

from __future__ import annotations

from pathlib import Path

import dns.flags
import dns.rcode

from tests.conformance.compare import records
from tests.process import Dnsd

Table = dict[str, list[str]]
"""Question to the lines of its reply."""


def read(path: Path) -> Table:
    """The expected replies of a file."""
    found: Table = {}
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            found[list(found)[-1]].append(line.strip())
        elif line and not line.startswith("#"):
            question = line if line not in found else f"{line} (again)"
            assert question not in found, question
            found[question] = []
    return found


def ask(server: Dnsd, table: Table) -> Table:
    """The replies of a server to the questions of a table."""
    return {question: _lines(server, question) for question in table}


def _lines(server: Dnsd, question: str) -> list[str]:
    name, type_, *words = question.removesuffix(" (again)").split()
    host = next((word[1:] for word in words if word.startswith("@")), "127.0.0.1")
    class_ = next((word for word in words if word in ("CH", "HS")), "IN")
    reply = server.ask(name, type_, host=host, tcp="tcp" in words, rdclass=class_)
    flags = [flag.lower() for flag in dns.flags.to_text(reply.flags).split() if flag != "QR"]
    rows = records(reply.answer) or [row for row in records(reply.authority) if row[2] == "SOA"]
    texts = [
        " ".join([owner, "*" if question.endswith(" (again)") else str(ttl), kind, data])
        for owner, ttl, kind, data in sorted(rows, key=lambda row: () if row[2] == "CNAME" else (row[2], row[3]))
    ]
    return [" ".join([dns.rcode.to_text(reply.rcode()), *flags]), *texts]
