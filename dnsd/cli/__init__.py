"""The command line: one module a subcommand, and CoreDNS's own flags in their place."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dnsd import __version__
from dnsd.cli import check, demo, serve

COMMANDS = {"serve": serve, "demo": demo, "check": check}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; without one, `serve`, as CoreDNS's image is started. The exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in (*COMMANDS, "-h", "--help", "--version"):
        given.insert(0, "serve")
    parser = argparse.ArgumentParser(prog="dnsd", description="The DNS server inside a Kubernetes cluster.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        text = (module.__doc__ or "").splitlines()[0]
        subparser = subparsers.add_parser(name, help=text, description=text)
        module.configure(subparser)
        subparser.set_defaults(run=module.run)
    parsed = parser.parse_args(given)
    status: int = parsed.run(parsed)
    return status
