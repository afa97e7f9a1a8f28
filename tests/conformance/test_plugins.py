"""What CoreDNS was recorded to answer under small Corefiles, one plugin or two at a time, asked of a real process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.compare import ALL_ZONES, compare, load
from tests.process import dnsd
from tests.upstream import Upstream

DATA = Path(__file__).parent / "data"
CASES = sorted(path.name for path in (DATA / "plugins").iterdir())

SPELLING = "RFC 4343 section 4.1: the owner name is compressed to a pointer to the question, and has its spelling"

_RESPELLED = {
    ("file-zone", "WWW.zone.TEST."): ("CAA", "CNAME", "MX", "NS", "SOA", "SRV", "TXT"),
    ("hosts-inline", "INLINE.Test."): ("A", "AAAA"),
    ("rewrite-name", "OLD.test."): ("A", "AAAA"),
    ("template", "IP-192-0-2-9.Ip.test."): ("A",),
}
RFC_WINS = {
    (case, json.dumps({"name": name, "type": type_})): SPELLING
    for (case, name), types in _RESPELLED.items()
    for type_ in types
}
"""(case, question as JSON text) to the section of the RFC that dnsd follows and the recorded answer contradicts."""


@pytest.mark.parametrize("case", CASES)
def test_a_corefile_is_answered_as_recorded(case: str, tmp_path: Path) -> None:
    folder = DATA / "plugins" / case
    with Upstream(DATA / "upstream.zone") as upstream:
        corefile = (
            (folder / "Corefile")
            .read_text()
            .replace("UPSTREAM", upstream.address)
            .replace("DIR", str(folder))
            .replace("KUBE", f'manifests "{DATA / "cluster.yaml"}" "{DATA / "asker.yaml"}"')
        )
        with dnsd(corefile, tmp_path) as server:
            found = compare("127.0.0.1", server.port, load(folder / "answers.jsonl"), ALL_ZONES)
    ours = {question for name, question in RFC_WINS if name == case}
    assert {question: texts for question, texts in found.items() if question not in ours} == {}
    assert ours <= set(found), "an exception that is none any more"
