"""Where the API server is, and who we are to it: the pod's service account, a kubeconfig, or what the Corefile says.

Knows files, environment and `kubernetes.aio.config`; must not know what is asked of the API server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dnsd.cluster.api.library import kubernetes_config
from dnsd.cluster.store import SourceError, SourceSettings

log = logging.getLogger("dnsd.cluster.api")

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts `token` and `ca.crt`."""

REREAD_SECONDS = 60.0
"""How old a token may be when a request is sent. The kubelet writes a new one when 80 % of its life are over, and
client-go looks again every minute."""

PLUGIN_SECONDS = 30.0
"""How long an exec plugin or identity provider of a kubeconfig may take; a cloud's answers within a few seconds."""


class CredentialsError(SourceError):
    """The credentials cannot be read; one line that says where and what."""

    def __init__(self, where: str, error: object) -> None:
        super().__init__(f"{where}: {' '.join(str(error).split())}")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Where a pod finds its own credentials."""

    folder: Path = SERVICE_ACCOUNT
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """Holds KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach one API server. Reading them anew gives a new object."""

    where: str
    """What they were read from, for messages."""
    url: str
    """Scheme, host and port, perhaps a path; no slash at the end."""
    tls: ssl.SSLContext | None
    """None for a URL that is not https."""
    authorization: Callable[[], Awaitable[str]]
    """The Authorization header of the next request, read again where it may have been rotated; "" for none."""
    server_hostname: str | None = None
    """The name in the server's certificate, where it is not the one in `url`."""
    proxy: str | None = None


async def load(
    settings: SourceSettings, account: ServiceAccount, monotonic: Callable[[], float] = time.monotonic
) -> Credentials:
    """Read the credentials that `settings` names, or those of the pod where it names none.

    Raises:
        CredentialsError: a file is missing or makes no sense, or an exec plugin fails.
    """
    if settings.kubeconfig:
        return await _kubeconfig(settings.kubeconfig, settings.context, monotonic)
    if settings.endpoint:
        return _endpoint(settings.endpoint, settings.tls)
    return await _in_cluster(account, monotonic)


def _endpoint(url: str, files: tuple[str, str, str] | None) -> Credentials:
    async def nobody() -> str:
        return ""

    certificate, key, authority = files or (None, None, None)
    where = f"endpoint {url}" + (f", tls {' '.join(files)}" if files else "")
    return Credentials(where, url.rstrip("/"), _tls(where, url, authority, certificate, key), nobody)


async def _in_cluster(account: ServiceAccount, monotonic: Callable[[], float]) -> Credentials:
    async def read(library: Any, configuration: Any) -> None:
        library.incluster_config.InClusterConfigLoader(
            token_filename=str(account.folder / "token"),
            cert_filename=str(account.folder / "ca.crt"),
            try_refresh_token=False,
            environ=account.environ,
        ).load_and_set(configuration)

    where = f"in-cluster credentials ({account.folder}, KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT)"
    return await _through_library(where, read, monotonic)


async def _kubeconfig(file: str, context: str, monotonic: Callable[[], float]) -> Credentials:
    where = f"kubeconfig {file}, context {context}" if context else f"kubeconfig {file}"

    async def read(library: Any, configuration: Any) -> None:
        _require(file, where)
        loader = await library.load_kube_config(
            file, context=context or None, client_configuration=configuration, persist_config=False
        )
        user = loader.current_context["context"].get("user")
        known = "BearerToken" in configuration.api_key or configuration.cert_file
        if user and not known and configuration.host.startswith("https"):
            raise CredentialsError(where, f"user {user} has neither a token nor a client certificate")

    return await _through_library(where, read, monotonic)


async def _through_library(
    where: str, read: Callable[[Any, Any], Awaitable[None]], monotonic: Callable[[], float]
) -> Credentials:
    """Let `read` fill a configuration of the library, now and whenever a request finds the token too old."""
    library = kubernetes_config()
    errors = (library.ConfigException, yaml.YAMLError, OSError, ValueError, LookupError, TypeError, AttributeError)
    configuration = library.kube_config.Configuration()
    read_at = monotonic()

    async def refresh(configuration: Any) -> None:
        nonlocal read_at
        if monotonic() - read_at >= REREAD_SECONDS:
            read_at = monotonic()
            async with asyncio.timeout(PLUGIN_SECONDS):
                await read(library, configuration)

    async def authorization() -> str:
        try:
            key = await configuration.get_api_key_with_prefix("BearerToken")
        except (CredentialsError, *errors) as error:
            log.warning("%s: cannot be read again, the last token stays in use: %s", where, error)
            key = configuration.api_key.get("BearerToken")
        return (key or "").strip()

    try:
        async with asyncio.timeout(PLUGIN_SECONDS):
            await read(library, configuration)
    except TimeoutError as error:
        raise CredentialsError(where, f"no credentials after {PLUGIN_SECONDS:.0f} s") from error
    except errors as error:
        raise CredentialsError(where, error) from error
    configuration.refresh_api_key_hook = refresh
    tls = _tls(
        where,
        configuration.host,
        configuration.ssl_ca_cert,
        configuration.cert_file,
        configuration.key_file,
        verify=configuration.verify_ssl,
    )
    return Credentials(
        where, configuration.host, tls, authorization, configuration.tls_server_name, configuration.proxy
    )


def _require(file: str, where: str) -> None:
    if not Path(file).is_file():
        raise CredentialsError(where, "no such file")


def _tls(
    where: str, url: str, authority: str | None, certificate: str | None, key: str | None, *, verify: bool = True
) -> ssl.SSLContext | None:
    if not url.startswith("https://"):
        return None
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        files = ", ".join(name for name in (authority, certificate, key) if name)
        raise CredentialsError(where, f"cannot use {files}: {error}") from error
    # Authorities that clusters made for themselves often lack extensions that Python demands from 3.13 on.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
