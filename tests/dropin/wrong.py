"""Corefiles with one mistake each, the place where it is, and what is to be said about it."""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """One mistake."""

    text: str
    """The Corefile; a line alone is a directive of `.`, and lines below it with more blanks are its options."""
    place: str
    """LINE:COLUMN."""
    says: str
    """Part of the line that it gets."""
    hint: str = ""
    """Part of what stands in parentheses at its end; nothing where there is no hint."""

    @property
    def corefile(self) -> str:
        """The whole file."""
        return self.text if self.text.endswith("\n") else f".:53 {{\n    {self.text}\n}}\n"


FIFTEEN = " ".join(f"192.0.2.{i}" for i in range(1, 16))

SYNTAX = {
    "an empty file": Mistake("\n", "1:1", "no server block", "'.'"),
    "only a comment": Mistake("# later\n", "1:1", "no server block", "'.'"),
    "a block that is never closed": Mistake(".:53 {\n    errors\n", "1:6", "never closed", "'}' is missing"),
    "an option's block that is never closed": Mistake(".:53 {\n    health {\n    errors\n}\n", "1:6", "never closed", "'}' is missing"),
    "a brace too many": Mistake(".:53 {\n    errors\n}\n}\n", "4:1", "without a matching"),
    "a brace on the next line": Mistake(".:53\n{\n    errors\n}\n", "2:1", "same line", "end of the line of '.:53'"),
    "a brace that is glued to its zone": Mistake(".:53{\n    errors\n}\n", "1:5", "glued", "put a blank"),
    "a block without a zone": Mistake("{\n    errors\n}\n", "1:1", "without a zone", "every name"),
    "a quote that is never closed": Mistake('.:53 {\n    hosts "names\n}\n', "2:11", "quote is never closed", "\\\""),
    "words after a brace": Mistake(".:53 {\n    health {\n        lameduck 5s\n    } errors\n}\n", "4:7", "'errors' after '}'", "new line"),
    "a zone after a comma that is missing": Mistake("a.test, {\n    errors\n}\n", "1:1", "no zone follows", "leave the comma out"),
    "a zone of a variable that is not set": Mistake("{$NOT_SET_ANYWHERE} {\n    errors\n}\n", "1:1", "without a zone", "variable"),
    "a scheme that is none": Mistake("http://.:53 {\n    errors\n}\n", "1:1", "unknown scheme 'http'", "dns"),
    "a scheme without a listener": Mistake("quic://.:853 {\n    errors\n}\n", "1:1", "'quic' is not served", "dns://"),
    "a port that is none": Mistake(".:dns {\n    errors\n}\n", "1:1", "'dns' is not a port", "65535"),
    "a port above the last": Mistake(".:65536 {\n    errors\n}\n", "1:1", "'65536' is not a port", "65535"),
    "a prefix that is too long": Mistake("10.0.0.0/33:53 {\n    errors\n}\n", "1:1", "prefix length", "32"),
    "a label that is too long": Mistake("a" * 64 + ".test {\n    errors\n}\n", "1:1", "label of 64 octets", "63"),
    "an empty label": Mistake("a..test {\n    errors\n}\n", "1:1", "empty label", "two dots"),
    "a snippet that nobody wrote": Mistake("import common", "2:12", "no snippet 'common'", "above"),
    "a file that is not there": Mistake(".:53 {\n    errors\n}\nimport custom/stub.server\n", "4:8", "no file", "snippet"),
    "a snippet that is written twice": Mistake("(a) {\n    errors\n}\n(a) {\n    log\n}\n.:53 {\n    import a\n}\n", "4:1", "defined twice"),
    "a snippet that imports itself": Mistake("(a) {\n    import a\n}\n.:53 {\n    import a\n}\n", "2:12", "imports itself"),
    "import of two at once": Mistake("(a) {\n    errors\n}\n.:53 {\n    import a b\n}\n", "5:14", "one name only", "one line for each"),
    "the same zone twice": Mistake(".:53 {\n    errors\n}\n.:53 {\n    errors\n}\n", "4:1", "already served", "another port"),
    "the same zone twice, once spelled otherwise": Mistake("Test:53 {\n    errors\n}\na.test test.:53 {\n    errors\n}\n", "4:8", "already served", "another port"),
    "a reverse zone inside a network that is served": Mistake("10.96.0.0/12 {\n    errors\n}\n100.10.in-addr.arpa {\n    errors\n}\n", "4:1", "already served", "another port"),
    "a zone with `bind` and without": Mistake(".:53 {\n    bind 127.0.0.1\n}\n.:53 {\n    errors\n}\n", "4:1", "already served", "bind"),
    "a directive that nobody has": Mistake("frobnicate", "2:5", "unknown directive 'frobnicate'"),
    "a directive that is nearly one": Mistake("kubernets cluster.local", "2:5", "unknown directive 'kubernets'", "did you mean 'kubernetes'?"),
    "a directive that is not there any more": Mistake("proxy . 192.0.2.53", "2:5", "unknown directive 'proxy'"),
    "a directive of another server": Mistake("recursion yes", "2:5", "unknown directive 'recursion'"),
}  # fmt: skip

DIRECTIVES = {
    # kubernetes
    "kubernetes: twice": Mistake("kubernetes cluster.local\n    kubernetes other.local", "3:5", "once in a server block"),
    "kubernetes: reverse zones only": Mistake("kubernetes in-addr.arpa ip6.arpa", "2:5", "no reverse zone", "cluster.local"),
    "kubernetes: an option that is nearly one": Mistake("kubernetes cluster.local {\n        fallthru in-addr.arpa\n    }", "3:9", "unknown option 'fallthru'", "fallthrough"),
    "kubernetes: an option of old": Mistake("kubernetes cluster.local {\n        upstream\n    }", "3:9", "unknown option 'upstream'"),
    "kubernetes: a TTL out of range": Mistake("kubernetes cluster.local {\n        ttl 86400\n    }", "3:13", "from 0 to 3600"),
    "kubernetes: a mode of pods that is none": Mistake("kubernetes cluster.local {\n        pods all\n    }", "3:14", "'all'", "disabled, insecure, verified"),
    "kubernetes: two filters of namespaces": Mistake("kubernetes cluster.local {\n        namespaces a\n        namespace_labels b=c\n    }", "4:9", "exclude each other", "one of them"),
    "kubernetes: a selector that is none": Mistake("kubernetes cluster.local {\n        labels a in b\n    }", "3:16", "not a label selector", "app=web"),
    "kubernetes: tls with two files": Mistake("kubernetes cluster.local {\n        endpoint https://192.0.2.1\n        tls a b\n    }", "4:9", "'tls' needs 3 arguments"),
    "kubernetes: a kubeconfig without a path": Mistake("kubernetes cluster.local {\n        kubeconfig\n    }", "3:9", "'kubeconfig' needs"),
    "kubernetes: a time that is none": Mistake("kubernetes cluster.local {\n        startup_timeout 5\n    }", "3:25", "not a duration", "30s"),
    "kubernetes: a foreign zone as multicluster": Mistake("kubernetes cluster.local {\n        multicluster clusterset.local\n    }", "3:22", "clusterset.local"),
    "kubernetes: zonal names without endpoints": Mistake("kubernetes cluster.local {\n        noendpoints\n        zonal\n    }", "4:9", "exclude each other", "endpoints"),
    "kubernetes: ignore what": Mistake("kubernetes cluster.local {\n        ignore empty\n    }", "3:16", "'empty'", "empty_service"),
    # forward
    "forward: nothing at all": Mistake("forward", "2:5", "'forward' needs at least 2 arguments"),
    "forward: without an upstream": Mistake("forward .", "2:5", "'forward' needs at least 2 arguments"),
    "forward: a file that is not there": Mistake("forward . /etc/no-such-resolv.conf", "2:15", "/etc/no-such-resolv.conf"),
    "forward: more than 15 upstreams": Mistake(f"forward . {FIFTEEN} 192.0.2.16", "2:171", "16 upstreams, of which 15 are allowed"),
    "forward: a port that is none": Mistake("forward . 192.0.2.53:domain", "2:15", "'domain' is not a port", "65535"),
    "forward: a scheme that is none": Mistake("forward . quic://192.0.2.53", "2:15", "'quic'", "tls"),
    "forward: a policy that is none": Mistake("forward . 192.0.2.53 {\n        policy fastest\n    }", "3:16", "'fastest'", "round_robin"),
    "forward: a number without a number": Mistake("forward . 192.0.2.53 {\n        max_concurrent many\n    }", "3:24", "'many'"),
    "forward: an option that is nearly one": Mistake("forward . 192.0.2.53 {\n        force-tcp\n    }", "3:9", "unknown option 'force-tcp'", "force_tcp"),
    "forward: a certificate that is not there": Mistake("forward . tls://192.0.2.53 {\n        tls /no/ca.pem\n    }", "3:13", "/no/ca.pem"),
    # cache
    "cache: a TTL of nothing": Mistake("cache 0", "2:11", "'0'"),
    "cache: an option that is none": Mistake("cache 30 {\n        disabled success\n    }", "3:9", "unknown option 'disabled'", "disable"),
    "cache: disable what": Mistake("cache 30 {\n        disable everything\n    }", "3:17", "'everything'", "success"),
    "cache: a store without a size": Mistake("cache 30 {\n        success\n    }", "3:9", "'success' needs"),
    "cache: failures for an hour": Mistake("cache 30 {\n        servfail 1h\n    }", "3:18", "'1h' is too long", "300s"),
    "cache: twice": Mistake("cache 30\n    cache 60", "3:5", "once in a server block"),
    # the rest of kubeadm's
    "health: not an address": Mistake("health 8080", "2:12", "'8080'", ":8080"),
    "health: a time that is none": Mistake("health {\n        lameduck 5\n    }", "3:18", "'5' is not a duration", "30s"),
    "ready: twice": Mistake("ready\n    ready", "3:5", "once in a server block"),
    "prometheus: two addresses": Mistake("prometheus :9153 :9154", "2:22", "':9154' is too much"),
    "errors: an expression that is none": Mistake('errors {\n        consolidate 5m "(timeout"\n    }', "3:24", "not a regular expression"),
    "loop: with a word": Mistake("loop twice", "2:10", "'twice' is too much"),
    "reload: too often": Mistake("reload 1s", "2:12", "too short", "2s"),
    "loadbalance: a policy that is none": Mistake("loadbalance least_conn", "2:17", "'least_conn'", "round_robin"),
    # what people add
    "rewrite: without a rule": Mistake("rewrite name", "2:13", "'name' needs a name"),
    "rewrite: an expression that is none": Mistake("rewrite name regex (.*\\.a b", "2:24", "not a regular expression"),
    "rewrite: a field that is none": Mistake("rewrite nam a.test b.test", "2:13", "'nam' is no field", "name, type"),
    "hosts: a line that is none": Mistake("hosts {\n        192.0.2.256 a.test\n    }", "3:9", "192.0.2.256"),
    "hosts: an address without a name": Mistake("hosts {\n        192.0.2.1\n    }", "3:9", "192.0.2.1"),
    "file: without a file": Mistake("file", "2:5", "'file' needs"),
    "template: a template that is none": Mistake('template IN A {\n        answer "{{ .Name"\n    }', "3:16", "{{"),
    "template: a type that is none": Mistake("template IN AAAAA {\n        rcode NXDOMAIN\n    }", "2:17", "'AAAAA' is not a record type", "such as A"),
    "template: an rcode that is none": Mistake("template IN A {\n        rcode NODATA\n    }", "3:15", "'NODATA' is not an rcode", "NXDOMAIN"),
    "acl: an action that is none": Mistake("acl {\n        deny net 10.0.0.0/8\n    }", "3:9", "'deny'"),
    "acl: a network that is none": Mistake("acl {\n        block net 10.0.0.0/33\n    }", "3:19", "'10.0.0.0/33' is not a network", "10.0.0.0/8"),
    "acl: a type that is none": Mistake("acl {\n        block type ADDRESS\n    }", "3:20", "'ADDRESS' is not a record type", "such as A"),
    "log: a class that is none": Mistake("log . {\n        class errors\n    }", "3:15", "'errors'", "error"),
    "autopath: of nobody": Mistake("autopath @consul", "2:14", "'@consul' has no search paths", "@kubernetes"),
    "bind: an address that is none": Mistake("bind 10.0.0.999", "2:10", "'10.0.0.999'", "lo"),
    "bufsize: too small": Mistake("bufsize 100", "2:13", "512"),
    "dns64: a prefix that is none": Mistake("dns64 64:ff9b::/95", "2:11", "/95", "/96"),
    "k8s_external: a TTL that is none": Mistake("k8s_external example.org {\n        ttl long\n    }", "3:13", "'long'"),
    "transfer: to nobody": Mistake("transfer", "2:5", "'transfer' needs 'to'", "everybody"),
    "header: a flag that is none": Mistake("header {\n        response set tc\n    }", "3:22", "'tc' is no flag", "aa, ra, rd"),
    "whoami: with options": Mistake("whoami {\n        loudly\n    }", "3:9", "has no options"),
}  # fmt: skip
