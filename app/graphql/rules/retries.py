"""The mutation retryRuleFirings."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.rules import retries as commands
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.ids import database_id, given_id
from app.graphql.types.payloads import UserError, user_errors


@strawberry.input
class RetryRuleFiringsInput:
    """Firings whose failed effects to make again. Give exactly one of `ids` and `ruleId`."""

    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Ids of firings: 1 to 1,000.")
    rule_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of a rule, all of whose failed firings are meant: at most 10,000."
    )


@strawberry.type
class RetryRuleFiringsPayload:
    """Result of `retryRuleFirings`."""

    count: int = strawberry.field(
        default=0,
        description="Number of the firings that are retried: those with a failed effect that was not made yet.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def retry_rule_firings(
    info: Info,
    input: Annotated[RetryRuleFiringsInput, strawberry.argument(description="Firings to retry.")],
) -> RetryRuleFiringsPayload:
    """Make the failed effects of firings again, a moment later. Needs the scope `write`.

    Mend the cause first: set the missing value on the pass, or change the text with `updateRule`. The version that is in
    force makes the effect with the same index. The effect happens at the instant of the retry. If it fails again, or if the
    event for which the rule fired was removed, nothing is made. Safe to repeat: each effect is made at most once.
    """
    try:
        count = await commands.retry_rule_firings(
            info.context.commands,
            ids=None if input.ids is None else [database_id(each, "Event") for each in input.ids],
            rule_id=None if input.rule_id is None else parse_text(given_id(input.rule_id, "Rule"), "ruleId"),
        )
    except Refused as refused:
        return RetryRuleFiringsPayload(user_errors=user_errors(refused.problems))
    return RetryRuleFiringsPayload(count=count)
