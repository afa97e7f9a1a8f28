"""What a template knows of a query: `.Name`, `.Group`, `.Message` and so on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dnsd.plugins.template.nodes import Template, TemplateError
from dnsd.plugins.template.run import Struct
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Class, Type, class_text, type_text
from dnsd.wire.name import Name, to_text

FIELDS = ("Zone", "Name", "Class", "Type", "Match", "Group", "Regex", "Question", "Message", "Remote", "Meta")
PERSONAL = frozenset({"Question", "Message", "Remote"})
"""Fields that are not the same for everybody who asks the same: letter case, id and flags, address."""


def of(query: Query, zone: Name, match: re.Match[str], class_: int, type_: int) -> Struct:
    """The data for one query. `class_` and `type_` are the template's, for queries that ask for ANY."""
    question = query.question
    asked = _question(to_text(question.asked), question.type, question.class_)
    group = {str(i): text or "" for i, text in enumerate((match[0], *match.groups()))}
    group |= {name: text or "" for name, text in match.groupdict().items()}
    return Struct(
        Zone=to_text(zone),
        Name=to_text(question.name),
        Class=class_text(class_ if question.class_ == Class.ANY else question.class_),
        Type=type_text(type_ if question.type == Type.ANY else question.type),
        Match=[match[0], *(text or "" for text in match.groups())],
        Group=group,
        Regex=match.re.pattern,
        Question=asked,
        Message=_message(query, asked),
        Remote=query.client.address,
        Meta=_meta,
    )


def _question(name: str, type_: int, class_: int) -> Struct:
    return Struct(Name=name, Qtype=type_, Qclass=class_)


def _message(query: Query, asked: Struct) -> Struct:
    """As miekg/dns has a query, whose header's fields are fields of the message as well."""
    flags = query.message.flags
    header = Struct(
        Id=query.message.id,
        Response=False,
        Opcode=flags >> 11 & 0xF,
        Authoritative=bool(flags & codes.AA),
        Truncated=bool(flags & codes.TC),
        RecursionDesired=bool(flags & codes.RD),
        RecursionAvailable=bool(flags & codes.RA),
        Zero=bool(flags & codes.Z),
        AuthenticatedData=bool(flags & codes.AD),
        CheckingDisabled=bool(flags & codes.CD),
        Rcode=0,
    )
    return Struct(MsgHdr=header, **header, Question=[asked], Answer=[], Ns=[], Extra=[])


def _meta(label: str) -> str:  # noqa: ARG001  the signature of CoreDNS's method
    """The metadata with this label: no plugin gives any."""
    return ""


def check(template: Template, patterns: Sequence[re.Pattern[str]]) -> None:
    """Refuse fields that no query has, and groups that no expression has.

    Raises:
        TemplateError: the template uses one.
    """
    groups = {str(i) for pattern in patterns for i in range(pattern.groups + 1)}
    groups |= {name for pattern in patterns for name in pattern.groupindex}
    for names in template.fields:
        if names and names[0] not in FIELDS:
            raise TemplateError(f"there is no field .{names[0]}, only {', '.join(f'.{name}' for name in FIELDS)}")
        if names[:1] == ("Group",) and len(names) > 1 and names[1] not in groups:
            raise TemplateError(f"no 'match' has a group '{names[1]}'")


def is_personal(template: Template) -> bool:
    """Whether the template makes something else of the same query when somebody else asks it."""
    return any(not names or names[0] in PERSONAL for names in template.fields)
