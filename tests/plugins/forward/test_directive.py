"""The directive `forward`: what it says, as values, and errors that say where and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.forward.directive import read
from dnsd.plugins.forward.settings import MAX_UPSTREAMS, HealthCheck, Policy, Scheme, Stanza, Target
from tests.corefile.memory import parse_text


def stanza(text: str, folder: Path | str = "/nonexistent") -> Stanza:
    """Read a directive, written on one line: options are separated by semicolons."""
    for mark, line in (("{", "{\n"), ("}", "\n}"), (";", "\n")):
        text = text.replace(mark, line)
    (block,) = parse_text(f". {{\nforward {text}\n}}\n")
    return read(block.directives[0], str(folder))


TARGETS = {
    "192.0.2.53": Target("192.0.2.53", 53),
    "192.0.2.53:5353": Target("192.0.2.53", 5353),
    "dns://192.0.2.53": Target("192.0.2.53", 53),
    "DNS://192.0.2.53:5353": Target("192.0.2.53", 5353),
    "2001:db8::53": Target("2001:db8::53", 53),
    "[2001:db8::53]": Target("2001:db8::53", 53),
    "[2001:db8::53]:5353": Target("2001:db8::53", 5353),
    "fe80::1%eth0": Target("fe80::1%eth0", 53),
    "[fe80::1%eth0]:5353": Target("fe80::1%eth0", 5353),
    "tls://9.9.9.9": Target("9.9.9.9", 853, Scheme.TLS),
    "tls://9.9.9.9:8853": Target("9.9.9.9", 8853, Scheme.TLS),
    "tls://9.9.9.9%dns.quad9.net": Target("9.9.9.9", 853, Scheme.TLS, "dns.quad9.net"),
    "tls://9.9.9.9%dns.quad9.net:10853": Target("9.9.9.9", 10853, Scheme.TLS, "dns.quad9.net"),
    "tls://[2620:fe::fe]%dns.quad9.net:10853": Target("2620:fe::fe", 10853, Scheme.TLS, "dns.quad9.net"),
    "tls://2620:fe::fe": Target("2620:fe::fe", 853, Scheme.TLS),
    "https://9.9.9.9": Target("9.9.9.9", 443, Scheme.HTTPS),
    "https://9.9.9.9:8443/x/y": Target("9.9.9.9", 8443, Scheme.HTTPS, path="/x/y"),
    "https://[2620:fe::fe]/q": Target("2620:fe::fe", 443, Scheme.HTTPS, path="/q"),
    "dns.example.org": Target("dns.example.org", 53, by_name=True),
    "Dns.Example.org.:5353": Target("dns.example.org", 5353, by_name=True),
    "tls://dns.example.org": Target("dns.example.org", 853, Scheme.TLS, by_name=True),
    "https://dns.example.org/dns-query": Target("dns.example.org", 443, Scheme.HTTPS, by_name=True),
}


@pytest.mark.parametrize(("text", "target"), TARGETS.items(), ids=TARGETS)
def test_an_upstream(text: str, target: Target) -> None:
    assert stanza(f". {text}").targets == (target,)


OPTIONS = {
    "": {},
    "except a.example.com b": {"excluded": ((b"a", b"example", b"com"), (b"b",))},
    "except a; except b": {"excluded": ((b"a",), (b"b",))},
    "force_tcp": {"force_tcp": True},
    "prefer_udp": {"prefer_udp": True},
    "expire 3m": {"expire": 180.0},
    "max_age 1h": {"max_age": 3600.0},
    "max_idle_conns 5": {"max_idle_connections": 5},
    "max_fails 0": {"health": HealthCheck(max_fails=0)},
    "max_concurrent 1000": {"max_concurrent": 1000},
    "max_connect_attempts 3": {"max_attempts": 3},
    "read_timeout 1500ms": {"read_timeout": 1.5},
    "policy random": {"policy": Policy.RANDOM},
    "policy round_robin": {"policy": Policy.ROUND_ROBIN},
    "policy sequential": {"policy": Policy.SEQUENTIAL},
    "health_check 5s": {"health": HealthCheck(5.0)},
    "health_check 5s no_rec": {"health": HealthCheck(5.0, recursion=False)},
    "health_check 5s no_rec domain example.org": {
        "health": HealthCheck(5.0, recursion=False, domain=(b"example", b"org"))
    },
    "health_check 5s domain Example.org no_rec": {
        "health": HealthCheck(5.0, recursion=False, domain=(b"example", b"org"))
    },
    "max_fails 7; health_check 1s": {"health": HealthCheck(1.0, max_fails=7)},
    "next NXDOMAIN refused": {"next_rcodes": frozenset({3, 5})},
    "next_on_nodata": {"next_on_nodata": True},
    "failover SERVFAIL; failover REFUSED": {"failover": frozenset({2, 5})},
    "failfast_all_unhealthy_upstreams": {"fail_fast": True},
    "source_address 192.0.2.9": {"source_address": "192.0.2.9"},
    "resolver 192.0.2.1 192.0.2.2:5353": {"resolvers": (Target("192.0.2.1", 53), Target("192.0.2.2", 5353))},
    "tls_servername dns.example": {"server_name": "dns.example"},
    "doh_method GET": {"doh_post": False},
    "doh_method POST": {"doh_post": True},
}


@pytest.mark.parametrize(("text", "values"), OPTIONS.items(), ids=OPTIONS)
def test_an_option(text: str, values: dict[str, object]) -> None:
    expected: dict[str, object] = {"zone": (), "targets": (Target("192.0.2.53", 53),), **values}
    assert stanza(f". 192.0.2.53 {{ {text} }}") == Stanza(**expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        (".", ()),
        ("Example.COM", (b"example", b"com")),
        ("10.0.0.0/8", (b"10", b"in-addr", b"arpa")),
        ("10.96.0.0/12", (b"96", b"10", b"in-addr", b"arpa")),
    ],
)
def test_a_zone(text: str, zone: tuple[bytes, ...]) -> None:
    assert stanza(f"{text} 192.0.2.53").zone == zone


WRONG = {
    ".": "forward",
    ". 192.0.2.53:0": "port",
    ". 192.0.2.53:65536": "port",
    ". 192.0.2.53:dns": "port",
    ". [192.0.2.53": "not an address",
    ". [2001:db8::x]:53": "not an address",
    ". ftp://192.0.2.53": "dns, tls or https",
    ". /no/such/file": "'/no/such/file'",
    ". tls://": "",
    ". 192.0.2.53 { except }": "at least 1 argument",
    ". 192.0.2.53 { force_tcp yes }": "takes no arguments",
    ". 192.0.2.53 { expire 10 }": "not a duration",
    ". 192.0.2.53 { max_fails -1 }": "a whole number",
    ". 192.0.2.53 { max_concurrent many }": "a whole number",
    ". 192.0.2.53 { read_timeout 0s }": "not a time to wait",
    ". 192.0.2.53 { read_timeout 61s }": "not a time to wait",
    ". 192.0.2.53 { policy fastest }": "one of random, round_robin, sequential",
    ". 192.0.2.53 { health_check }": "at least 1 argument",
    ". 192.0.2.53 { health_check 1s domain }": "'domain' needs a name",
    ". 192.0.2.53 { health_check 1s rec }": "'rec' is not known here",
    ". 192.0.2.53 { next }": "at least 1 argument",
    ". 192.0.2.53 { next NODATA }": "not an rcode",
    ". 192.0.2.53 { failover NOERROR }": "'failover' cannot be used with NOERROR",
    ". 192.0.2.53 { source_address eth0 }": "not an IP address",
    ". 192.0.2.53 { resolver dns.example }": "not an IP address",
    ". 192.0.2.53 { tls a b c d }": "'d' is too much",
    ". tls://192.0.2.53 { tls /no/such/ca }": "cannot use /no/such/ca",
    ". tls://192.0.2.53 { tls /no/cert /no/key }": "cannot use /no/cert /no/key",
    ". tls://192.0.2.53%a.example { tls_servername b.example }": "exclude each other",
    ". 192.0.2.53 { doh_method PUT }": "one of GET, POST",
    ". 192.0.2.53 { max_fial 1 }": "did you mean 'max_fails'?",
    ". " + " ".join(f"192.0.2.{i}" for i in range(MAX_UPSTREAMS + 1)): "15 are allowed",
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.items(), ids=WRONG)
def test_an_error(text: str, complaint: str) -> None:
    with pytest.raises(CorefileError) as caught:
        stanza(text)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("Corefile:")


def test_as_many_upstreams_as_are_allowed() -> None:
    assert len(stanza(". " + " ".join(f"192.0.2.{i}" for i in range(MAX_UPSTREAMS))).targets) == MAX_UPSTREAMS


class TestFile:
    def write(self, folder: Path, text: str) -> Path:
        path = folder / "resolv.conf"
        path.write_text(text)
        return path

    def test_name_servers_and_nothing_else(self, tmp_path: Path) -> None:
        lines = ["# nameserver 1", ";nameserver 2", "search nameserver", " nameserver 192.0.2.1 x"]
        text = "\n".join([*lines, "nameserver\tfe80::1%lo", "nameserver", "nameserver no"])
        path = self.write(tmp_path, text)
        assert stanza(f". {path}").targets == (Target("192.0.2.1", 53), Target("fe80::1%lo", 53))

    def test_beside_the_corefile(self, tmp_path: Path) -> None:
        self.write(tmp_path, "nameserver 192.0.2.1\n")
        assert stanza(". resolv.conf", tmp_path).targets == (Target("192.0.2.1", 53),)

    def test_without_name_servers(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "search example.com\n")
        with pytest.raises(CorefileError, match="no name server in"):
            stanza(f". {path}")

    @pytest.mark.parametrize(("count", "fits"), [(MAX_UPSTREAMS, True), (MAX_UPSTREAMS + 1, False)])
    def test_with_many(self, count: int, fits: bool, tmp_path: Path) -> None:
        path = self.write(tmp_path, "".join(f"nameserver 192.0.2.{i}\n" for i in range(count)))
        if fits:
            assert len(stanza(f". {path}").targets) == count
        else:
            with pytest.raises(CorefileError, match="15 are allowed"):
                stanza(f". {path}")

    def test_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "resolv.conf"
        path.write_bytes(bytes(range(256)) * 1000)
        with pytest.raises(CorefileError, match="no name server in"):
            stanza(f". {path}")
