"""Run inside namespaces of its own, which are like those of a pod: kubeadm's Corefile as it is, on its own ports, with
the service account, /etc/resolv.conf and an API server. Prints what was seen, as JSON.

    python -m tests.dropin.pod FOLDER

FOLDER has the Corefile, its questions, and `resolv.conf`, which is mounted over /etc/resolv.conf already.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from dnsd.cluster.api.credentials import SERVICE_ACCOUNT
from tests.cluster.apiserver import ApiServer
from tests.dropin import published, questions
from tests.observe.web import get, listens, scrape, total
from tests.process import command, eventually


def main(folder: Path) -> dict[str, object]:
    """Start everything, ask, and stop everything."""
    expected = questions.read(folder / "questions")
    with ApiServer() as api:
        api.load(published.CLUSTER)
        SERVICE_ACCOUNT.mkdir(parents=True)
        os.environ.update(api.service_account(SERVICE_ACCOUNT))
        with command(["-conf", str(folder / "Corefile")], 53, folder) as dnsd:
            eventually(lambda: get(8181, "/ready").status == 200, "the first sync")
            seen: dict[str, object] = {
                "replies": questions.ask(dnsd, expected),
                "health": get(8080, "/health").body.decode(),
                "counted": total(scrape(9153), "coredns_dns_requests_total", zone=".") >= len(expected),
                "asked the API server": sorted({f"{asked.verb} {asked.plural}" for asked in list(api.requests)}),
            }
            dnsd.process.send_signal(signal.SIGTERM)
            eventually(lambda: not listens(8181), "the end of /ready")
            seen["while it is a lame duck"] = [
                get(8080, "/health").status,
                *questions.ask(dnsd, {"web.shop.svc.cluster.local A": []}).values(),
            ]
            seen["exit status"] = dnsd.process.wait()
            seen["log"] = dnsd.log
    return seen


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
