"""A query on its way through the chain, and who asked it. Values only."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from dnsd.resolve.answer import Failure
from dnsd.wire import codes, name
from dnsd.wire.name import Name
from dnsd.wire.query import Edns, Message, Question
from dnsd.wire.response import Response


class Client(msgspec.Struct, frozen=True, gc=False):
    """Who asks, and where."""

    address: str
    """Text of the client's IP address."""
    port: int
    protocol: str
    """`udp` or `tcp`."""
    local: str = ""
    """Text of the address that was asked."""
    server: str = ""
    """The listener as metrics name it: `dns://:53`."""


class Query(msgspec.Struct, frozen=True, gc=False):
    """One question, as the next plugin is to see it.

    `message` stays as it came: its question is what the reply echoes. `question` and `edns` may be rewritten.
    """

    message: Message
    question: Question
    edns: Edns | None
    client: Client
    depth: int = 0
    """How many CNAMEs were followed to get here."""
    outcome: Response | Failure | None = None
    """What came of this very question upstream, where it was asked before the chain was."""

    @property
    def name(self) -> Name:
        """The owner name asked for, in lower case."""
        return self.question.name

    @property
    def type(self) -> int:
        """The type asked for."""
        return self.question.type

    @property
    def tcp(self) -> bool:
        """Whether the answer goes back over a stream."""
        return self.client.protocol != "udp"

    @property
    def do(self) -> bool:
        """Whether the client wants DNSSEC records (RFC 3225)."""
        return self.edns is not None and self.edns.do

    @property
    def cd(self) -> bool:
        """Whether the client checks DNSSEC itself (RFC 4035)."""
        return bool(self.message.flags & codes.CD)

    def asking(self, asked: Name, type_: int | None = None, class_: int | None = None) -> Query:
        """This query with another question."""
        return replace(
            self,
            question=question(
                asked,
                self.question.type if type_ is None else type_,
                self.question.class_ if class_ is None else class_,
            ),
            outcome=None,
        )


def question(asked: Name, type_: int, class_: int = codes.Class.IN) -> Question:
    """A question that no client sent."""
    wire = name.to_wire(asked) + type_.to_bytes(2, "big") + class_.to_bytes(2, "big")
    return Question(name.lower(asked), type_, class_, asked, wire)


def from_message(message: Message, client: Client, outcome: Response | Failure | None = None) -> Query:
    """The query that a message asks."""
    return Query(message, message.question, message.edns, client, outcome=outcome)
