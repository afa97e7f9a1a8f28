"""What a zone answers to a question, as far as the zone goes. Pure.

The algorithm is that of RFC 1034 section 4.3.2, with wildcards as in RFC 4592, DNAME as in RFC 6672 and what a signed
zone adds as in RFC 4035 section 3.1. Name servers and SOA go where the reference has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import dnslib
from dnslib import RR, DNSLabel

from dnsd.plugins.file.zone import NSEC, RRSIG, Node, Zone
from dnsd.wire import name as names
from dnsd.wire import records
from dnsd.wire.codes import Rcode, Type
from dnsd.wire.name import Name

MAX_CHAIN = 10
"""CNAMEs that are followed for one question."""
YXDOMAIN = 6
"""Rcode: a DNAME makes a name that is too long (RFC 6672 section 2.2)."""
_ALIASES = frozenset({Type.CNAME, Type.ANY, NSEC, RRSIG})
"""Types that are found at the owner of a CNAME, and not where it points."""
_SERVICES = (64, 65)
"""SVCB and HTTPS."""


@dataclass(slots=True)
class Found:
    """The sections of an answer, and where the zone's knowledge ends."""

    reason: str
    rcode: int = Rcode.NOERROR
    answer: list[RR] = field(default_factory=list)
    authority: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    target: Name | None = None
    """A CNAME's target outside this zone, or below a zone cut: somebody else may know it."""
    referral: bool = False
    """Whether the name is in a zone of somebody else, whose name servers are in `authority`."""
    passes: bool = False
    """Whether `fallthrough` applies: the name does not exist, or is no owner of records itself."""


def lookup(zone: Zone, asked: Name, type_: int, *, do: bool = False) -> Found:
    """What `zone` has for a name that is in it; `do` asks for signatures and proofs too."""
    return _Lookup(zone, type_, do=do).run(asked)


class _Lookup:
    def __init__(self, zone: Zone, type_: int, *, do: bool) -> None:
        self.zone = zone
        self.type = type_
        self.do = do
        self.found = Found("")

    def run(self, asked: Name) -> Found:
        """Follow CNAMEs until there is an answer, or the zone ends."""
        found, seen = self.found, set[Name]()
        target: Name | None = asked
        while target is not None:
            name = names.lower(target)
            if name in seen or len(seen) > MAX_CHAIN:
                found.reason = "a loop of CNAMEs, or too many"
                self._name_servers()
                break
            seen.add(name)
            if not names.is_under(name, self.zone.origin):
                self._leave(target)
                break
            target = self._step(target, name)
        return found

    def _step(self, asked: Name, name: Name) -> Name | None:
        """Answer for one name, or return where its alias points."""
        zone, encloser = self.zone, self.zone.origin
        for length in range(len(zone.origin), len(name) + 1):
            part = name[len(name) - length :]
            node = zone.nodes.get(part)
            if node is None:
                return self._below(encloser, asked, name)
            encloser = part
            if length < len(name) and Type.DNAME in node:
                return self._substitute(node, part, asked)
            if part != zone.origin and Type.NS in node and (length < len(name) or self.type != Type.DS):
                self._cut(node, part, asked)
                return None
        return self._at(zone.nodes[name], name)

    def _at(self, node: Node, name: Name) -> Name | None:
        """The name itself is in the zone."""
        if Type.CNAME in node and self.type not in _ALIASES:
            self.found.answer += self._set(node, Type.CNAME)
            return _target(node[Type.CNAME][0])
        if self._data(node, None):
            if self.type != Type.NS or name != self.zone.origin:
                self._name_servers()
            return None
        self._no_data(f"{names.to_text(name)} has no records of this type", name)
        self.found.passes = not node
        return None

    def _below(self, encloser: Name, asked: Name, name: Name) -> Name | None:
        """The name is not in the zone: the wildcard below its closest encloser answers, if there is one."""
        wildcard = (b"*", *encloser)
        node = self.zone.nodes.get(wildcard)
        if node is None:
            self._no_data(f"{names.to_text(name)} does not exist", name, wildcard)
            self.found.rcode = Rcode.NXDOMAIN
            self.found.passes = True
            return None
        if Type.CNAME in node and self.type not in _ALIASES:
            self.found.answer += _renamed(self._set(node, Type.CNAME), asked)
            return _target(node[Type.CNAME][0])
        if self._data(node, asked):
            self._name_servers()
            self.found.authority += self._denials(name)
            return None
        self._no_data(f"{names.to_text(wildcard)} has no records of this type", wildcard, name)
        self.found.passes = True
        return None

    def _data(self, node: Node, owner: Name | None) -> bool:
        """Answer with the RRset asked for, if the node has it; for ANY with one of them (RFC 8482 section 4.1)."""
        type_ = next(iter(node), self.type) if self.type == Type.ANY else self.type
        rrset = self._set(node, type_)
        if not rrset:
            return False
        self.found.answer += rrset if owner is None else _renamed(rrset, owner)
        self.found.additional += self._addresses(node[type_], self.zone.origin)
        self.found.reason = "records of the zone"
        return True

    def _substitute(self, node: Node, owner: Name, asked: Name) -> Name | None:
        """A DNAME above the name: the alias that it makes (RFC 6672 section 3.1)."""
        dname = node[Type.DNAME][0]
        self.found.answer += self._set(node, Type.DNAME)
        target = (*names.relative(asked, owner), *dname.rdata.label.label)
        try:
            names.checked(target)
        except names.BadName as error:
            self.found.rcode, self.found.reason = YXDOMAIN, str(error)
            return None
        self.found.answer.append(records.cname(asked, dname.ttl, target))
        if self.type in _ALIASES:
            self._name_servers()
            return None
        return target

    def _cut(self, node: Node, owner: Name, asked: Name) -> None:
        """The name is in a zone below this one."""
        if self.found.answer:
            self._leave(asked)
            return
        self.found.referral = True
        self.found.reason = f"{names.to_text(owner)} is delegated"
        self.found.authority += self._set(node, Type.NS)
        if self.do:
            self.found.authority += self._set(node, Type.DS) or self._set(node, NSEC)
        self.found.additional += self._addresses(node[Type.NS], owner)

    def _leave(self, target: Name) -> None:
        self.found.target = target
        self.found.reason = "a CNAME that leads out of the zone"
        self._name_servers()

    def _name_servers(self) -> None:
        self.found.authority += self._set(self.zone.apex, Type.NS)

    def _no_data(self, reason: str, *denied: Name) -> None:
        self.found.reason = reason
        self.found.authority += self._set(self.zone.apex, Type.SOA)
        self.found.authority += self._denials(*denied)

    def _denials(self, *denied: Name) -> list[RR]:
        """The NSEC records that say that names, or types at them, do not exist."""
        if not self.do:
            return []
        covering = dict.fromkeys(self.zone.denial(name) for name in denied)
        return [rr for name in covering if name is not None for rr in self._set(self.zone.nodes[name], NSEC)]

    def _set(self, node: Node, type_: int) -> list[RR]:
        """An RRset, with its signatures for whoever asks for them."""
        rrset = list(node.get(type_, ()))
        if self.do and rrset and type_ != RRSIG:
            covered = type_.to_bytes(2, "big")
            rrset += [rr for rr in node.get(RRSIG, ()) if rr.rdata.data[:2] == covered]
        return rrset

    def _addresses(self, rrset: Iterable[RR], within: Name) -> list[RR]:
        """Addresses of the hosts that records name, where those are at or below `within`."""
        hosts = dict.fromkeys(host for rr in rrset if (host := _host(rr)) is not None)
        return [
            rr
            for host in hosts
            if names.is_under(host, within) and host in self.zone.nodes
            for type_ in (Type.A, Type.AAAA)
            for rr in self._set(self.zone.nodes[host], type_)
        ]


def _target(rr: RR) -> Name:
    target: Name = rr.rdata.label.label
    return target


def _renamed(rrset: Iterable[RR], owner: Name) -> list[RR]:
    """What a wildcard makes for a name (RFC 1034 section 4.3.3)."""
    return [RR(DNSLabel(owner), rr.rtype, rr.rclass, rr.ttl, rr.rdata) for rr in rrset]


def _host(rr: RR) -> Name | None:
    """The host that a record names in its rdata (RFC 1035 section 3.3, RFC 2782, RFC 9460 section 4.1)."""
    if rr.rtype in (Type.NS, Type.MX):
        return records.name_of(rr.rdata.label)
    if rr.rtype == Type.SRV:
        return records.name_of(rr.rdata.target)
    if rr.rtype in _SERVICES:
        buffer = dnslib.DNSBuffer(rr.rdata.data)
        buffer.offset = 2
        return records.name_of(buffer.decode_name()) or records.name_of(rr.rname)
    return None
