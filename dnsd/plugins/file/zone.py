"""A zone at rest: its names and RRsets, and what makes a set of records a zone. Pure; answers no question."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dnslib import RR

from dnsd.plugins.file.reader import Record
from dnsd.plugins.file.tokens import ZoneError
from dnsd.wire import name as names
from dnsd.wire.codes import Type, type_text
from dnsd.wire.name import Name

RRSIG, NSEC = 46, 47
_WITH_CNAME = frozenset({Type.CNAME, RRSIG, NSEC})
"""Types that may be where a CNAME is (RFC 2181 section 10.1, RFC 4034 section 4)."""
MAX_WARNINGS = 10
"""Told about one file at a time; a file made for another zone would have as many as records."""

Node: TypeAlias = Mapping[int, tuple[RR, ...]]
"""The RRsets of a name, by type; none at a name that only has others below it (RFC 4592 section 2.2.2)."""


@dataclass(frozen=True, slots=True)
class Zone:
    """The names of a zone, in lower case, with all that lie between them and the apex."""

    origin: Name
    soa: RR
    nodes: Mapping[Name, Node]
    denials: tuple[Name, ...] = ()
    """Labels, last first, of the names that have NSEC records, in canonical order (RFC 4034 section 6.1)."""

    @property
    def serial(self) -> int:
        """Of the SOA record."""
        return serial_of(self.soa)

    @property
    def apex(self) -> Node:
        """The RRsets of the origin."""
        return self.nodes[self.origin]

    def records(self) -> Iterator[RR]:
        """Every record but the SOA, the name servers first."""
        yield from self.apex.get(Type.NS, ())
        for name, node in self.nodes.items():
            for type_, records in node.items():
                if name != self.origin or type_ not in (Type.SOA, Type.NS):
                    yield from records

    def denial(self, name: Name) -> Name | None:
        """The name whose NSEC record covers `name`, or is its own; None where the zone is not signed."""
        if not self.denials:
            return None
        at = bisect.bisect_right(self.denials, name[::-1])
        return self.denials[at - 1][::-1]


def serial_of(soa: RR) -> int:
    """The serial of a SOA record."""
    serial: int = soa.rdata.times[0]
    return serial


@dataclass(slots=True)
class Builder:
    """A zone in the making, record by record."""

    origin: Name
    file: str
    warnings: list[str] = field(default_factory=list)
    """What is wrong and can be lived with; the first MAX_WARNINGS."""
    _nodes: dict[Name, dict[int, dict[bytes, RR]]] = field(default_factory=dict)
    """Records by their rdata: a record that is there twice is there once (RFC 2181 section 5)."""

    def add(self, record: Record) -> None:
        """Take a record in.

        Raises:
            ZoneError: it is a second SOA record, or one at another name than the origin.
        """
        name, type_ = names.lower(record.owner), record.rr.rtype
        if not names.is_under(name, self.origin):
            self._leave_out(record, f"is not in {names.to_text(self.origin)}")
            return
        rrset = self._nodes.setdefault(name, {}).setdefault(type_, {})
        other = bool(rrset) and record.wire not in rrset
        if type_ == Type.SOA and (name != self.origin or other):
            message = f"a SOA record that is not the one of {names.to_text(self.origin)}"
            raise ZoneError(record.file, record.line, message)
        if type_ == Type.CNAME and (name == self.origin or other):
            self._leave_out(record, "is the apex" if name == self.origin else "has another CNAME record")
            return
        rrset.setdefault(record.wire, record.rr)

    def finish(self) -> Zone:
        """The zone.

        Raises:
            ZoneError: it has no SOA record.
        """
        soa = self._nodes.get(self.origin, {}).get(Type.SOA)
        if not soa:
            raise ZoneError(self.file, 0, f"no SOA record for {names.to_text(self.origin)}")
        nodes: dict[Name, Node] = {}
        denials: list[Name] = []
        for name, rrsets in self._nodes.items():
            if rrsets.get(Type.CNAME) and not rrsets.keys() <= _WITH_CNAME:
                self._warn(f"{self.file}: {names.to_text(name)} has a CNAME record; its others are left out")
                for type_ in rrsets.keys() - _WITH_CNAME:
                    del rrsets[type_]
            nodes[name] = {type_: tuple(rrset.values()) for type_, rrset in rrsets.items() if rrset}
            for i in range(1, len(name) - len(self.origin)):
                nodes.setdefault(name[i:], {})
            if NSEC in rrsets:
                denials.append(name[::-1])
        return Zone(self.origin, next(iter(soa.values())), nodes, tuple(sorted(denials)))

    def _leave_out(self, record: Record, why: str) -> None:
        owner, type_ = names.to_text(record.owner), type_text(record.rr.rtype)
        self._warn(f"{record.file}:{record.line}: {owner} {why}; its {type_} record is left out")

    def _warn(self, text: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)
