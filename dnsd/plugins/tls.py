"""The directive `tls`: the certificate of listeners whose scheme is tls (DNS over TLS, RFC 7858)."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive
from dnsd.plugins.directive import once
from dnsd.resolve.plugin import Context, Tls

CLIENT_AUTH = {
    "nocert": ssl.CERT_NONE,
    "request": ssl.CERT_OPTIONAL,
    "verify_if_given": ssl.CERT_OPTIONAL,
    "require": ssl.CERT_REQUIRED,
    "require_and_verify": ssl.CERT_REQUIRED,
}
"""CoreDNS's words; where it would take a certificate without looking at it, dnsd verifies it."""

name = "tls"


def setup(directives: Sequence[Directive], context: Context) -> None:
    """Note the certificate, once it has proved to be one; there is nothing to do for a query."""
    directive = once(directives)
    files = words.arguments(directive, 2, 3)
    certificate, key, *authority = (str(Path(context.directory) / word.text) for word in files)
    client_auth = "nocert"
    for option in directive.options:
        if option.name.text != "client_auth":
            raise words.unknown_option(option, ["client_auth"])
        words.no_options(option)
        client_auth = words.choice(words.arguments(option, 1, 1)[0], *CLIENT_AUTH)
    tls = Tls(certificate, key, "".join(authority), client_auth)
    try:
        server_context(tls)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CorefileError(files[0].position, f"'tls' cannot use its files: {reason}") from error
    context.server.tls = tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """The context of a listener: TLS 1.2 and later.

    Raises:
        OSError: a file cannot be read, or is not what it should be (ssl.SSLError).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["dot"])
    load_certificate(context, tls)
    return context


def load_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    """Give a context these files; connections made from now on are known by them.

    Raises:
        OSError: as `server_context`.
    """
    context.load_cert_chain(tls.certificate, tls.key)
    context.verify_mode = CLIENT_AUTH[tls.client_auth]
    if tls.authority:
        context.load_verify_locations(tls.authority)
    elif context.verify_mode is not ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
