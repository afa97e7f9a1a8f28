"""Run inside a network namespace of its own, where ports 53 and 8080 are free: a node with its cache, and the cluster's
DNS behind it. Prints what was seen, as JSON.

    python -m tests.manifests.node FOLDER

FOLDER/Corefile is the node's; it has to listen on ADDRESS.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.manifests.web import get
from tests.process import command

ADDRESS = "169.254.20.10"
UPSTREAM = """\
.:53 {
    bind 127.0.0.1
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        manifests CLUSTER
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
}
"""
CLUSTER = Path(__file__).parents[2] / "dnsd" / "demo-cluster.yaml"


def main(folder: Path) -> dict[str, object]:
    """Start both, ask, and stop both."""
    os.environ["KUBE_DNS_UPSTREAM_SERVICE_HOST"] = "127.0.0.1"
    (folder / "upstream").mkdir()
    upstream = folder / "upstream" / "Corefile"
    upstream.write_text(UPSTREAM.replace("CLUSTER", str(CLUSTER)), encoding="utf-8")
    with (
        command(["-conf", str(upstream)], 53, upstream.parent),
        command(["-conf", str(folder / "Corefile")], 53, folder, ADDRESS) as node,
    ):
        seen: dict[str, object] = {
            "address": node.texts("web.shop.svc.cluster.local", host=ADDRESS),
            "over TCP": node.texts("web.shop.svc.cluster.local", host=ADDRESS, tcp=True),
            "reverse": node.texts("1.10.96.10.in-addr.arpa", "PTR", host=ADDRESS),
            "health": get(ADDRESS, 8080, "/health"),
            "metrics": "coredns_forward" in get("127.0.0.1", 9253, "/metrics")[1],
            "elsewhere": node.answers("127.0.0.2"),
        }
        seen["exit status"] = node.stop()
    return seen


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
