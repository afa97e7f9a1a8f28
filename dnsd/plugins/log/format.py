"""What a line of the query log says: the placeholders of spec.md section 7.2, and the same as fields of a JSON object.

Pure: a query and its answer come in, text goes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dnsd.resolve.answer import Answer
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import class_text, rcode_text, type_text
from dnsd.wire.name import to_text
from dnsd.wire.query import MAX_TCP_SIZE, MIN_UDP_SIZE
from dnsd.wire.size import uncompressed

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
COMBINED = COMMON + ' "{>opcode}"'
EMPTY = "-"
"""What stands for a value that is not there."""

_FLAGS = (
    (codes.QR, "qr"),
    (codes.AA, "aa"),
    (codes.TC, "tc"),
    (codes.RD, "rd"),
    (codes.RA, "ra"),
    (codes.Z, "z"),
    (codes.AD, "ad"),
    (codes.CD, "cd"),
)
_PLACEHOLDER = re.compile(r"\{(>[A-Za-z]+|/[^{}]*|[a-z]+)\}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A query and what came of it."""

    query: Query
    answer: Answer
    seconds: float

    @property
    def flags(self) -> str:
        """The flags of the reply, as it leaves the chain; none where there is no reply."""
        if self.answer.silent:
            return ""
        flags = codes.QR | self.answer.flags | self.query.message.flags & (codes.RD | codes.CD)
        return ",".join(text for bit, text in _FLAGS if flags & bit)

    @property
    def rcode(self) -> str:
        """The rcode of the reply; none where there is no reply."""
        return "" if self.answer.silent else rcode_text(self.answer.rcode)

    @property
    def response_octets(self) -> int:
        """The size of the reply before compression and truncation; 0 where there is none."""
        return 0 if self.answer.silent else uncompressed(self.query.message.question, self.answer.sections())

    @property
    def buffer_octets(self) -> int:
        """The size of reply that the client takes."""
        if self.query.tcp:
            return MAX_TCP_SIZE
        return max(MIN_UDP_SIZE, self.query.edns.size) if self.query.edns else MIN_UDP_SIZE

    @property
    def opcode(self) -> int:
        """The opcode of the query."""
        return self.query.message.flags >> 11 & 0xF


Value = Callable[[Exchange], object]


def seconds_text(seconds: float) -> str:
    """Seconds in plain decimal, to the nanosecond: `0.000072118s`."""
    return f"{max(seconds, 0.0):.9f}".rstrip("0").rstrip(".") + "s"


def _address(text: str) -> str:
    return f"[{text}]" if ":" in text else text


PLACEHOLDERS: dict[str, Value] = {
    "type": lambda exchange: type_text(exchange.query.type),
    "name": lambda exchange: to_text(exchange.query.name),
    "class": lambda exchange: class_text(exchange.query.question.class_),
    "proto": lambda exchange: exchange.query.client.protocol,
    "remote": lambda exchange: _address(exchange.query.client.address),
    "local": lambda exchange: _address(exchange.query.client.local),
    "port": lambda exchange: exchange.query.client.port,
    "size": lambda exchange: exchange.query.message.size,
    "rcode": lambda exchange: exchange.rcode,
    "rsize": lambda exchange: exchange.response_octets,
    "duration": lambda exchange: seconds_text(exchange.seconds),
    ">id": lambda exchange: exchange.query.message.id,
    ">opcode": lambda exchange: exchange.opcode,
    ">do": lambda exchange: str(exchange.query.do).lower(),
    ">bufsize": lambda exchange: exchange.buffer_octets,
    ">rflags": lambda exchange: exchange.flags,
}
"""By what stands in the braces; those of the header, with `>`, in any letter case."""


class Template:
    """A format with placeholders. What is in braces and no placeholder stays as it is; metadata is not there."""

    def __init__(self, text: str) -> None:
        text = text.replace("{combined}", COMBINED).replace("{common}", COMMON)
        self._values: list[Value] = []
        self._text = ""
        at = 0
        for found in _PLACEHOLDER.finditer(text):
            word = found[1].lower() if found[1].startswith(">") else found[1]
            value = PLACEHOLDERS.get(word) if not word.startswith("/") else _missing
            if value is not None:
                self._text += _literal(text[at : found.start()]) + "%s"
                self._values.append(value)
                at = found.end()
        self._text += _literal(text[at:])

    def __call__(self, exchange: Exchange) -> str:
        """The line for one query."""
        return self._text % tuple([_or_empty(value(exchange)) for value in self._values])


def _missing(_: Exchange) -> str:
    return ""


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _or_empty(value: object) -> object:
    return EMPTY if value == "" else value


def fields(exchange: Exchange) -> dict[str, object]:
    """The same, and the reason of the answer, as fields for JSON; sizes in octets, times in seconds."""
    query, answer = exchange.query, exchange.answer
    return {
        "client": query.client.address,
        "client_port": query.client.port,
        "server": query.client.local,
        "protocol": query.client.protocol,
        "id": query.message.id,
        "opcode": exchange.opcode,
        "name": to_text(query.name),
        "class": class_text(query.question.class_),
        "type": type_text(query.type),
        "do": query.do,
        "bufsize": exchange.buffer_octets,
        "size": query.message.size,
        "rcode": exchange.rcode,
        "flags": exchange.flags.split(",") if exchange.flags else [],
        "response_size": exchange.response_octets,
        "duration": round(max(exchange.seconds, 0.0), 9),
        "reason": answer.reason.text if answer.reason else "",
    }
