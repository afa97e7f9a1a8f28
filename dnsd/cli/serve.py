"""Serve what a Corefile says."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from dnsd import __version__
from dnsd.cli import corefile
from dnsd.cluster.sources import make_source
from dnsd.cluster.store import Clusters, SourceError
from dnsd.corefile.syntax import CorefileError, ServerBlock
from dnsd.observe import log as log_format
from dnsd.plugins.build import Host, plugin_names
from dnsd.serve.instance import Instance, make_instance
from dnsd.serve.interfaces import addresses
from dnsd.serve.server import ListenError, Server

log = logging.getLogger("dnsd")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dnsd serve`, CoreDNS's among them."""
    parser.add_argument("-conf", "--conf", metavar="FILE", help="Corefile; `stdin` reads it from there")
    parser.add_argument("-dns.port", "-p", "--dns-port", dest="port", type=int, default=53, metavar="N",
                        help="port of server blocks that name none (default 53)")  # fmt: skip
    parser.add_argument("--manifests", nargs="+", default=[], metavar="PATH",
                        help="take the cluster from files or folders, not from an API server")  # fmt: skip
    parser.add_argument("-pidfile", "--pidfile", metavar="FILE", help="write the process id there")
    parser.add_argument("-quiet", "--quiet", action="store_true", help="print no banner")
    parser.add_argument("-plugins", "--plugins", action="store_true", help="print the plugins and exit")
    parser.add_argument("-version", action="store_true", help="print the version and exit")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 1 where the configuration cannot be used."""
    if arguments.version:
        print(f"dnsd-{__version__}\n{_platform()}")
        return 0
    if arguments.plugins:
        print("\n".join(f"dns.{name}" for name in plugin_names()))
        return 0
    log_format.configure()
    try:
        blocks, directory = corefile.blocks(arguments.conf)
        return run_loop(
            serve(
                blocks,
                directory,
                manifests=tuple(arguments.manifests),
                port=arguments.port,
                started=None if arguments.quiet else print_banner,
                pidfile=arguments.pidfile,
            )
        )
    except (CorefileError, SourceError, ListenError) as error:
        print(error, file=sys.stderr)
        return 1


def run_loop(main: Coroutine[object, object, int]) -> int:
    """Run on uvloop where there is one: half the cost of a TCP query."""
    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def serve(
    blocks: tuple[ServerBlock, ...],
    directory: str,
    *,
    manifests: tuple[str, ...] = (),
    port: int = 53,
    started: Callable[[Instance], None] | None = None,
    pidfile: str | None = None,
) -> int:
    """Serve until a signal says stop.

    Raises:
        CorefileError, SourceError, ListenError: the configuration cannot be used.
    """
    clusters = Clusters(make_source, manifests)
    host = Host(directory, clusters, time.monotonic, addresses, port)
    instance = make_instance(blocks, host)
    await clusters.prepare()
    server = Server(time.monotonic)
    clusters.listeners.append(server.drop)
    await server.start(instance)
    if pidfile:
        Path(pidfile).write_text(f"{os.getpid()}\n", encoding="ascii")
    await instance.start()
    if started is not None:
        started(instance)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.close()
    await instance.stop()
    return 0


def print_banner(instance: Instance) -> None:
    """The zones and the version, as the reference prints them."""
    for line in instance.banner:
        print(line)
    print(f"dnsd-{__version__}\n{_platform()}", flush=True)


def _platform() -> str:
    return f"{sys.platform}/{platform.machine()}, Python {platform.python_version()}"
