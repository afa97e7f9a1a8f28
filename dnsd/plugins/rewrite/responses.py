"""What rules of `rewrite` do to answers: names, TTLs, rcodes, and where CNAMEs lead."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import dnslib
from dnslib import RR, DNSLabel
from msgspec.structs import replace

from dnsd.plugins.directive import tellable
from dnsd.plugins.rewrite.matching import Match, name_of, text_of
from dnsd.plugins.rewrite.rule import Response
from dnsd.resolve.answer import Answer, Failure
from dnsd.resolve.plugin import Next
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Rcode, Type

MAX_CHAIN = 10
"""CNAMEs that are followed for one query, rewritten or not; spec.md section 2.5."""

_VALUES: Mapping[int, str] = {
    Type.CNAME: "label", Type.NS: "label", Type.PTR: "label", Type.DNAME: "label", Type.MX: "label",
    Type.SRV: "target", Type.NAPTR: "replacement", Type.SOA: "mname",
}  # fmt: skip
"""Where the rdata of a type has the name that `answer value` is about: dnslib's attribute."""

Change: TypeAlias = Callable[[RR], RR]


def _each(answer: Answer, change: Change) -> Answer:
    """The answer with every record changed; records are shared with whoever keeps them, so they are never written."""

    def changed(records: Sequence[RR]) -> Sequence[RR]:
        return tuple(change(record) for record in records)

    return replace(
        answer,
        answer=changed(answer.answer),
        authority=changed(answer.authority),
        additional=changed(answer.additional),
    )


@dataclass(frozen=True, slots=True)
class OwnerNames(Response):
    """`answer name`: owner names."""

    match: Match

    async def apply(self, answer: Answer, query: Query) -> Answer:  # noqa: ARG002  the contract
        """The answer with other owner names."""
        return _each(answer, self._change)

    def _change(self, record: RR) -> RR:
        text = self.match(text_of(record.rname.label))
        if text is None:
            return record
        return RR(DNSLabel(name_of(text)), record.rtype, record.rclass, record.ttl, record.rdata)


@dataclass(frozen=True, slots=True)
class Values(Response):
    """`answer value`: names in rdata."""

    match: Match

    async def apply(self, answer: Answer, query: Query) -> Answer:  # noqa: ARG002  the contract
        """The answer with other names in its rdata."""
        return _each(answer, self._change)

    def _change(self, record: RR) -> RR:
        attribute = _VALUES.get(record.rtype)
        label = getattr(record.rdata, attribute, None) if attribute is not None else None
        text = self.match(text_of(label.label)) if label is not None else None
        if attribute is None or text is None:
            return record
        rdata = copy.copy(record.rdata)
        setattr(rdata, attribute, DNSLabel(name_of(text)))
        return RR(record.rname, record.rtype, record.rclass, record.ttl, rdata)


@dataclass(frozen=True, slots=True)
class TtlRange(Response):
    """`ttl`: seconds, not less than `low` and not more than `high`."""

    low: int
    high: int

    async def apply(self, answer: Answer, query: Query) -> Answer:  # noqa: ARG002  the contract
        """The answer with other TTLs."""
        changed = _each(answer, self._change)
        ticking = answer.validity.ticking
        if ticking is None:
            return changed
        # A TTL at a limit does not count down with the others: what is kept is right until the next second only.
        until = min(answer.validity.until, ticking + 1.0)
        return replace(changed, validity=replace(answer.validity, until=until))

    def _change(self, record: RR) -> RR:
        ttl = min(max(record.ttl, self.low), self.high)
        return record if ttl == record.ttl else RR(record.rname, record.rtype, record.rclass, ttl, record.rdata)


@dataclass(frozen=True, slots=True)
class OtherRcode(Response):
    """`rcode`: another rcode in the place of one."""

    old: int
    new: int

    async def apply(self, answer: Answer, query: Query) -> Answer:
        """The answer with the other rcode."""
        return replace(answer, rcode=tellable(self.new, query)) if answer.rcode == self.old else answer


@dataclass(frozen=True, slots=True)
class OtherTarget(Response):
    """`cname`: the first CNAME that matches leads elsewhere, and what is there is asked for anew."""

    match: Match
    resolve: Next
    """The server's own front door."""

    async def apply(self, answer: Answer, query: Query) -> Answer:
        """The chain up to that CNAME, and what its new target has."""
        for i, record in enumerate(answer.answer):
            text = self.match(text_of(record.rdata.label.label)) if isinstance(record.rdata, dnslib.CNAME) else None
            if text is not None and record.rtype == Type.CNAME:
                target = name_of(text)
                alias = RR(record.rname, Type.CNAME, record.rclass, record.ttl, dnslib.CNAME(DNSLabel(target)))
                chain = (*answer.answer[:i], alias)
                return await self._follow(replace(answer, answer=chain), query.asking(target))
        return answer

    async def _follow(self, answer: Answer, query: Query) -> Answer:
        """What the target has behind the chain; where it cannot be asked, the chain stands alone."""
        if query.type == Type.CNAME or query.depth >= MAX_CHAIN:
            return answer
        try:
            found = await self.resolve(replace(query, depth=query.depth + 1))
        except Failure as failure:
            found = failure.answer()
        return replace(
            answer,
            rcode=found.rcode if found.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN) else Rcode.NOERROR,
            flags=answer.flags | found.flags & codes.TC,
            answer=(*answer.answer, *found.answer),
            validity=answer.validity & found.validity.steady(),
        )
