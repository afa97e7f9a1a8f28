"""The servers that are measured, each with the configuration that makes the comparison fair.

Knows how each program is configured and started: one thread, no logging, 127.0.0.1, every record in memory. Must not
know what is asked or measured.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks import zones
from benchmarks.client import free_port
from benchmarks.processes import BenchmarkError


@dataclass(frozen=True, slots=True)
class Site:
    """What a server may be configured from."""

    zones: Mapping[str, Path]
    """The zones that name servers load: origin to zone file."""
    manifests: Path
    """The cluster as one JSON file."""
    upstream: int = 0
    """The port on 127.0.0.1 where everything outside the cluster is asked."""
    kubeconfig: Path | None = None
    """How to reach an API server that holds the cluster, for those who need one."""


Configure: TypeAlias = Callable[[Site, Path, int], list[str]]
"""Writes what a server needs into a directory, for a port on 127.0.0.1, and gives the command to start it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be started."""

    name: str
    program: str
    configure: Configure
    version: str = ""
    """The option that prints the program's version."""
    environment: Mapping[str, str] = field(default_factory=dict)
    answers: bool = True
    """Whether it answers from records; the bare loop does not."""
    tcp: bool = True
    forwards: bool = False
    """Whether it asks the upstream for names outside the cluster."""
    needs_api: bool = False
    """Whether the cluster must come from an API server."""

    def missing(self) -> str:
        """Why it cannot be started here, or nothing."""
        return "" if find(self.program) else f"{self.program} is not on PATH"


def find(program: str) -> str | None:
    """The path of a program: beside this Python, on PATH, or where Debian keeps daemons."""
    beside = Path(sys.executable).with_name(program)
    return str(beside) if beside.exists() else shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def dnsd(*, workers: int = 1, api: bool = False) -> Configure:
    """Dnsd with kubeadm's Corefile, the cluster from one JSON file or from the API server."""

    def configure(site: Site, directory: Path, port: int) -> list[str]:
        source = f"kubeconfig {site.kubeconfig}" if api else ""
        argv = [
            _program("dnsd"),
            "serve",
            "--conf",
            _write(directory / "Corefile", corefile(port, site.upstream, source)),
        ]
        argv += [] if api else ["--manifests", str(site.manifests)]
        return argv if workers == 1 else [*argv, "--workers", str(workers)]

    return configure


def _coredns(site: Site, directory: Path, port: int) -> list[str]:
    text = corefile(port, site.upstream, f"kubeconfig {site.kubeconfig}")
    return [_program("coredns"), "-conf", _write(directory / "Corefile", text)]


def corefile(port: int, upstream: int, source: str) -> str:
    """The Corefile of kubeadm, on 127.0.0.1. It has no `lameduck`, which would only delay the end of a run."""
    return f"""\
.:{port} {{
    bind 127.0.0.1
    errors
    health 127.0.0.1:{free_port()}
    ready 127.0.0.1:{free_port()}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        {source}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{free_port()}
    forward . 127.0.0.1:{upstream} {{
        max_concurrent 1000
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loop
    reload
    loadbalance
}}
"""


def _knot(site: Site, directory: Path, port: int) -> list[str]:
    text = f"""\
server:
    listen: 127.0.0.1@{port}
    rundir: "{directory}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{directory}"
log:
  - target: stderr
    any: error
template:
  - id: default
    storage: "{directory}"
    zonefile-sync: -1
    journal-content: none
    semantic-checks: off
zone:
"""
    text += "".join(f'  - domain: {origin}\n    file: "{path}"\n' for origin, path in site.zones.items())
    return [_program("knotd"), "-c", _write(directory / "knot.conf", text)]


def _nsd(site: Site, directory: Path, port: int) -> list[str]:
    # Debian builds NSD with response rate limiting, which would measure refusals: 0 turns it off.
    text = f"""\
server:
    ip-address: 127.0.0.1
    port: {port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    xfrdir: "{directory}"
    zonelistfile: "{directory}/zone.list"
    logfile: "{directory}/nsd.log"
    verbosity: 0
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
"""
    text += "".join(f'zone:\n    name: "{origin}"\n    zonefile: "{path}"\n' for origin, path in site.zones.items())
    return [_program("nsd"), "-d", "-c", _write(directory / "nsd.conf", text)]


def _unbound(site: Site, directory: Path, port: int) -> list[str]:
    # Local data, because an auth-zone costs Unbound up to twice as much a query.
    text = f"""\
server:
    interface: 127.0.0.1
    port: {port}
    num-threads: 1
    do-ip6: no
    username: ""
    chroot: ""
    directory: "{directory}"
    pidfile: "{directory}/unbound.pid"
    use-syslog: no
    logfile: ""
    verbosity: 0
    module-config: "iterator"
    do-not-query-localhost: no
    incoming-num-tcp: 100
    include: "{directory}/records.conf"
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{site.upstream}
"""
    with (directory / "records.conf").open("w") as file:
        for origin, path in site.zones.items():
            file.write(f'local-zone: "{origin}" static\n')
            file.writelines(f"local-data: '{line}'\n" for line in zones.records(path))
    return [_program("unbound"), "-d", "-c", _write(directory / "unbound.conf", text)]


def _bare_loop(_site: Site, directory: Path, port: int) -> list[str]:
    source, program = Path(__file__).with_name("bare_loop.c"), directory / "bare_loop"
    compiled = subprocess.run(
        [_program("cc"), "-O2", "-Wall", "-Wextra", "-o", program, source], capture_output=True, text=True, check=False
    )
    if compiled.returncode:
        raise BenchmarkError(f"cc: {compiled.stderr}")
    return [str(program), str(port)]


DNSD = Server("dnsd", "dnsd", dnsd(), version="-version", forwards=True)
BARE_LOOP = Server("bare loop", "cc", _bare_loop, answers=False, tcp=False)
KNOT = Server("Knot", "knotd", _knot, version="-V")
NSD = Server("NSD", "nsd", _nsd, version="-v")
UNBOUND = Server("Unbound", "unbound", _unbound, version="-V", forwards=True)
COREDNS = Server(
    "CoreDNS", "coredns", _coredns, version="-version", environment={"GOMAXPROCS": "1"}, forwards=True, needs_api=True
)

SERVERS = (DNSD, BARE_LOOP, KNOT, NSD, UNBOUND, COREDNS)
UPSTREAMS = (NSD, KNOT)
"""What can be the upstream, best first."""


def choose(names: Iterable[str]) -> tuple[Server, ...]:
    """dnsd, and the peers of these names. Raises BenchmarkError for a name that is none."""
    wanted = {_key(name) for name in names}
    unknown = wanted - {_key(server.name) for server in SERVERS}
    if unknown:
        known = ", ".join(_key(server.name) for server in SERVERS)
        raise BenchmarkError(f"no such peer: {', '.join(sorted(unknown))} (there are {known})")
    return tuple(server for server in SERVERS if server is DNSD or _key(server.name) in wanted)


def _key(name: str) -> str:
    return name.lower().replace(" ", "-")


def _program(name: str) -> str:
    path = find(name)
    if path is None:
        raise BenchmarkError(f"{name} is not on PATH")
    return path


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)
