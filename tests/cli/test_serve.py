"""`dnsd serve` as a process: CoreDNS's flags, manifests of every shape, what breaks at start and later, the end."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest
import yaml

from dnsd import __version__
from dnsd.plugins.build import ORDER
from tests.cluster.apiobjects import endpoint_slice, namespace, service
from tests.process import DEADLINE, Dnsd, command, dig, dnsd, eventually, free_port, run
from tests.wire.queries import query

ITEMS = [
    namespace("shop"),
    service("shop", "web", "10.96.10.1"),
    service("shop", "db"),
    endpoint_slice("shop", "db-1", "db", ["10.244.0.1", "10.244.0.2"]),
]
WEB = "web.shop.svc.cluster.local"
DB = "db.shop.svc.cluster.local"
COREFILE = ".:PORT {\n    bind 127.0.0.1\n    kubernetes cluster.local {\n        MANIFESTS\n    }\n}\n"


def yaml_of(*items: object) -> str:
    return yaml.safe_dump_all(items)


def serving(path: Path) -> str:
    return COREFILE.replace("MANIFESTS", f'manifests "{path}"')


# -- manifests


def shapes(folder: Path) -> Iterator[tuple[str, Path]]:
    several = folder / "several.yaml"
    several.write_text(yaml_of(*ITEMS))
    yield "several YAML documents", several
    listed = folder / "list.yaml"
    listed.write_text(yaml_of({"apiVersion": "v1", "kind": "List", "items": ITEMS}))
    yield "a List in YAML, as `kubectl get -o yaml` writes it", listed
    kubectl = folder / "list.json"
    kubectl.write_text(json.dumps({"apiVersion": "v1", "items": ITEMS, "kind": "List"}, indent=4))
    yield "a List in JSON, as `kubectl get -o json` writes it", kubectl
    typed = folder / "typed.yaml"
    typed.write_text(
        yaml_of(
            ITEMS[0],
            {"kind": "ServiceList", "items": [{k: v for k, v in i.items() if k != "kind"} for i in ITEMS[1:3]]},
            ITEMS[3],
        )
    )
    yield "lists of one kind, whose items name none", typed
    many = folder / "many"
    (many / "deeper").mkdir(parents=True)
    for i, item in enumerate(ITEMS):
        suffix = (".yaml", ".yml", ".json")[i % 3]
        text = json.dumps(item) if suffix == ".json" else yaml_of(item)
        (many / ("deeper" if i % 2 else ".") / f"{i}{suffix}").write_text(text)
    (many / "README.md").write_text("not: a manifest: at all")
    (many / ".hidden.yaml").write_text("{")
    yield "a folder with folders, YAML and JSON", many
    odd = folder / "odd.txt"
    odd.write_text("\ufeff---\n---\n" + yaml_of({"kind": "Deployment", "spec": {}}, *ITEMS) + "---\n")
    yield "a file of any name, with empty documents and other kinds", odd
    flow = folder / "flow.yaml"
    flow.write_text("{kind: Namespace, metadata: {name: shop}}\n---\n" + yaml_of(*ITEMS[1:]))
    yield "YAML that begins with a brace", flow


def test_the_cluster_may_come_in_any_shape(tmp_path: Path) -> None:
    for shape, path in shapes(tmp_path):
        with dnsd(serving(path), tmp_path) as server:
            assert server.texts(WEB) == ["10.96.10.1"], shape
            assert server.texts(DB) == ["10.244.0.1", "10.244.0.2"], shape
            assert "makes no sense" not in server.log, shape


def test_what_kubectl_prints_is_a_manifest(tmp_path: Path) -> None:
    """Real `kubectl` output, YAML and JSON."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    folder = tmp_path / "printed"
    folder.mkdir()
    for i, item in enumerate(ITEMS):
        (tmp_path / "source.yaml").write_text(yaml_of(item))
        done = subprocess.run(
            [
                kubectl,
                "label",
                "--local",
                "-f",
                str(tmp_path / "source.yaml"),
                "-o",
                ("yaml", "json")[i % 2],
                "seen=yes",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE,
        )
        (folder / f"{i}.yaml").write_text(done.stdout)
    with dnsd(serving(folder), tmp_path) as server:
        assert server.texts(DB) == ["10.244.0.1", "10.244.0.2"]
        assert server.texts(WEB) == ["10.96.10.1"]


def test_manifests_may_be_named_on_the_command_line(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(yaml_of(*ITEMS[:2]))
    other.write_text(yaml_of(*ITEMS[2:]))
    with dnsd(COREFILE.replace("MANIFESTS", ""), tmp_path, "--manifests", str(one), str(other)) as server:
        assert server.texts(WEB) == ["10.96.10.1"]
        assert len(server.texts(DB)) == 2


BROKEN = {
    # what, text, what the line says
    "no YAML": ("kind: Service\n  metadata: [\n", "cluster.yaml:2"),
    "no object": ("- 1\n- 2\n", "cluster.yaml: "),
    "JSON that breaks off": ('{"kind": "List", "items": [', "cluster.yaml:2:1"),
    "no text": ("\x00\x01\x02", "cluster.yaml"),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN)
def test_a_manifest_that_is_broken_at_the_start_ends_it_with_one_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    (tmp_path / "Corefile").write_text(serving(tmp_path / "cluster.yaml").replace("PORT", str(free_port())))
    done = run("serve", "--conf", str(tmp_path / "Corefile"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert says in line


def test_a_manifest_that_is_missing_at_the_start_ends_it_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text(serving(tmp_path / "none.yaml").replace("PORT", str(free_port())))
    done = run("serve", "--conf", str(tmp_path / "Corefile"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f"{tmp_path / 'none.yaml'}: No such file or directory"


def replace(path: Path, text: str) -> None:
    """As editors and the kubelet do: a new file in the place of the old one."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def test_a_manifest_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml_of(*ITEMS))
    with dnsd(serving(path), tmp_path) as server:
        assert server.texts(WEB) == ["10.96.10.1"]
        assert server.texts(DB) == ["10.244.0.1", "10.244.0.2"]
        changed = [ITEMS[0], service("shop", "web", "10.96.10.99"), service("shop", "new", "10.96.10.5")]
        replace(path, yaml_of(*changed))
        eventually(lambda: server.texts(WEB) == ["10.96.10.99"], "the change")
        assert server.texts("new.shop.svc.cluster.local") == ["10.96.10.5"]
        assert server.ask(DB).rcode() == dns.rcode.NXDOMAIN


def test_a_manifest_that_breaks_is_logged_once_and_its_last_good_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml_of(*ITEMS))
    with dnsd(serving(path), tmp_path) as server:
        replace(path, "kind: [\n")
        eventually(lambda: "last good content stays" in server.log, "the complaint")
        assert server.texts(WEB) == ["10.96.10.1"]
        replace(path, yaml_of(ITEMS[0], service("shop", "web", "10.96.10.2")))
        eventually(lambda: server.texts(WEB) == ["10.96.10.2"], "the repair")
        assert server.log.count("last good content stays") == 1
        path.unlink()
        eventually(lambda: "No such file or directory; its last good content stays" in server.log, "the complaint")
        assert server.texts(WEB) == ["10.96.10.2"]


def test_an_object_that_makes_no_sense_is_logged_once_and_costs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    odd = service("shop", "odd", "10.96.10.300", "10.96.10.3")
    typed = {"kind": "Service", "metadata": {"name": "typed", "namespace": "shop"}, "spec": {"ports": "many"}}
    path.write_text(yaml_of(odd, typed, {"kind": "Service", "metadata": {"name": "lost"}}, *ITEMS))
    with dnsd(serving(path), tmp_path) as server:
        assert server.texts(WEB) == ["10.96.10.1"]
        assert server.texts("odd.shop.svc.cluster.local") == ["10.96.10.3"]
        assert server.ask("typed.shop.svc.cluster.local").rcode() == dns.rcode.NXDOMAIN
        replace(path, path.read_text() + yaml_of(service("shop", "more", "10.96.10.4")).join(("---\n", "")))
        eventually(lambda: server.texts("more.shop.svc.cluster.local") == ["10.96.10.4"], "the change")
        lines = server.log.splitlines()
    (about_odd,) = [line for line in lines if "shop/odd" in line]
    assert "'10.96.10.300' is not an IP address" in about_odd
    assert about_odd.startswith("[WARNING] plugin/kubernetes: ")
    assert len([line for line in lines if "/lost" in line]) == 1
    typed_lines = [line for line in lines if "makes no sense" in line]
    assert len(typed_lines) == len(set(typed_lines)) == 1
    assert str(path) in typed_lines[0]
    assert "spec.ports" in typed_lines[0]


# -- CoreDNS's flags


def test_version() -> None:
    for flag in ("-version", "--version"):
        done = run(flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert __version__ in done.stdout.splitlines()[0]


def test_plugins() -> None:
    done = run("-plugins")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"dns.{name}" for name in ORDER]


@pytest.mark.parametrize("flag", ["-dns.port", "-p", "--dns-port"])
def test_conf_port_and_pidfile_as_coredns_takes_them(flag: str, tmp_path: Path) -> None:
    (tmp_path / "Corefile.test").write_text(". {\n    bind 127.0.0.1\n    whoami\n}\n")
    port = free_port()
    arguments = ["-conf", str(tmp_path / "Corefile.test"), flag, str(port), "-pidfile", str(tmp_path / "pid")]
    with command(arguments, port, tmp_path) as server:
        eventually(lambda: "dnsd-" in server.log, "the banner")
        assert f".:{port}\n" in server.log
        assert (tmp_path / "pid").read_text() == f"{server.process.pid}\n"


def test_quiet_prints_no_banner(tmp_path: Path) -> None:
    with dnsd(".:PORT {\n    bind 127.0.0.1\n    whoami\n}\n", tmp_path, "-quiet") as server:
        assert server.log == ""


def test_the_corefile_in_the_working_directory_is_the_default(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "Corefile").write_text(f".:{port} {{\n    bind 127.0.0.1\n    whoami\n}}\n")
    with command([], port, tmp_path) as server:
        assert server.answers()


def test_a_port_that_is_taken_ends_it_with_one_line(tmp_path: Path) -> None:
    with dnsd(".:PORT {\n    bind 127.0.0.1\n    whoami\n}\n", tmp_path) as server:
        done = run("serve", "--conf", str(tmp_path / f"Corefile.{server.port}"))
        assert done.returncode == 1
        assert done.stderr.splitlines() == [f"cannot listen on dns://127.0.0.1:{server.port}: Address already in use"]


# -- the end


class SlowUpstream:
    """An upstream whose one answer is held back until it is told to send it."""

    def __init__(self) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.settimeout(DEADLINE)
        self.port = self.udp.getsockname()[1]

    def receive(self) -> tuple[bytes, tuple[str, int]]:
        data, address = self.udp.recvfrom(4096)
        return data, address

    def reply(self, data: bytes, address: tuple[str, int]) -> None:
        self.udp.sendto(dns.message.make_response(dns.message.from_wire(data)).to_wire(), address)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_a_query_under_way_is_answered_before_the_end(tcp: bool, number: signal.Signals, tmp_path: Path) -> None:
    upstream = SlowUpstream()
    corefile = f".:PORT {{\n    bind 127.0.0.1\n    forward . 127.0.0.1:{upstream.port} {{\n        prefer_udp\n"
    corefile += "        max_fails 0\n    }\n}\n"
    try:
        path = tmp_path / "go"
        port = free_port()
        path.write_text(corefile.replace("PORT", str(port)))
        replies: list[dns.message.Message] = []
        warm = threading.Thread(target=lambda: upstream.reply(*upstream.receive()))
        warm.start()
        with command(["serve", "--conf", str(path)], port, tmp_path) as server:
            warm.join()
            ask = dns.query.tcp if tcp else dns.query.udp
            asking = threading.Thread(
                target=lambda: replies.append(
                    ask(dns.message.make_query("held.example", "A"), "127.0.0.1", port=port, timeout=DEADLINE)
                )
            )
            asking.start()
            data, address = upstream.receive()
            while b"held" not in data:
                upstream.reply(data, address)
                data, address = upstream.receive()
            server.process.send_signal(number)
            assert server.process.poll() is None
            upstream.reply(data, address)
            asking.join(DEADLINE)
            assert server.process.wait(DEADLINE) == 0
        assert [reply.rcode() for reply in replies] == [dns.rcode.NOERROR]
    finally:
        upstream.udp.close()


def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with (
        dnsd(".:PORT {\n    bind 127.0.0.1\n    whoami\n}\n", tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), DEADLINE) as idle,
    ):
        wire = query("a.test")
        idle.sendall(struct.pack("!H", len(wire)) + wire)
        assert idle.recv(2)
        assert server.stop() == 0
        while idle.recv(4096):
            pass


def test_nothing_that_is_sent_ends_the_process(tmp_path: Path) -> None:
    """Datagrams and streams of any octets, and then an ordinary question."""
    (tmp_path / "cluster.yaml").write_text(yaml_of(*ITEMS))
    with dnsd(serving(tmp_path / "cluster.yaml"), tmp_path) as server:
        junk = [b"", b"\0", b"\xff" * 4096, bytes(4096), query(WEB)[:20], query("a." * 60, 255), bytes(range(256)) * 10]
        for data in junk:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(data, ("127.0.0.1", server.port))
            with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as tcp:
                tcp.sendall(data)
        assert server.texts(WEB) == ["10.96.10.1"]
        assert "Traceback" not in server.log


def test_dig_and_kdig_are_content(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(yaml_of(*ITEMS))
    with dnsd(serving(tmp_path / "cluster.yaml"), tmp_path) as server:
        for program in ("dig", "kdig"):
            said = _dig(server, program, WEB)
            assert "status: NOERROR" in said
            assert "10.96.10.1" in said
            assert "malformed" not in said.lower()


def _dig(server: Dnsd, program: str, *words: str) -> str:
    return dig(server, *words, program=program)
