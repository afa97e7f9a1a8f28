"""Read a Corefile and say what is wrong with it."""

from __future__ import annotations

import argparse
import sys
import time

from dnsd.cli import corefile
from dnsd.cluster.sources import make_source
from dnsd.cluster.store import Clusters
from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.build import Host
from dnsd.serve.instance import make_instance
from dnsd.serve.interfaces import addresses


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dnsd check`."""
    parser.add_argument("file", metavar="FILE", help="a Corefile")


def run(arguments: argparse.Namespace) -> int:
    """0 where the Corefile can be used; 1 after one line that says where it cannot."""
    try:
        blocks, directory = corefile.blocks(arguments.file)
        host = Host(directory, Clusters(make_source), time.monotonic, addresses)
        instance = make_instance(blocks, host)
    except CorefileError as error:
        print(error, file=sys.stderr)
        return 1
    for line in instance.banner:
        print(line)
    print(f"{arguments.file}: ok")
    return 0
