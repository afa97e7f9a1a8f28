"""`prometheus`: where /metrics is, and whose queries are counted (spec.md section 7.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsd.corefile.syntax import CorefileError
from tests.observe.web import scrape, total
from tests.plugins import harness
from tests.process import dnsd, free_port

SAID = {
    "prometheus": "localhost:9153",
    "prometheus :9153": ":9153",
    "prometheus localhost:9253": "localhost:9253",
    "prometheus {\n runtime_metrics\n }": "localhost:9153",
}


@pytest.mark.parametrize("directive", SAID)
def test_says(directive: str) -> None:
    (built,) = harness.build(f".:53 {{\n{directive}\n whoami\n }}").instance.blocks
    assert built.context.server.metrics == SAID[directive]


@pytest.mark.parametrize(
    "directive",
    [
        "prometheus 9153",
        "prometheus :1 :2",
        "prometheus\nprometheus",
        "prometheus {\n tls web.yml\n }",
        "prometheus {\n runtime_metrics yes\n }",
        "prometheus {\n colour blue\n }",
    ],
)
def test_is_refused(directive: str) -> None:
    with pytest.raises(CorefileError):
        harness.build(f".:53 {{\n{directive}\n whoami\n }}")


COREFILE = """
counted.example:PORT {
    bind 127.0.0.1
    prometheus 127.0.0.1:%d
    whoami
}
hidden.example:PORT {
    bind 127.0.0.1
    whoami
}
"""


def test_a_server_block_is_counted_where_it_says_so_and_what_no_block_takes_is_dropped(tmp_path: Path) -> None:
    port = free_port()
    with dnsd(COREFILE % port, tmp_path) as server:
        before = scrape(port)
        for _ in range(2):
            server.ask("a.counted.example")
            server.ask("a.hidden.example")
        server.ask("counted.example", "TXT", rdclass="CH")
        found = scrape(port)
    requests = "coredns_dns_requests_total"
    assert total(found, requests, zone="counted.example.") == 2
    assert total(found, requests, zone="hidden.example.") == 0
    assert total(found, requests, zone="dropped", type="TXT") == 1
    assert {dict(labels)["zone"] for name, labels in found if name == requests} == {"counted.example.", "dropped"}
    refused = total(found, "coredns_dns_responses_total", zone="dropped", rcode="REFUSED", plugin="")
    assert refused - total(before, "coredns_dns_responses_total", zone="dropped") == 1
    enabled = {dict(labels)["zone"] for name, labels in found if name == "coredns_plugin_enabled"}
    assert enabled == {"counted.example."}
