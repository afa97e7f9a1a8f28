"""The rules of `rewrite` that are about the question, and those that are about the answer to a name."""

from __future__ import annotations

from dataclasses import dataclass

from dnsd.plugins.rewrite.matching import Match, name_of, reverse, text_of
from dnsd.plugins.rewrite.responses import OwnerNames, Values
from dnsd.plugins.rewrite.rule import Response, Rewritten, Rule
from dnsd.resolve.query import Query


@dataclass(frozen=True, slots=True)
class NameRule(Rule):
    """Another name is asked for."""

    stop: bool
    match: Match
    auto: bool
    """Whether the answer gets the name back that was asked for."""
    responses: tuple[Response, ...] = ()

    def rewrite(self, query: Query) -> Rewritten | None:
        """The query for another name."""
        before = text_of(query.name)
        after = self.match(before)
        if after is None:
            return None
        rewritten = query.asking(name_of(after))
        back = reverse(before, text_of(rewritten.name))
        undo = (OwnerNames(back), Values(back)) if self.auto else ()
        return Rewritten(rewritten, (*undo, *self.responses))


@dataclass(frozen=True, slots=True)
class TypeRule(Rule):
    """Another type is asked for."""

    stop: bool
    old: int
    new: int

    def rewrite(self, query: Query) -> Rewritten | None:
        """The query for another type."""
        if query.type != self.old:
            return None
        return Rewritten(query.asking(query.question.asked, type_=self.new))


@dataclass(frozen=True, slots=True)
class ClassRule(Rule):
    """Another class is asked for."""

    stop: bool
    old: int
    new: int

    def rewrite(self, query: Query) -> Rewritten | None:
        """The query in another class."""
        if query.question.class_ != self.old:
            return None
        return Rewritten(query.asking(query.question.asked, class_=self.new))


@dataclass(frozen=True, slots=True)
class AnswerRule(Rule):
    """The query stays as it is, and something is done to the answer if the name matches."""

    stop: bool
    match: Match | None
    """None for every name."""
    response: Response

    def rewrite(self, query: Query) -> Rewritten | None:
        """The same query."""
        if self.match is not None and self.match(text_of(query.name)) is None:
            return None
        return Rewritten(query, (self.response,))
