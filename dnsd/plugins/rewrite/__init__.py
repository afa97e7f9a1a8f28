"""The plugin `rewrite`: the plugins behind it see another query than the client sent, and the client another answer.

The question that the client sees is its own whatever happens here: a reply echoes the query as it came.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from dnsd.corefile.syntax import Directive
from dnsd.plugins.rewrite import reading
from dnsd.plugins.rewrite.rule import Response, Rule
from dnsd.resolve.answer import ONCE, Answer, Failure
from dnsd.resolve.plugin import Context, Next, Plugin
from dnsd.resolve.query import Query


class Rewrite(Plugin):
    """Applies rules in file order, until one that is about the query says stop."""

    name = "rewrite"

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules

    async def answer(self, query: Query, next_: Next) -> Answer:
        """The answer of the next plugin to the rewritten query, with what the rules want done to it."""
        responses: list[Response] = []
        personal = False
        for rule in self.rules:
            rewritten = rule.rewrite(query)
            if rewritten is None:
                continue
            query = rewritten.query
            responses += rewritten.responses
            personal |= rewritten.personal
            if rule.stop:
                break
        answer = await _ask(query, next_, responses)
        return replace(answer, validity=answer.validity & ONCE) if personal else answer


async def _ask(query: Query, next_: Next, responses: Sequence[Response]) -> Answer:
    """The answer with the responses applied, last first. A failure stays one unless a rule wants another rcode."""
    try:
        answer = await next_(query)
    except Failure as failure:
        answer = await _apply(responses, failure.answer(), query)
        if answer.rcode == failure.rcode:
            raise
        return replace(answer, written=True)
    return await _apply(responses, answer, query)


async def _apply(responses: Sequence[Response], answer: Answer, query: Query) -> Answer:
    for response in reversed(responses):
        answer = await response.apply(answer, query)
    return answer


def setup(directives: Sequence[Directive], context: Context) -> Rewrite:
    """The plugin, from its directives, one rule each."""
    rules = [reading.rule(directive, context) for directive in directives]
    return Rewrite([rule for rule in rules if rule is not None])
