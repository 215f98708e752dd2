"""Statistics of a rule: what it did in a period, and whether more passes convert than in its control group."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

import strawberry

from app.domain.actors import READ
from app.domain.errors import Code, InvalidInput
from app.domain.events.type_names import parse_type
from app.domain.rules import statistics as domain
from app.domain.rules.reading import parse_integer
from app.domain.segments.lists import parse_names
from app.domain.values.instants import DAY_MS, from_ms, parse_instant
from app.graphql.context import Info
from app.graphql.types.scalars import RawDateTime

FromArgument = Annotated[
    RawDateTime | None,
    strawberry.argument(name="from", description="Start of the period, inclusive. Default: no lower bound."),
]
ToArgument = Annotated[
    RawDateTime | None, strawberry.argument(description="End of the period, exclusive. Default: no upper bound.")
]


@strawberry.type
class SkippedCount:
    """How often a rule did not fire for one reason, although its trigger matched."""

    reason: str = strawberry.field(
        description="Reason: `CONDITIONS`, `NTH`, `LIMIT`, `GROUP`, `WHEN`, `NOT_ACTIVE`, `CURRENCY`, `DEPTH` or "
        "`TOO_MANY`. Later versions may add others."
    )
    count: int = strawberry.field(description="How often.")


@strawberry.type
class ConversionGroup:
    """Passes for which a rule fired first in the period, and those of them that converted."""

    passes: int = strawberry.field(description="Number of passes.")
    converted: int = strawberry.field(description="Number of them that converted.")
    rate: Decimal | None = strawberry.field(description="Share that converted, from 0 to 1. Null without a pass.")


@strawberry.type
class RuleConversion:
    """Conversion of the passes that a rule treated, beside its control group."""

    treated: ConversionGroup = strawberry.field(description="Passes for which the rule had effects.")
    control: ConversionGroup = strawberry.field(description="Passes of the control group.")
    uplift: Decimal | None = strawberry.field(
        description="Rate of the treated passes less that of the control group. Null if one of the groups is empty."
    )
    confidence: Decimal | None = strawberry.field(
        description="Confidence that the rates differ, from 0 to 1, by the two-sided z-test of two shares. Null if one of "
        "the groups is empty."
    )


@strawberry.type
class RuleStatistics:
    """What a rule did in a period.

    `matched` and `skipped` are diagnostics: workers store them every 5 seconds, and a crash of a worker loses at most
    these 5 seconds. They count whole hours of UTC, by when the worker ran. All other figures are exact sums over events,
    and include a firing once its activities are in the feed.
    """

    rule_id: strawberry.Private[str]
    after: strawberry.Private[datetime | None]
    before: strawberry.Private[datetime | None]

    @strawberry.field
    async def matched(self, info: Info) -> int:
        """How often the trigger matched."""
        return (await self._diagnostics(info)).matched

    @strawberry.field
    async def skipped(self, info: Info) -> list[SkippedCount]:
        """How often the rule did not fire although the trigger matched, by reason."""
        skipped = (await self._diagnostics(info)).skipped
        return [SkippedCount(reason=reason, count=count) for reason, count in sorted(skipped.items())]

    @strawberry.field
    async def fired(self, info: Info) -> int:
        """Number of firings, those of the control group included."""
        return len(await self._firings(info))

    @strawberry.field
    async def effects_succeeded(self, info: Info) -> int:
        """Number of effects that succeeded, at the firing or at a retry."""
        return sum(firing.succeeded for firing in await self._firings(info)) + await self._count_retried(info)

    @strawberry.field
    async def effects_failed(self, info: Info) -> int:
        """Number of effects that failed and that no retry has made since."""
        return sum(firing.failed for firing in await self._firings(info)) - await self._count_retried(info)

    @strawberry.field
    async def points_awarded(self, info: Info) -> Decimal:
        """Points that the rule awarded in the period, less what corrections took back in it."""
        store, key = info.context.workspace.firings, ("points awarded", self.rule_id, self.after, self.before)
        return await info.context.read_once(
            info, key, lambda: store.points_awarded(self.rule_id, self.after, self.before, "from")
        )

    @strawberry.field
    async def conversion(
        self,
        info: Info,
        types: Annotated[
            list[str], strawberry.argument(description="Event types that count as a conversion: 1 to 50.")
        ],
        within_days: Annotated[
            int,
            strawberry.argument(
                description="Days of 24 hours after the first firing in which an event counts: 1 to 3,660."
            ),
        ],
    ) -> RuleConversion:
        """Whether passes converted after the rule fired for them first in the period.

        A pass converts by its first event of the types after that firing, within the days. Events that rules record do not
        count here. Exact for up to 100,000 firings; for more, `measureRuleConversion` starts a job.
        """
        names, days = parse_conversion(types, within_days)
        first = domain.find_first_firings(await self._firings(info))
        found = domain.measure_conversion(first, [], 0)
        if first:
            instants = [firing.at_ms for firing in first.values()]
            start, end = from_ms(min(instants)), from_ms(max(instants)) + timedelta(days=days, milliseconds=1)
            store = info.context.workspace.firings
            events = [each async for each in store.conversions(names, start, end, "types")]
            found = domain.measure_conversion(first, events, days * DAY_MS)
        return RuleConversion(
            treated=_group_of(found.treated),
            control=_group_of(found.control),
            uplift=found.uplift,
            confidence=found.confidence,
        )

    async def _diagnostics(self, info: Info) -> domain.Diagnostics:
        store, key = info.context.workspace.rule_counts, ("diagnostics", self.rule_id, self.after, self.before)
        return await info.context.read_once(info, key, lambda: store.read(self.rule_id, self.after, self.before))

    async def _count_retried(self, info: Info) -> int:
        if not any(firing.failed for firing in await self._firings(info)):
            return 0
        store, key = info.context.workspace.firings, ("retried", self.rule_id, self.after, self.before)
        return await info.context.read_once(
            info, key, lambda: store.count_retried(self.rule_id, self.after, self.before)
        )

    async def _firings(self, info: Info) -> list[domain.BriefFiring]:
        store, key = info.context.workspace.firings, ("brief firings", self.rule_id, self.after, self.before)
        return await info.context.read_once(
            info, key, lambda: store.brief(self.rule_id, self.after, self.before, "from")
        )


def _group_of(group: domain.ConversionGroup) -> ConversionGroup:
    return ConversionGroup(passes=group.passes, converted=group.converted, rate=group.rate)


def parse_conversion(types: Sequence[str], within_days: int) -> tuple[tuple[str, ...], int]:
    """Return the types and days that conversion asks for. Raises InvalidInput."""
    names = parse_names(types, ("types",), parse_type)
    if not names:
        raise InvalidInput(Code.REQUIRED, "Give at least one event type.", "types")
    return names, parse_integer(within_days, "withinDays", least=1, most=domain.MAX_CONVERSION_DAYS)


def parse_period(after: object, before: object) -> tuple[datetime | None, datetime | None]:
    """Return the bounds of a period. Raises InvalidInput for a period that ends before it begins."""
    start = None if after is None else parse_instant(after, "from")
    end = None if before is None else parse_instant(before, "to")
    if start is not None and end is not None and start >= end:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give a from that is earlier than to.", "from")
    return start, end


def statistics_of(info: Info, rule_id: str, after: object, before: object) -> RuleStatistics:
    """Return the statistics of a rule in a period. Raises InvalidInput for a period that ends before it begins."""
    info.context.actor.require(READ)
    start, end = parse_period(after, before)
    return RuleStatistics(rule_id=rule_id, after=start, before=end)
