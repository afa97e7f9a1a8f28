"""The plugin `template`: answers whose records are written by Go templates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dnslib import CNAME, QTYPE, RR
from msgspec.structs import replace
from prometheus_client.core import CounterMetricFamily, Metric

from dnsd.cluster.schema import zone_of
from dnsd.corefile import read as words
from dnsd.corefile.syntax import CorefileError, Directive, Option, Word
from dnsd.plugins.directive import class_, fallthrough, pattern, rcode, tellable, type_, zones
from dnsd.plugins.template import data, record
from dnsd.plugins.template.functions import FUNCTIONS, LAZY
from dnsd.plugins.template.nodes import Template, TemplateError
from dnsd.plugins.template.record import BadText
from dnsd.plugins.template.run import Struct, run
from dnsd.plugins.template.syntax import parse
from dnsd.resolve.answer import ALWAYS, ONCE, Answer, Failure, Reason
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query
from dnsd.wire import codes
from dnsd.wire.codes import Class, Rcode, Type
from dnsd.wire.name import Name, to_text
from dnsd.wire.records import name_of
from dnsd.wire.reply import ede

MAX_CHAIN = 10
"""CNAMEs that are followed for one query."""
MAX_RECORDS = 1_000
"""Templates of one directive; each is run for every query that it is about."""
MAX_EDE = 0xFFFF
SECTIONS = ("answer", "authority", "additional")
EVERYTHING = re.compile(".*", re.DOTALL)
"""For directives without `match`."""


class BadTemplate(Failure):
    """A template could not be run, or what it wrote is no record."""


@dataclass(slots=True)
class Stanza:
    """One directive."""

    class_: int
    type: int
    zones: tuple[Name, ...]
    patterns: list[re.Pattern[str]] = field(default_factory=list)
    records: dict[str, list[Template]] = field(default_factory=lambda: {section: [] for section in SECTIONS})
    rcode: int = Rcode.NOERROR
    error: tuple[int, bytes] | None = None
    """An Extended DNS Error as an EDNS option."""
    fallthrough: tuple[Name, ...] = ()

    def zone(self, query: Query) -> Name | None:
        """The zone in which the query is one of those that the directive is about."""
        asked, type_asked = query.question.class_, query.type
        if Class.ANY not in (self.class_, asked) and self.class_ != asked:
            return None
        if Type.ANY not in (self.type, type_asked) and self.type != type_asked:
            return None
        return zone_of(query.name, self.zones)

    def match(self, name: str) -> re.Match[str] | None:
        """The match of the first expression that is found in the name."""
        return next((match for match in (pattern.search(name) for pattern in self.patterns) if match), None)

    @property
    def personal(self) -> bool:
        """Whether answers differ with who asks."""
        return any(data.is_personal(template) for templates in self.records.values() for template in templates)


class Templates(Plugin):
    """Asks its directives one after the other, in file order."""

    name = "template"

    def __init__(self, stanzas: Sequence[Stanza], resolve: Next) -> None:
        self.stanzas = stanzas
        self._resolve = resolve
        self._matches: Counter[tuple[str, ...]] = Counter()
        self._failures: dict[str, Counter[tuple[str, ...]]] = {"template": Counter(), "rr": Counter()}

    async def answer(self, query: Query, next_: Next) -> Answer:
        """What the first directive that is about the query says; where its expressions do not match, see there."""
        name = to_text(query.name)
        for stanza in self.stanzas:
            zone = stanza.zone(query)
            if zone is None:
                continue
            match = stanza.match(name)
            if match is not None:
                return await self._write(query, stanza, zone, match)
            if zone_of(query.name, stanza.fallthrough) is None:
                return Answer(Rcode.SERVFAIL, validity=ALWAYS, reason=Reason("no template matches"), written=False)
        return await next_(query)

    async def _write(self, query: Query, stanza: Stanza, zone: Name, match: re.Match[str]) -> Answer:
        values = data.of(query, zone, match, stanza.class_, stanza.type)
        labels = _labels(query, zone, stanza)
        self._matches[labels] += 1
        options = () if stanza.error is None else (stanza.error,)
        reason = Reason(f"a template for {to_text(zone)}")
        validity = ONCE if stanza.personal else ALWAYS
        if stanza.rcode == Rcode.SERVFAIL:  # said by the server, as CoreDNS does
            return Answer(Rcode.SERVFAIL, validity=ALWAYS, reason=reason, options=options, written=False)
        answer = Answer(
            tellable(stanza.rcode, query),
            codes.AA,
            authority=self._records(stanza, "authority", values, labels),
            additional=self._records(stanza, "additional", values, labels),
            validity=validity,
            reason=reason,
            options=options,
        )
        for written in self._records(stanza, "answer", values, labels):
            answer = await self._follow(replace(answer, answer=[*answer.answer, written]), query, written)
        return answer

    def _records(self, stanza: Stanza, section: str, values: Struct, labels: tuple[str, ...]) -> list[RR]:
        found = (self._record(template, section, values, labels) for template in stanza.records[section])
        return [one for one in found if one is not None]

    def _record(self, template: Template, section: str, values: Struct, labels: tuple[str, ...]) -> RR | None:
        try:
            return record.read(run(template, values))
        except TemplateError as error:
            self._failures["template"][*labels, section, template.text] += 1
            raise BadTemplate(f"template {template.text!r}: {error}") from error
        except BadText as error:
            self._failures["rr"][*labels, section, template.text] += 1
            raise BadTemplate(f"template {template.text!r} writes no record: {error}") from error

    async def _follow(self, answer: Answer, query: Query, written: RR) -> Answer:
        """The answer with what a CNAME leads to, for those who want addresses."""
        if query.type not in (Type.A, Type.AAAA) or query.depth >= MAX_CHAIN or not isinstance(written.rdata, CNAME):
            return answer
        if written.rtype != Type.CNAME:
            return answer
        try:
            inner = query.asking(name_of(written.rdata.label))
            found = await self._resolve(replace(inner, depth=query.depth + 1))
        except Failure as failure:
            found = failure.answer()
        return replace(
            answer,
            flags=answer.flags | found.flags & codes.TC,
            answer=[*answer.answer, *found.answer],
            validity=answer.validity & found.validity.steady(),
        )

    def metrics(self) -> Iterable[Metric]:
        """Matches, and templates that could not be run or wrote no record."""
        labels = ("server", "zone", "view", "class", "type")
        matches = CounterMetricFamily(
            "coredns_template_matches", "The total number of matched requests by regex.", labels=labels
        )
        for values, count in self._matches.items():
            matches.add_metric(values, count)
        yield matches
        for what, text in (("template", "templating failed"), ("rr", "record was invalid")):
            failures = CounterMetricFamily(
                f"coredns_template_{what}_failures", f"Times the {text}.", labels=(*labels, "section", "template")
            )
            for values, count in self._failures[what].items():
                failures.add_metric(values, count)
            yield failures


def _labels(query: Query, zone: Name, stanza: Stanza) -> tuple[str, ...]:
    """Server, zone, view, class and type. A client can ask for 65,536 types: those without a name are one."""
    number = stanza.type if query.type == Type.ANY else query.type
    class_number = stanza.class_ if query.question.class_ == Class.ANY else query.question.class_
    return (
        query.client.server,
        to_text(zone),
        "",
        codes.class_text(class_number) if class_number in (1, 3, 4, 254, 255) else "",
        str(QTYPE.forward.get(number, "")),
    )


def setup(directives: Sequence[Directive], context: Context) -> Templates:
    """The plugin, from its directives."""
    return Templates([_stanza(directive, context) for directive in directives], context.resolve)


def _stanza(directive: Directive, context: Context) -> Stanza:
    of_class, of_type, *zone_words = words.arguments(directive, 2)
    stanza = Stanza(class_(of_class), type_(of_type), zones(zone_words, context))
    templates: list[tuple[Word, Template]] = []
    for option in directive.options:
        words.no_options(option)
        match option.name.text:
            case "match":
                stanza.patterns += map(pattern, words.arguments(option, 1))
            case "answer" | "authority" | "additional":
                found = [(word, _template(word)) for word in words.arguments(option, 1)]
                stanza.records[option.name.text] += [template for _, template in found]
                templates += found
            case "rcode":
                stanza.rcode = rcode(words.arguments(option, 1, 1)[0])
            case "ederror":
                stanza.error = _error(option)
            case "fallthrough":
                stanza.fallthrough = fallthrough(option)
            case "upstream":  # from before CoreDNS 1.6; following CNAMEs is what is done anyway
                pass
            case _:
                known = ["match", *SECTIONS, "rcode", "ederror", "fallthrough"]
                raise words.unknown_option(option, known)
    if len(templates) > MAX_RECORDS:
        raise CorefileError(templates[MAX_RECORDS][0].position, f"more than {MAX_RECORDS} records")
    stanza.patterns = stanza.patterns or [EVERYTHING]
    for word, template in templates:
        _check(word, template, stanza)
    return stanza


def _template(word: Word) -> Template:
    try:
        return parse(word.text, [*FUNCTIONS, *LAZY])
    except TemplateError as error:
        raise CorefileError(word.position, f"template: {error}") from error


def _check(word: Word, template: Template, stanza: Stanza) -> None:
    """Refuse what would fail for every query: a field that there is not, or a record without actions that is none."""
    try:
        data.check(template, stanza.patterns)
        if "{{" not in template.text:
            record.read(template.text)
    except (TemplateError, BadText) as error:
        raise CorefileError(word.position, f"template: {error}") from error


def _error(option: Option) -> tuple[int, bytes]:
    """`ederror CODE [TEXT]` (RFC 8914)."""
    number, *text = words.arguments(option, 1, 2)
    return ede(words.integer(number, 0, MAX_EDE), "".join(word.text for word in text))
