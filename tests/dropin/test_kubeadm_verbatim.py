"""kubeadm's Corefile with nothing replaced: port 53 on every address, /health on 8080, /ready on 8181, /metrics on
9153, the pod's service account and its /etc/resolv.conf. Namespaces of the kernel make room for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.dropin import published, questions
from tests.dropin.upstreams import ZONES
from tests.process import DEADLINE

ROOT = Path(__file__).parents[2]
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]

NODE = "192.0.2.53"
"""Where the node's resolver is."""
RESOLVER = """\
.:53 {
    bind ADDRESS
    header {
        response set ra
        response clear aa
    }
    file ZONE .
}
"""
STEPS = f"""
    ip link set lo up
    unshare --net sleep 1000 & node=$!
    until [ "$(readlink /proc/$node/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    on_node() {{ nsenter --target $node --net "$@"; }}
    ip link add eth0 type veth peer name node netns $node
    ip addr add 192.0.2.10/24 dev eth0
    ip link set eth0 up
    on_node ip addr add {NODE}/24 dev node
    on_node ip link set node up
    on_node "$0" -m dnsd -conf "$1/resolver" &
    mount -t tmpfs tmpfs /run
    mount --bind "$1/resolv.conf" /etc/resolv.conf
    exec "$0" -m tests.dropin.pod "$1"
"""


def seen_in_a_pod(case: str, folder: Path) -> dict[str, Any]:
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH: no namespaces for a pod")
    probe = "ip link add eth0 type veth peer name node && mount -t tmpfs tmpfs /run"
    if subprocess.run([*NAMESPACES, "sh", "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces may be made here")
    for name in ("Corefile", "questions"):
        shutil.copy(published.COREFILES / case / name, folder / name)
    (folder / "resolver").write_text(RESOLVER.replace("ADDRESS", NODE).replace("ZONE", str(ZONES / "internet.zone")))
    (folder / "resolv.conf").write_text(f"search node.test\nnameserver {NODE}\noptions ndots:5\n")
    done = subprocess.run(
        [*NAMESPACES, "sh", "-euc", STEPS, sys.executable, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("case", ["kubeadm", "kubeadm-cache-30"])
def test_it_runs_as_in_its_pod(case: str, tmp_path: Path) -> None:
    seen = seen_in_a_pod(case, tmp_path)
    log = seen.pop("log")
    assert seen == {
        "replies": questions.read(tmp_path / "questions"),
        "health": "OK",
        "counted": True,
        "asked the API server": ["watch endpointslices", "watch namespaces", "watch services"],
        "while it is a lame duck": [200, ["NOERROR aa rd", "web.shop.svc.cluster.local. 30 A 10.96.10.1"]],
        "exit status": 0,
    }
    assert log.startswith(".:53\n")
    assert "[ERROR]" not in log
