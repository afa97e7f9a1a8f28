"""`tls`: DNS over TLS from a real process, and what is said of files that are no certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from dnsd.corefile.syntax import CorefileError
from tests.cluster.authority import Authority
from tests.plugins import harness
from tests.process import DEADLINE, dnsd, free_port

COREFILE = """
.:PORT {{
    bind 127.0.0.1
    whoami
}}
tls://example.org:{port} {{
    bind 127.0.0.1
    tls cert.pem key.pem {authority} {{
        client_auth {auth}
    }}
    whoami
}}
"""


def ask(port: int, context: ssl.SSLContext) -> dns.message.Message:
    query = dns.message.make_query("example.org", "A")
    return dns.query.tls(
        query, "127.0.0.1", port=port, timeout=DEADLINE, ssl_context=context, server_hostname="localhost"
    )


def write(folder: Path, authority: Authority) -> None:
    certificate, key = authority.issue("dnsd", server=True)
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    (folder / "ca.pem").write_bytes(authority.pem)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.pem.decode())


def test_a_block_of_scheme_tls_answers_over_tls_only(tmp_path: Path) -> None:
    authority = Authority.make()
    write(tmp_path, authority)
    port = free_port()
    with dnsd(COREFILE.format(port=port, authority="", auth="nocert"), tmp_path) as server:
        assert ask(port, trusting(authority)).rcode() == dns.rcode.NOERROR
        assert server.ask("other.test", "A").rcode() == dns.rcode.NOERROR
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(port, trusting(Authority.make()))


def test_a_client_that_has_to_be_known_needs_a_certificate(tmp_path: Path) -> None:
    authority = Authority.make()
    write(tmp_path, authority)
    certificate, key = authority.issue("client", server=False)
    (tmp_path / "client.pem").write_bytes(certificate + key)
    port = free_port()
    with dnsd(COREFILE.format(port=port, authority="ca.pem", auth="require_and_verify"), tmp_path):
        context = trusting(authority)
        with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
            ask(port, context)
        context.load_cert_chain(tmp_path / "client.pem")
        assert ask(port, context).rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(
    ("corefile", "place", "message"),
    [
        ("tls://. {\n whoami\n}", "1:1", "scheme 'tls' needs a certificate"),
        ("tls://. {\n tls no.pem no.key\n}", "2:6", "cannot use its files: No such file"),
        ("tls://. {\n tls Corefile Corefile\n}", "2:6", "cannot use its files"),
        ("tls://. {\n tls one.pem\n}", "2:2", "needs at least 2 arguments"),
        ("tls://. {\n tls a b {\n  client_auth maybe\n }\n}", "3:15", "maybe"),
        ("tls://. {\n tls a b {\n  client nocert\n }\n}", "3:3", "unknown option"),
    ],
)
def test_what_is_no_certificate_is_refused_when_it_is_read(
    tmp_path: Path, corefile: str, place: str, message: str
) -> None:
    (tmp_path / "Corefile").write_text(corefile)
    with pytest.raises(CorefileError, match=message) as error:
        harness.build(corefile, tmp_path)
    assert str(error.value.position) == f"Corefile:{place}"
