"""The plugin `chaos`: says in class CH who the server is. RFC 4892 for `id.server`; BIND's names for the rest."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from dnslib import RR, DNSLabel

from dnsd import __version__
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Word
from dnsd.plugins.directive import once
from dnsd.resolve.answer import ALWAYS, Answer, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire.codes import Class, Type
from dnsd.wire.name import Name
from dnsd.wire.records import strings

MAX_STRING = 255
"""Octets of a character string (RFC 1035 section 3.3)."""
AUTHORS = (b"the dnsd authors",)


class Chaos(Plugin):
    """Answers TXT in class CH for the names it knows, and passes everything else on."""

    name = "chaos"

    def __init__(self, version: bytes, authors: Sequence[bytes], host: bytes) -> None:
        self.texts: Mapping[Name, Sequence[bytes]] = {
            (b"version", b"bind"): (version,),
            (b"version", b"server"): (version,),
            (b"authors", b"bind"): authors,
            (b"hostname", b"bind"): (host,),
            (b"id", b"server"): (host,),
        }
        """The texts of each name, one a record."""

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The texts of a name, in class CH."""
        texts = self.texts.get(query.name)
        if texts is None or query.question.class_ != Class.CH or query.type != Type.TXT:
            return await next_(query)
        owner = DNSLabel(query.name)
        records = tuple(RR(owner, Type.TXT, Class.CH, 0, strings(text)) for text in texts)
        return Answer(answer=records, validity=ALWAYS, reason=Reason("the server says who it is"))


def setup(directives: Sequence[Directive], context: Context) -> Chaos:  # noqa: ARG001  the plugin contract
    """The plugin, from its directive: a version and authors, both optional."""
    directive = once(directives)
    words.no_options(directive)
    version, *authors = map(_text, directive.arguments) if directive.arguments else [f"dnsd-{__version__}".encode()]
    return Chaos(version, authors or AUTHORS, socket.gethostname().encode()[:MAX_STRING])


def _text(word: Word) -> bytes:
    text = word.text.encode()
    if len(text) > MAX_STRING:
        raise CorefileError(word.position, f"text of {len(text)} octets", f"at most {MAX_STRING}")
    return text
