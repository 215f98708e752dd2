"""The mutation measureRuleConversion."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.rules import conversions as commands
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import RawDateTime

from .statistics import parse_conversion, parse_period


@strawberry.input
class MeasureRuleConversionInput:
    """Rule, period, and what counts as a conversion."""

    rule_id: strawberry.ID = strawberry.field(description="Id of the rule.")
    types: list[str] = strawberry.field(description="Event types that count as a conversion: 1 to 50.")
    within_days: int = strawberry.field(
        description="Days of 24 hours after the first firing in which an event counts: 1 to 3,660."
    )
    from_: RawDateTime | None = strawberry.field(
        default=None, name="from", description="Start of the period, inclusive. Default: no lower bound."
    )
    to: RawDateTime | None = strawberry.field(
        default=None, description="End of the period, exclusive. Default: no upper bound."
    )


@strawberry.type
class MeasureRuleConversionPayload:
    """Result of `measureRuleConversion`."""

    job: Job | None = strawberry.field(default=None, description="Job that measures. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def measure_rule_conversion(
    info: Info,
    input: Annotated[MeasureRuleConversionInput, strawberry.argument(description="What to measure.")],
) -> MeasureRuleConversionPayload:
    """Measure the conversion of a rule in a job, for any number of firings. Needs the scope `write`.

    `RuleStatistics.conversion` answers at once for up to 100,000 firings. The job's `result` has the same figures: `treated`
    and `control` with `passes`, `converted` and `rate`, `uplift` and `confidence`. Not safe to repeat: each call starts a
    job.
    """
    try:
        names, days = parse_conversion(input.types, input.within_days)
        after, before = parse_period(input.from_, input.to)
        job = await commands.measure_conversion(
            info.context.commands,
            parse_text(given_id(input.rule_id, "Rule"), "ruleId"),
            types=names,
            within_days=days,
            after=after,
            before=before,
        )
    except Refused as refused:
        return MeasureRuleConversionPayload(user_errors=user_errors(refused.problems))
    return MeasureRuleConversionPayload(job=job_of(job))
