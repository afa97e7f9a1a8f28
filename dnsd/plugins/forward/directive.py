"""Reads the directive `forward`: every option of spec.md section 6.1."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word
from dnsd.plugins.directive import rcode
from dnsd.plugins.forward import targets
from dnsd.plugins.forward.settings import MAX_UPSTREAMS, Policy, Scheme, Stanza
from dnsd.wire import name as names

MAX_READ_TIMEOUT = 60.0
"""Seconds. The whole query ends before that; a longer time is a slip."""
MIN_CHECK_INTERVAL = 0.01
"""Seconds between two probes; 0 would be a flood."""


def read(directive: Directive, directory: str) -> Stanza:
    """The stanza. Files that it names are read now.

    Raises:
        CorefileError: an unknown option, a wrong value, or a file that cannot be used.
    """
    return _Reader(directive, directory).read()


class _Reader:
    def __init__(self, directive: Directive, directory: str) -> None:
        self.directive = directive
        self.directory = Path(directory)
        zone, *self.to = words.arguments(directive, 2)
        self.stanza = Stanza(names.from_text(words.zone(zone)), ())
        self.tls: tuple[Word, ...] = ()

    def read(self) -> Stanza:
        known = [name.removeprefix("_option_") for name in dir(self) if name.startswith("_option_")]
        for option in self.directive.options:
            handler = getattr(self, f"_option_{option.name.text}", None)
            if handler is None:
                raise words.unknown_option(option, known)
            words.no_options(option)
            handler(option)
        found = [target for word in self.to for target in targets.read(word, self.directory)]
        if len(found) > MAX_UPSTREAMS:
            raise CorefileError(self.to[-1].position, f"{len(found)} upstreams, of which {MAX_UPSTREAMS} are allowed")
        if self.stanza.server_name and any(target.server_name for target in found):
            raise CorefileError(
                self.directive.name.position,
                "'tls_servername' and names after '%' exclude each other",
                "use one of them",
            )
        context = self._context() if any(target.scheme is not Scheme.DNS for target in found) else None
        return replace(self.stanza, targets=tuple(found), tls=context)

    def _context(self) -> ssl.SSLContext:
        """How the upstreams' certificates are checked, and what ours is: `tls [CERT KEY] [CA]`."""
        files = [str(self.directory / word.text) for word in self.tls]
        authority = files.pop() if len(files) % 2 else None
        try:
            context = ssl.create_default_context(cafile=authority)
            if files:
                context.load_cert_chain(*files)
        except OSError as error:
            texts = " ".join(word.text for word in self.tls)
            raise CorefileError(self.tls[0].position, f"cannot use {texts}: {error}") from error
        return context

    def _set(self, **values: object) -> None:
        self.stanza = replace(self.stanza, **values)  # type: ignore[arg-type]

    def _option_except(self, option: Option) -> None:
        zones = tuple(names.from_text(zone) for zone in words.zones(words.arguments(option, 1)))
        self._set(excluded=self.stanza.excluded + zones)

    def _option_force_tcp(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self._set(force_tcp=True)

    def _option_prefer_udp(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self._set(prefer_udp=True)

    def _option_expire(self, option: Option) -> None:
        self._set(expire=words.duration(_one(option)))

    def _option_max_age(self, option: Option) -> None:
        self._set(max_age=words.duration(_one(option)))

    def _option_max_idle_conns(self, option: Option) -> None:
        self._set(max_idle_connections=words.integer(_one(option), 0))

    def _option_max_fails(self, option: Option) -> None:
        self._set(health=replace(self.stanza.health, max_fails=words.integer(_one(option), 0)))

    def _option_max_concurrent(self, option: Option) -> None:
        self._set(max_concurrent=words.integer(_one(option), 0))

    def _option_max_connect_attempts(self, option: Option) -> None:
        self._set(max_attempts=words.integer(_one(option), 0))

    def _option_read_timeout(self, option: Option) -> None:
        word = _one(option)
        seconds = words.duration(word)
        if not 0 < seconds <= MAX_READ_TIMEOUT:
            raise CorefileError(word.position, f"'{word.text}' is not a time to wait", "more than 0, at most 60s")
        self._set(read_timeout=seconds)

    def _option_policy(self, option: Option) -> None:
        self._set(policy=Policy(words.choice(_one(option), *(policy.value for policy in Policy))))

    def _option_health_check(self, option: Option) -> None:
        interval, *rest = words.arguments(option, 1, 4)
        health = replace(self.stanza.health, interval=max(words.duration(interval), MIN_CHECK_INTERVAL))
        while rest:
            word = rest.pop(0)
            if words.choice(word, "no_rec", "domain") == "no_rec":
                health = replace(health, recursion=False)
            elif rest:
                health = replace(health, domain=names.from_text(words.zone(rest.pop(0))))
            else:
                raise CorefileError(word.position, "'domain' needs a name")
        self._set(health=health)

    def _option_next(self, option: Option) -> None:
        self._set(next_rcodes=self.stanza.next_rcodes | _rcodes(option))

    def _option_next_on_nodata(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self._set(next_on_nodata=True)

    def _option_failover(self, option: Option) -> None:
        rcodes = _rcodes(option)
        if 0 in rcodes:
            raise CorefileError(option.name.position, "'failover' cannot be used with NOERROR")
        self._set(failover=self.stanza.failover | rcodes)

    def _option_failfast_all_unhealthy_upstreams(self, option: Option) -> None:
        words.arguments(option, 0, 0)
        self._set(fail_fast=True)

    def _option_source_address(self, option: Option) -> None:
        self._set(source_address=str(words.ip_address(_one(option))))

    def _option_resolver(self, option: Option) -> None:
        self._set(resolvers=tuple(targets.address(word) for word in words.arguments(option, 1)))

    def _option_doh_method(self, option: Option) -> None:
        self._set(doh_post=words.choice(_one(option), "GET", "POST") == "POST")

    def _option_tls(self, option: Option) -> None:
        files = words.arguments(option, 0, 3)
        self.tls = files

    def _option_tls_servername(self, option: Option) -> None:
        self._set(server_name=_one(option).text)


def _one(option: Option) -> Word:
    return words.arguments(option, 1, 1)[0]


def _rcodes(option: Option) -> frozenset[int]:
    return frozenset(rcode(word) for word in words.arguments(option, 1))
