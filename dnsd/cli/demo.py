"""Serve an example cluster on 127.0.0.1, to try dnsd with dig."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import resources
from pathlib import Path

from dnsd.cli.serve import serve
from dnsd.cluster.store import SourceError
from dnsd.corefile.files import glob, read
from dnsd.corefile.parser import parse
from dnsd.corefile.syntax import CorefileError
from dnsd.observe import log as log_format
from dnsd.serve.instance import Instance
from dnsd.serve.server import ListenError

COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        manifests "{cluster}"
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    {forward}
    loadbalance
}}
"""

EXAMPLES = (
    "web.shop.svc.cluster.local",
    "web.shop.svc.cluster.local SRV",
    "db.shop.svc.cluster.local",
    "db-0.db.shop.svc.cluster.local",
    "ext.shop.svc.cluster.local",
    "10-1-0-11.shop.pod.cluster.local",
    "-x 10.96.10.1",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dnsd demo`."""
    parser.add_argument("-p", "--port", type=int, default=5353, metavar="N", help="port (default 5353)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    log_format.configure()
    forward = "forward . /etc/resolv.conf" if Path("/etc/resolv.conf").exists() else ""
    with resources.as_file(resources.files("dnsd") / "demo-cluster.yaml") as cluster:
        text = COREFILE.format(port=arguments.port, cluster=cluster, forward=forward)
        try:
            blocks = parse(text, "demo", environment=os.environ, read=read, glob=glob)
            return serve(lambda: (blocks, "."), started=_print_examples)
        except (CorefileError, SourceError, ListenError) as error:
            print(error, file=sys.stderr)
            return 1


def _print_examples(instance: Instance) -> None:
    (address,) = instance.fronts
    print(f"An example cluster is served on {address.host} port {address.port}; Ctrl-C ends it. Try:")
    for example in EXAMPLES:
        print(f"  dig @{address.host} -p {address.port} {example}")
    sys.stdout.flush()
