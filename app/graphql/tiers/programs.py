"""The tier program of a workspace: its types, the query that reads it and the mutation that sets it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry

from app.commands import tiers as commands
from app.domain.errors import Refused
from app.domain.rules.rules import OnCorrection
from app.domain.segments.segments import TIER_PROGRAM
from app.domain.tiers import programs as domain
from app.domain.values.periods import PeriodUnit
from app.graphql.context import Info
from app.graphql.segments.criteria import CriteriaInput, SegmentCriteria, criteria_of, to_mapping
from app.graphql.segments.segments import SegmentBackfill
from app.graphql.segments.versions import SegmentNotification
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument, await_consistency
from app.graphql.types.enums import describe_enum
from app.graphql.types.payloads import InputWarning, UserError, user_errors, warnings_of
from app.graphql.types.scalars import JSON

describe_enum(
    domain.Downgrade,
    "TierDowngrade",
    {
        "ONE_DOWN": "The next lower tier, whether the pass qualifies for it or not.",
        "TO_QUALIFIED": "The highest lower tier whose `keep` (or `reach`) holds.",
    },
)


@strawberry.input
class CalendarPeriodInput:
    """Calendar period in the time zone of the program."""

    unit: PeriodUnit = strawberry.field(description="Calendar period.")
    plus: int = strawberry.field(
        default=1,
        description="Number of periods after the present one that a tier lasts when it is reached: 0 to 100. Default: 1, "
        "the end of the next period.",
    )


@strawberry.input(one_of=True)
class TierPeriodInput:
    """How long a tier lasts. Give exactly one field."""

    calendar: CalendarPeriodInput | None = strawberry.field(
        default=strawberry.UNSET, description="To the end of a calendar period. Later periods last one such period."
    )
    days: int | None = strawberry.field(
        default=strawberry.UNSET, description="For days of the time zone, to local midnight: 1 to 3,660."
    )
    forever: bool | None = strawberry.field(
        default=strawberry.UNSET, description="Without an end. Only `true` is accepted."
    )


@strawberry.input
class TierInput:
    """Tier of the program."""

    key: str = strawberry.field(
        description="Key of the tier: 1 to 64 lower-case letters, digits, `_` or `-`, beginning with a letter or digit."
    )
    name: str = strawberry.field(description="Name of the tier for people. At most 255 characters.")
    reach: CriteriaInput = strawberry.field(description="Criteria by which a pass reaches the tier. At most 16 KB.")
    keep: CriteriaInput | None = strawberry.field(
        default=None, description="Criteria that prolong the tier at the end of a period. Default: those of `reach`."
    )
    benefits: JSON | None = strawberry.field(
        default=None, description="Details of the tier as a JSON object, for your own use. At most 4 KB."
    )


@strawberry.input
class SetTierProgramInput:
    """Tier program of the workspace, as a whole."""

    tiers: list[TierInput] = strawberry.field(
        description="Tiers, the lowest first: at most 20. An empty list ends the program: every pass leaves its tier."
    )
    period: TierPeriodInput | None = strawberry.field(
        default=None, description="How long a tier lasts. Required if there are tiers."
    )
    downgrade: domain.Downgrade = strawberry.field(
        default=domain.Downgrade.TO_QUALIFIED,
        description="Tier of a pass that has not kept its tier. Default: `TO_QUALIFIED`.",
    )
    on_correction: OnCorrection = strawberry.field(
        default=OnCorrection.KEEP,
        description="Whether a correction or removal asks `reach` again, and takes the tier away if it no longer holds "
        "(`REVERSE`). With `KEEP`, the pass has its tier to the end of the period. Default: `KEEP`.",
    )
    timezone: str | None = strawberry.field(
        default=None,
        description='IANA time zone of the periods, for example "Europe/Berlin". Default: that of the workspace.',
    )
    notify: SegmentNotification = strawberry.field(
        default=SegmentNotification.SILENT,
        description="Whether the feed shows the changes of tiers that this change itself causes. Default: `SILENT`.",
    )


@strawberry.type
class Tier:
    """Tier of the program."""

    key: str = strawberry.field(description="Key of the tier.")
    name: str = strawberry.field(description="Name of the tier for people.")
    reach: SegmentCriteria = strawberry.field(description="Criteria by which a pass reaches the tier.")
    keep: SegmentCriteria | None = strawberry.field(
        description="Criteria that prolong the tier at the end of a period. Null if those of `reach` do."
    )
    benefits: JSON = strawberry.field(description="Details of the tier as a JSON object.")


@strawberry.type
class TierPeriod:
    """How long a tier lasts. All fields are null, or `forever` is true, or one of the others is set."""

    unit: PeriodUnit | None = strawberry.field(description="Calendar period. Null without one.")
    plus: int | None = strawberry.field(
        description="Number of periods after the present one that a tier lasts when it is reached. Null without `unit`."
    )
    days: int | None = strawberry.field(description="Days of the time zone, to local midnight. Null without them.")
    forever: bool = strawberry.field(description="Whether a tier has no end.")


@strawberry.type
class TierProgram:
    """Tier program of the workspace: the levels that passes reach, keep and lose."""

    version: int = strawberry.field(description="Version of the program, from 1.")
    tiers: list[Tier] = strawberry.field(description="Tiers, the lowest first.")
    period: TierPeriod = strawberry.field(description="How long a tier lasts.")
    downgrade: domain.Downgrade = strawberry.field(description="Tier of a pass that has not kept its tier.")
    on_correction: OnCorrection = strawberry.field(
        description="Whether a correction or removal takes a tier away whose `reach` no longer holds."
    )
    timezone: str = strawberry.field(description="IANA time zone of the periods.")
    updated_at: datetime = strawberry.field(description="Instant of the last change of the program.")
    stored: strawberry.Private[domain.TierProgramVersion]

    @strawberry.field
    async def backfill(self, info: Info) -> SegmentBackfill:
        """Progress of the evaluation of all passes under the current version."""
        total, evaluated = await info.context.load.evaluated_counts.load(self.stored.revision) or (0, 0)
        return SegmentBackfill(total=total, judged=evaluated, done=evaluated >= total)


@strawberry.type
class SetTierProgramPayload:
    """Result of `setTierProgram`."""

    tier_program: TierProgram | None = strawberry.field(
        default=None, description="Program as stored. Null if the call failed, and if the program has ended."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )
    warnings: list[InputWarning] = strawberry.field(
        default_factory=list,
        description="Remarks about criteria that were accepted and look like a mistake, such as an event type that is "
        "neither defined nor recorded.",
    )


def program_of(program: domain.TierProgramVersion | None) -> TierProgram | None:
    """Return the GraphQL object of a program; None for None, and for a program that has ended."""
    if program is None or not program.tiers:
        return None
    period = program.period
    return TierProgram(
        version=program.version,
        tiers=[
            Tier(
                key=tier.key,
                name=tier.name,
                reach=criteria_of(tier.reach),
                keep=None if tier.keep is None else criteria_of(tier.keep),
                benefits=JSON(tier.benefits),
            )
            for tier in program.tiers
        ],
        period=TierPeriod(
            unit=period.unit,
            plus=None if period.unit is None else period.plus,
            days=period.days,
            forever=period.unit is None and period.days is None,
        ),
        downgrade=program.downgrade,
        on_correction=program.on_correction,
        timezone=program.timezone,
        updated_at=program.at,
        stored=program,
    )


async def find_tier_program(
    info: Info, consistency: ConsistencyArgument = Consistency.EVENTUAL, token: TokenArgument = None
) -> TierProgram | None:
    """Return the tier program of the workspace. Null if it has none. Needs the scope `read`."""
    await await_consistency(info, consistency, token)
    return program_of(await info.context.load.tier_programs.load(TIER_PROGRAM))


async def set_tier_program(
    info: Info, input: Annotated[SetTierProgramInput, strawberry.argument(description="Program to set.")]
) -> SetTierProgramPayload:
    """Set the tier program of the workspace as a whole. Needs the scope `write`.

    Workers evaluate all passes; `TierProgram.backfill` shows their progress. A pass keeps a tier that the new program has,
    unless it reaches a higher one. Safe to repeat: an equal program makes no version.
    """
    sent: dict[str, Any] = to_mapping(input)
    try:
        stored = await commands.set_tier_program(info.context.commands, sent)
    except Refused as refused:
        return SetTierProgramPayload(user_errors=user_errors(refused.problems))
    warnings = [] if stored is None else await commands.warn_about_tiers(info.context.commands, stored)
    return SetTierProgramPayload(tier_program=program_of(stored), warnings=warnings_of(warnings))
