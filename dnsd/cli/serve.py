"""Serve what a Corefile says."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from dnsd import __version__
from dnsd.cli import corefile, signals
from dnsd.cluster.sources import make_source
from dnsd.cluster.store import Clusters, SourceError
from dnsd.corefile.syntax import CorefileError, ServerBlock
from dnsd.observe import log as log_format
from dnsd.observe.answering import Answering, OneProcess, Workers, report
from dnsd.observe.endpoints import lameduck
from dnsd.observe.metrics import Metrics
from dnsd.observe.observer import Observer
from dnsd.plugins import relay
from dnsd.plugins.build import Host, plugin_names
from dnsd.serve.fleet import Fleet
from dnsd.serve.instance import Instance
from dnsd.serve.interfaces import addresses
from dnsd.serve.reload import Reloader
from dnsd.serve.runtime import Runtime
from dnsd.serve.server import ListenError
from dnsd.serve.supervisor import cpu_quota

log = logging.getLogger("dnsd")

MAX_WORKERS = 256
"""More processes than any machine has use for."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dnsd serve`, CoreDNS's among them."""
    parser.add_argument("-conf", "--conf", metavar="FILE", help="Corefile; `stdin` reads it from there")
    parser.add_argument("-dns.port", "--dns.port", "-p", "--p", "--dns-port", dest="port", type=int, default=53,
                        metavar="N", help="port of server blocks that name none (default 53)")  # fmt: skip
    parser.add_argument("--manifests", nargs="+", default=[], metavar="PATH",
                        help="take the cluster from files or folders, not from an API server")  # fmt: skip
    parser.add_argument("--workers", type=_workers, default=1, metavar="N",
                        help="processes that answer; `auto`: as the cgroup's CPU quota allows (default 1)")  # fmt: skip
    parser.add_argument("--log-format", choices=log_format.FORMATS, default="text",
                        help="lines as CoreDNS writes them, or one JSON object a line (default text)")  # fmt: skip
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
    log_format.configure(arguments.log_format)
    started: Callable[[Instance], None] = print_banner if arguments.log_format == "text" else log_banner
    if arguments.quiet:
        started = _say_nothing
    try:
        return serve(
            partial(corefile.blocks, arguments.conf),
            manifests=tuple(arguments.manifests),
            port=arguments.port,
            workers=arguments.workers,
            started=started,
            pidfile=arguments.pidfile,
        )
    except (CorefileError, SourceError, ListenError) as error:
        print(error, file=sys.stderr)
        return 1


def serve(
    read: Callable[[], tuple[tuple[ServerBlock, ...], str]],
    *,
    manifests: tuple[str, ...] = (),
    port: int = 53,
    workers: int = 1,
    started: Callable[[Instance], None],
    pidfile: str | None = None,
) -> int:
    """Serve until a signal says stop.

    Raises:
        CorefileError, SourceError, ListenError: the configuration cannot be used.
    """
    blocks, directory = read()
    metrics = Metrics()
    clusters = Clusters(partial(make_source, observe=metrics.observe_request), manifests)
    host = Host(directory, clusters, time.monotonic, addresses, port)
    if workers == 1:
        runtime = Runtime(host)
        return run_loop(_main(runtime, OneProcess(runtime, metrics), metrics, read, blocks, started, pidfile))
    fleet = Fleet(host, workers, run_loop, report)
    return fleet.run(_main(fleet, Workers(fleet, metrics), metrics, read, blocks, started, pidfile))


def run_loop(main: Coroutine[object, object, int]) -> int:
    """Run on uvloop where there is one: half the cost of a TCP query."""
    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def _main(
    runtime: Runtime | Fleet,
    answering: Answering,
    metrics: Metrics,
    read: Callable[[], tuple[tuple[ServerBlock, ...], str]],
    blocks: tuple[ServerBlock, ...],
    started: Callable[[Instance], None],
    pidfile: str | None,
) -> int:
    observer = Observer(metrics, runtime.host.clusters, answering, runtime.host.clock)
    reloader = metrics.reloader = Reloader(lambda: read()[0], blocks, observer.apply)
    loop = asyncio.get_running_loop()
    looks: set[asyncio.Task[None]] = set()

    def look() -> None:
        task = loop.create_task(reloader.check())
        looks.add(task)
        task.add_done_callback(looks.discard)

    stop = signals.handle(reload=look)
    try:
        instance = await runtime.prepare(blocks)
        await observer.start(instance)
        await runtime.start(instance)
        if pidfile:
            Path(pidfile).write_text(f"{os.getpid()}\n", encoding="ascii")
        started(instance)
        reloading = loop.create_task(reloader.run(lambda: _pace(answering.instance)))
        await stop.wait()
        for task in (reloading, *looks):  # a reload under way comes to nothing
            task.cancel()
        await asyncio.gather(reloading, *looks, return_exceptions=True)
        await observer.close_ready()
        await asyncio.sleep(lameduck(runtime.instance))
        await runtime.stop()
    finally:
        await observer.stop()
    return 0


def _pace(instance: Instance) -> tuple[float, float] | None:
    """How often the Corefile is looked at: as the first `reload` says."""
    return next((built.context.server.reload for built in instance.blocks if built.context.server.reload), None)


def _workers(text: str) -> int:
    """The argument of `--workers`."""
    if text == "auto":
        return cpu_quota()
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither `auto` nor a number from 1 to {MAX_WORKERS}")
    return int(text)


def print_banner(instance: Instance) -> None:
    """The zones and the version, as the reference prints them."""
    print("\n".join(_banner(instance)), flush=True)


def log_banner(instance: Instance) -> None:
    """The same, each line as an event of the log."""
    for line in _banner(instance):
        log.info("%s", line)


def _banner(instance: Instance) -> list[str]:
    return [*instance.banner, f"dnsd-{__version__}", _platform()]


def _say_nothing(_: Instance) -> None:
    """For -quiet."""


def _platform() -> str:
    built = "interpreted" if str(relay.__file__).endswith(".py") else "compiled"
    return f"{sys.platform}/{platform.machine()}, Python {platform.python_version()}, {built}"
