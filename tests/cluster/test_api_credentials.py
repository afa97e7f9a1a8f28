"""How dnsd reaches the API server, by service account, kubeconfig or endpoint; and that it sees a rotated token."""

from __future__ import annotations

import asyncio
import importlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from dnsd.cluster.api import ApiSource, CredentialsError, ServiceAccount, connection, credentials, library
from dnsd.cluster.index import Index
from dnsd.cluster.objects import Service
from dnsd.cluster.store import SourceSettings
from tests.cluster.apiserver import ApiServer, Authority, service
from tests.cluster.following import following, until


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(service("shop", "web", "10.96.0.1"))
        yield server


class Way:
    """One way to have credentials: what dnsd is given, and how to rotate its token."""

    def __init__(self, server: ApiServer, folder: Path, kind: str) -> None:
        self.account = ServiceAccount(folder, {})
        self.settings = SourceSettings()
        self.token_file = folder / "token"
        self.server = server
        self.token_file.write_text(server.token + "\n")
        kubeconfig = folder / "kubeconfig"
        match kind:
            case "in-cluster":
                self.account = ServiceAccount(folder, server.service_account(folder))
            case "kubeconfig with tokenFile":
                self.settings = SourceSettings(
                    kubeconfig=str(server.kubeconfig(kubeconfig, token_file=self.token_file))
                )
            case "kubeconfig with exec plugin":
                plugin = folder / "plugin.py"
                plugin.write_text(
                    "import json, pathlib\n"
                    f"token = pathlib.Path({str(self.token_file)!r}).read_text().strip()\n"
                    "credential = {'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential'}\n"
                    "print(json.dumps(credential | {'status': {'token': token}}))\n"
                )
                command = [sys.executable, str(plugin)]
                self.settings = SourceSettings(kubeconfig=str(server.kubeconfig(kubeconfig, command=command)))
            case "kubeconfig with token":
                self.settings = SourceSettings(kubeconfig=str(server.kubeconfig(kubeconfig)))
            case "kubeconfig with client certificate":
                self.settings = SourceSettings(kubeconfig=str(server.kubeconfig(kubeconfig, client_certificate=True)))
            case "kubeconfig and context":
                server.kubeconfig(kubeconfig, context="here")
                written = yaml.safe_load(kubeconfig.read_text()) | {"current-context": "elsewhere"}
                kubeconfig.write_text(yaml.safe_dump(written))
                self.settings = SourceSettings(kubeconfig=str(kubeconfig), context="here")
            case "endpoint and tls":
                self.settings = SourceSettings(endpoint=server.url + "/", tls=server.client_files(folder))

    def rotate(self) -> None:
        """Make the token void, and write the new one where dnsd finds it."""
        self.token_file.write_text(self.server.rotate_token())


ROTATING = ["in-cluster", "kubeconfig with tokenFile", "kubeconfig with exec plugin"]
WAYS = [
    *ROTATING,
    "kubeconfig with token",
    "kubeconfig with client certificate",
    "kubeconfig and context",
    "endpoint and tls",
]


@pytest.mark.parametrize("kind", WAYS)
def test_the_cluster_is_reached(kind: str, server: ApiServer, tmp_path: Path) -> None:
    way = Way(server, tmp_path, kind)

    async def run() -> None:
        async with following(way.settings, kinds=(Service,), account=way.account) as followed:
            await until(lambda: followed.index.synced)
            assert followed.names(Service) == {"shop/web"}

    asyncio.run(run())
    assert [asked.code for asked in server.requests] == [200]


@pytest.mark.parametrize("kind", ROTATING)
@pytest.mark.parametrize("seconds", [0.0, credentials.REREAD_SECONDS])
def test_a_rotated_token_is_read_again(seconds: float, kind: str, server: ApiServer, tmp_path: Path) -> None:
    """When the old one is refused; and before it can be, when it was read a minute ago."""
    way = Way(server, tmp_path, kind)

    async def run() -> None:
        async with following(way.settings, kinds=(Service,), account=way.account) as followed:
            await until(lambda: server.watching("services") == 1)
            way.rotate()
            followed.times.elapsed += seconds
            server.put(service("shop", "new", "10.96.0.2"))
            server.drop("services")
            await until(lambda: server.watching("services") == 1)
            server.put(service("shop", "newer", "10.96.0.2"))
            await until(lambda: "shop/newer" in followed.names(Service))
            assert followed.source.watches["Service"].lists == 1

    asyncio.run(run())
    assert [asked.code for asked in server.requests] == ([200, 401, 200] if seconds == 0 else [200, 200])


@pytest.mark.parametrize("kind", ROTATING)
def test_a_token_is_read_again_once_a_minute(kind: str, server: ApiServer, tmp_path: Path) -> None:
    way, elapsed, sent = Way(server, tmp_path, kind), 0.0, []

    async def run() -> None:
        nonlocal elapsed
        way.token_file.write_text("written at 0")
        held = await credentials.load(way.settings, way.account, lambda: elapsed)
        for elapsed in (59.0, 60.0, 119.0, 120.0):
            way.token_file.write_text(f"written at {elapsed:.0f}")
            sent.append((await held.authorization()).partition(" ")[2])

    asyncio.run(run())
    assert sent == ["written at 0", "written at 60", "written at 60", "written at 120"]


def test_a_token_file_that_is_gone_leaves_the_token_in_use(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    way = Way(server, tmp_path, "in-cluster")

    async def run() -> None:
        async with following(way.settings, kinds=(Service,), account=way.account) as followed:
            await until(lambda: server.watching("services") == 1)
            (tmp_path / "token").unlink()
            followed.times.elapsed += credentials.REREAD_SECONDS
            server.drop("services")
            await until(lambda: followed.source.watches["Service"].reconnects > 0 and server.watching("services") == 1)

    asyncio.run(run())
    assert "the last token stays in use" in caplog.text


def test_a_token_that_stays_refused_is_tried_again_later(server: ApiServer, tmp_path: Path) -> None:
    way = Way(server, tmp_path, "kubeconfig with tokenFile")
    good = server.token
    (tmp_path / "token").write_text("stale")

    async def run() -> None:
        async with following(way.settings, kinds=(Service,), account=way.account) as followed:
            await until(lambda: len(followed.times.slept) >= 3)
            assert not followed.index.synced
            (tmp_path / "token").write_text(good)
            await until(lambda: followed.index.synced)

    asyncio.run(run())
    assert {asked.code for asked in server.requests} == {200, 401}


def test_an_authority_that_did_not_sign_the_certificate_is_no_cluster_of_ours(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent there, a token least of all; and an authority that was put right is read again."""
    path = server.kubeconfig(tmp_path / "kubeconfig", authority=Authority.make())

    async def run() -> None:
        async with following(SourceSettings(kubeconfig=str(path)), kinds=(Service,)) as followed:
            await until(lambda: len(followed.times.slept) >= 3)
            assert server.requests == []
            assert "certificate verify failed" in caplog.text
            server.kubeconfig(path)
            await until(lambda: followed.index.synced)

    asyncio.run(run())


# -- what cannot be read

BASE = {
    "current-context": "test",
    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me"}}],
    "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "me", "user": {"token": "secret"}}],
}


@pytest.mark.parametrize(
    ("written", "context", "says"),
    [
        (None, "", "kubeconfig {file}: no such file"),
        ("", "", "kubeconfig {file}: "),
        ("{", "", "kubeconfig {file}: while parsing"),
        (
            yaml.safe_dump(BASE),
            "gone",
            "kubeconfig {file}, context gone: Invalid kube-config file. Expected object with",
        ),
        (yaml.safe_dump(BASE | {"users": []}), "", "kubeconfig {file}: "),
        (
            yaml.safe_dump(BASE | {"users": [{"name": "me", "user": {"tokenFile": "/nowhere/token"}}]}),
            "",
            "kubeconfig {file}: [Errno 2] No such file or directory: '/nowhere/token'",
        ),
        (
            yaml.safe_dump(
                BASE | {"users": [{"name": "me", "user": {"exec": {"apiVersion": "v1", "command": "/nowhere/plugin"}}}]}
            ),
            "",
            "kubeconfig {file}: user me has neither a token nor a client certificate",
        ),
        (
            yaml.safe_dump(
                BASE
                | {
                    "clusters": [
                        {"name": "test", "cluster": {"server": "https://h", "certificate-authority": "/nowhere/ca"}}
                    ]
                }
            ),
            "",
            "kubeconfig {file}: File does not exists: /nowhere/ca",
        ),
    ],
    ids=["missing", "empty", "no YAML", "no such context", "no such user", "no token file", "plugin fails", "no CA"],
)
def test_a_kubeconfig_that_cannot_be_used_is_named_in_one_line(
    written: str | None, context: str, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "kubeconfig"
    if written is not None:
        file.write_text(written)
    assert_refused(SourceSettings(kubeconfig=str(file), context=context), ServiceAccount(), says.format(file=file))


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("KUBERNETES_SERVICE_HOST", "Service host/port is not set."),
        ("token", "Service token file does not exist."),
        ("ca.crt", "Service certification file does not exist."),
    ],
)
def test_a_service_account_that_cannot_be_used_is_named_in_one_line(missing: str, says: str, tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    environ.pop(missing, "")
    for name in {"token", "ca.crt"} - {missing}:
        (tmp_path / name).write_text("x")
    where = f"in-cluster credentials ({tmp_path}, KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT): "
    assert_refused(SourceSettings(), ServiceAccount(tmp_path, environ), where + says)


def test_client_files_that_cannot_be_used_are_named_in_one_line(tmp_path: Path) -> None:
    files = (str(tmp_path / "crt"), str(tmp_path / "key"), str(tmp_path / "ca"))
    (tmp_path / "ca").write_text("no certificate")
    says = f"endpoint https://h, tls {' '.join(files)}: cannot use {files[2]}, {files[0]}, {files[1]}: "
    assert_refused(SourceSettings(endpoint="https://h", tls=files), ServiceAccount(), says)


def assert_refused(settings: SourceSettings, account: ServiceAccount, says: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        asyncio.run(ApiSource(Index(), settings, account=account).prepare())
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_credentials_that_appear_later_are_taken_up(server: ApiServer, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"

    async def run() -> None:
        async with following(SourceSettings(kubeconfig=str(path)), kinds=(Service,)) as followed:
            await until(lambda: len(followed.times.slept) >= 3)
            server.kubeconfig(path)
            await until(lambda: followed.index.synced)

    asyncio.run(run())


def test_an_exec_plugin_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_SECONDS", 0.1)

    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(library.kubernetes_config(), "load_kube_config", hangs)
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(BASE))
    assert_refused(
        SourceSettings(kubeconfig=str(file)), ServiceAccount(), f"kubeconfig {file}: no credentials after 0 s"
    )


# -- the connection and the library


def test_a_peer_that_is_gone_without_a_word_is_found_out_by_keepalive() -> None:
    with connection.kept_alive((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 443))) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [opened.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [15, 5, 3]


def test_the_library_is_imported_without_its_clients_and_leaves_no_trace() -> None:
    program = """
import sys
from dnsd.cluster.api.library import kubernetes_config
loaded = kubernetes_config()
assert loaded.load_kube_config and loaded.incluster_config.InClusterConfigLoader
assert not [name for name in sys.modules if name.split(".")[0] in ("kubernetes", "pydantic", "urllib3", "requests")]
import kubernetes.aio.client
assert kubernetes.aio.client.ApiClient is not None and kubernetes.client.CoreV1Api
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_library_is_imported_whole_where_it_cannot_be_imported_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = importlib.import_module, []

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name.startswith("kubernetes.aio"):
            asked.append(name)
        if name == "kubernetes.aio.client.configuration":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    library.kubernetes_config.cache_clear()
    try:
        assert library.kubernetes_config().load_kube_config
    finally:
        library.kubernetes_config.cache_clear()
    assert asked == ["kubernetes.aio.client.configuration", "kubernetes.aio.config"]
