"""The plugin `whoami`: tells the client its address, port and transport as the server sees them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import dnslib
from dnslib import RR, DNSLabel

from dnsd.corefile.syntax import Directive
from dnsd.plugins.directive import bare
from dnsd.resolve.answer import ONCE, Answer, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Type
from dnsd.wire.name import MAX_NAME, wire_length


class Whoami(Plugin):
    """Answers every name and type: an address record and an SRV record in the additional section, and no answer."""

    name = "whoami"

    async def answer(self, query: Query, next_: Next) -> Answer:  # noqa: ARG002  nobody answers after it
        """Who asks."""
        client, class_ = query.client, query.question.class_
        packed = ipaddress.ip_address(client.address.partition("%")[0]).packed
        type_, kind = (Type.A, dnslib.A) if len(packed) == 4 else (Type.AAAA, dnslib.AAAA)
        records = [RR(DNSLabel(query.name), type_, class_, 0, kind(tuple(packed)))]
        service = (f"_{client.protocol}".encode(), *query.name)
        if wire_length(service) <= MAX_NAME:
            port = dnslib.SRV(0, 0, client.port, DNSLabel(()))
            records.append(RR(DNSLabel(service), Type.SRV, class_, 0, port))
        return Answer(flags=codes.AA, additional=records, validity=ONCE, reason=Reason("whoami answers every name"))


def setup(directives: Sequence[Directive], context: Context) -> Whoami:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive."""
    bare(directives)
    return Whoami()
