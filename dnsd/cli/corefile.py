"""Which Corefile a command means, and its text."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dnsd.corefile.files import glob, load, read
from dnsd.corefile.parser import parse
from dnsd.corefile.syntax import ServerBlock

KUBEADM = """\
.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30 {
        disable success cluster.local
        disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""
"""What kubeadm writes into the ConfigMap `coredns`."""


def blocks(conf: str | None) -> tuple[tuple[ServerBlock, ...], str]:
    """The server blocks of a Corefile, and the folder that its relative paths start from.

    `conf` is a path, or `stdin`; without it, ./Corefile if there is one, else kubeadm's default.

    Raises:
        CorefileError: it cannot be read.
    """
    if conf == "stdin":
        return parse(sys.stdin.read(), "stdin", environment=os.environ, read=read, glob=glob), "."
    if conf is None and not Path("Corefile").exists():
        return parse(KUBEADM, "default", environment=os.environ, read=read, glob=glob), "."
    path = conf or "Corefile"
    return load(path, os.environ), str(Path(path).parent)
