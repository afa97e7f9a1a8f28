"""What a rule of `rewrite` is: it changes a query, and says what is to be done to the answer. Values and contracts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from dnsd.resolve.answer import Answer
from dnsd.resolve.query import Query


class Response(ABC):
    """A change to the answer of a query that a rule was about."""

    @abstractmethod
    async def apply(self, answer: Answer, query: Query) -> Answer:
        """The answer, changed; `query` is the one it answers, with every rule applied.

        Raises:
            Failure: it cannot be changed like this.
        """


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a rule makes of a query that it is about."""

    query: Query
    responses: tuple[Response, ...] = ()
    """In the order of the rule; they are applied last first, as the later ones are nearer to the answer."""
    personal: bool = False
    """Whether the query now says who asks, so that its answer is for that client only."""


class Rule(ABC):
    """One rule."""

    stop: bool
    """Whether later rules do not see a query that this one is about."""

    @abstractmethod
    def rewrite(self, query: Query) -> Rewritten | None:
        """The query, rewritten, or None where the rule is not about it.

        Raises:
            Failure: it cannot be rewritten.
        """
