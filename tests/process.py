"""Real processes for tests: dnsd with a Corefile on ports that the kernel picks, and dig.

    with dnsd(".:PORT { whoami }", tmp_path) as server:
        server.ask("example.org", "A")

Each process is ended when its context is left, whatever happened inside.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rdatatype
import pytest

DNSD = str(Path(sys.executable).with_name("dnsd"))
"""The program as `make install` leaves it: compiled, where a C compiler is. What tests import is not."""
DEADLINE = 30.0
"""Seconds until something that has to happen is given up: generous, for a machine that is busy."""
PORTS = (12_000, 32_000)
"""Below Linux's range for sockets that connect (ip_local_port_range), above what services use."""
ATTEMPTS = 5
"""Times that a process is started anew because somebody else was faster to take its port."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP at this moment.

    The kernel says that it is free, but does not choose it: what it chooses lies among the ports that it gives to
    sockets that connect, upstreams' for one, and may be gone before a process listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.randrange(*PORTS)
        with (
            socket.socket(family, socket.SOCK_STREAM) as tcp,
            socket.socket(family, socket.SOCK_DGRAM) as udp,
            contextlib.suppress(OSError),
        ):
            tcp.bind((host, port))
            udp.bind((host, port))
            return port


def eventually(what: Callable[[], bool], text: str = "what was waited for") -> None:
    """Wait until `what` holds; a failure where it does not within DEADLINE."""
    end = time.monotonic() + DEADLINE
    while not what():
        if time.monotonic() > end:
            pytest.fail(f"{text} did not happen in {DEADLINE:.0f} s")
        time.sleep(0.02)


@dataclass(slots=True)
class Dnsd:
    """A dnsd process."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path
    """What it wrote to standard output and standard error."""

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.output.read_text()

    def ask(
        self, name: str, type_: str | int = "A", *, host: str = "127.0.0.1", tcp: bool = False, **options: object
    ) -> dns.message.Message:
        """Ask it; `options` go to `dns.message.make_query`."""
        options.setdefault("flags", dns.flags.RD)
        query = dns.message.make_query(name, type_, **options)  # type: ignore[arg-type]
        return self.send(query, host=host, tcp=tcp)

    def send(self, query: dns.message.Message, *, host: str = "127.0.0.1", tcp: bool = False) -> dns.message.Message:
        """Send a message as it is, and read the reply."""
        if tcp:
            return dns.query.tcp(query, host, port=self.port, timeout=DEADLINE)
        return dns.query.udp(query, host, port=self.port, timeout=DEADLINE)

    def texts(self, name: str, type_: str = "A", **options: object) -> list[str]:
        """The texts of the answer's records of that type, sorted."""
        rdtype = dns.rdatatype.from_text(type_)
        reply = self.ask(name, type_, **options)  # type: ignore[arg-type]
        return sorted(data.to_text() for rrset in reply.answer for data in rrset if rrset.rdtype == rdtype)

    def answers(self, host: str = "127.0.0.1") -> bool:
        """Whether it answers at all."""
        query = dns.message.make_query("ready.invalid.", "A")
        try:
            dns.query.udp(query, host, port=self.port, timeout=0.5)
        except (dns.exception.DNSException, OSError):
            return False
        return True

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@contextlib.contextmanager
def dnsd(
    corefile: str,
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    probe: str = "127.0.0.1",
) -> Iterator[Dnsd]:
    """`dnsd serve` with a Corefile in which PORT stands for the port; it answers when this returns.

    `probe` is the address at which it has to answer.
    """
    for attempt in range(ATTEMPTS):
        port = free_port()
        path = folder / f"Corefile.{port}"
        path.write_text(corefile.replace("PORT", str(port)))
        with _process(["serve", "--conf", str(path), *arguments], port, folder, environment) as server:
            _wait(server, probe)
            if server.process.poll() is not None:
                if attempt + 1 < ATTEMPTS and "cannot listen" in server.log:
                    continue
                pytest.fail(f"dnsd ended with status {server.process.returncode}:\n{server.log}")
            yield server
            return


@contextlib.contextmanager
def command(arguments: Sequence[str], port: int, folder: Path, probe: str = "127.0.0.1") -> Iterator[Dnsd]:
    """`dnsd` with any arguments, which must make it listen on `port`; it answers when this returns."""
    with _process(arguments, port, folder, None) as server:
        _wait(server, probe)
        if server.process.poll() is not None:
            pytest.fail(f"dnsd ended with status {server.process.returncode}:\n{server.log}")
        yield server


@contextlib.contextmanager
def _process(
    arguments: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None
) -> Iterator[Dnsd]:
    output = folder / f"dnsd.{port}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [DNSD, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield Dnsd(process, port, output)
    finally:
        process.kill()
        process.wait()


def _wait(server: Dnsd, probe: str) -> None:
    end = time.monotonic() + DEADLINE
    while server.process.poll() is None and not server.answers(probe):
        if time.monotonic() > end:
            pytest.fail(f"dnsd does not answer:\n{server.log}")
        time.sleep(0.02)


def run(*arguments: str, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`dnsd` with arguments that make it end by itself."""
    return subprocess.run(
        [DNSD, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        cwd=cwd,
    )


def dig(server: Dnsd, *words: str, program: str = "dig") -> str:
    """The output of dig (or kdig) asking a server; the test is skipped where the program is missing."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [path, "@127.0.0.1", "-p", str(server.port), *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return done.stdout
