"""What a rule consists of, as its inputs say it: the types that return it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import strawberry

from app.domain.rules.rules import OnCorrection
from app.domain.values.periods import PeriodUnit, Weekday
from app.graphql.segments.criteria import SegmentCriteria
from app.graphql.segments.sequences import MetadataCriteria
from app.graphql.segments.windows import FixedWindowCriteria, RollingWindowCriteria
from app.graphql.types.enums import EventCategory
from app.graphql.types.scalars import JSON

from .enums import OnHistorical, Rounding, RuleStatus, TierChange


@strawberry.type(name="EventTrigger")
class EventTriggerContent:
    """Events that a rule waits for."""

    types: list[str] = strawberry.field(description="Event types to match.")
    sources: list[str] = strawberry.field(description="Sources to match. Empty means all.")
    categories: list[EventCategory] = strawberry.field(description="Event categories to match. Empty means all.")
    currency: str | None = strawberry.field(description="Currency that the event must have. Null means any.")
    amount_min: Decimal | None = strawberry.field(description="Smallest amount, inclusive. Null means none.")
    amount_max: Decimal | None = strawberry.field(description="Largest amount, inclusive. Null means none.")


@strawberry.type(name="SegmentTrigger")
class SegmentTriggerContent:
    """Segment whose entries or exits a rule waits for."""

    segment_id: strawberry.ID = strawberry.field(description="Id of the segment.")


@strawberry.type(name="TierTrigger")
class TierTriggerContent:
    """Changes of the tier that a rule waits for."""

    changes: list[TierChange] = strawberry.field(description="Changes to match.")
    tier_key: str | None = strawberry.field(description="Key of the tier. Null means any.")


@strawberry.type(name="BalanceTrigger")
class BalanceTriggerContent:
    """Value of points that must be reached. One field is set."""

    points_reach: Decimal | None = strawberry.field(default=None, description="Balance to reach.")
    earned_total_reach: Decimal | None = strawberry.field(
        default=None, description="Total of points ever earned to reach."
    )


@strawberry.type
class RuleTrigger:
    """What a rule waits for. One field is set."""

    event: EventTriggerContent | None = strawberry.field(default=None, description="An event counts.")
    segment_entered: SegmentTriggerContent | None = strawberry.field(
        default=None, description="The pass enters a segment."
    )
    segment_left: SegmentTriggerContent | None = strawberry.field(
        default=None, description="The pass leaves a segment."
    )
    tier: TierTriggerContent | None = strawberry.field(default=None, description="The tier of the pass changes.")
    balance: BalanceTriggerContent | None = strawberry.field(default=None, description="The points reach a value.")


@strawberry.type(name="Nth")
class NthContent:
    """Numbers of the matching event at which a rule fires. One field is set."""

    equals: int | None = strawberry.field(description="Only this number.")
    every: int | None = strawberry.field(description="Each multiple of this number.")


@strawberry.type
class RuleHours:
    """Hours of the week at which a rule fires, in its time zone."""

    weekdays: list[Weekday] = strawberry.field(description="Days of the week. Empty means all.")
    from_: str | None = strawberry.field(
        name="from", description="Time of day from which the rule fires. Null for the whole day."
    )
    to: str | None = strawberry.field(description="Time of day before which the rule fires. Null for the whole day.")


@strawberry.type(name="PerPassLimit")
class PerPassLimitContent:
    """Limit on the firings for one pass: ever, in a window, or in a calendar period."""

    count: int = strawberry.field(description="Largest number of firings.")
    within: RollingWindowCriteria | None = strawberry.field(description="Window in which firings count.")
    calendar: PeriodUnit | None = strawberry.field(description="Calendar period in which firings count.")


@strawberry.type
class RuleLimits:
    """Limits on the firings of a rule."""

    per_pass: PerPassLimitContent | None = strawberry.field(description="Limit for each pass.")


@strawberry.type(name="PointsPerAmount")
class PointsPerAmountContent:
    """Points for the amount of the event: `points` for each full `each`."""

    points: Decimal = strawberry.field(description="Points for each `each` of the amount.")
    each: Decimal = strawberry.field(description="Amount for which `points` are given.")
    rounding: Rounding = strawberry.field(description="Rounding.")
    decimals: int = strawberry.field(description="Decimal places of the points.")


@strawberry.type(name="EndOfPeriod")
class EndOfPeriodContent:
    """End of a calendar period in the time zone of the rule."""

    unit: PeriodUnit = strawberry.field(description="Calendar period.")
    plus: int = strawberry.field(description="Number of periods after the present one.")


@strawberry.type(name="AwardPoints")
class AwardPointsContent:
    """Points that a rule gives. One of `points` and `perAmount` is set, and at most one of the four expiries."""

    points: Decimal | None = strawberry.field(description="Fixed number of points.")
    per_amount: PointsPerAmountContent | None = strawberry.field(description="Points for the amount of the event.")
    multiplier: Decimal = strawberry.field(description="Factor of the points.")
    expires_at: datetime | None = strawberry.field(description="Instant at which the points expire.")
    expires_after_days: int | None = strawberry.field(
        description="Days after the award at whose end the points expire."
    )
    expires_after_inactive_days: int | None = strawberry.field(
        description="Days without activity after which the points expire."
    )
    expires_at_end_of: EndOfPeriodContent | None = strawberry.field(
        description="Calendar period at whose end the points expire."
    )
    pending_days: int = strawberry.field(description="Days before the points enter the balance.")
    label: str | None = strawberry.field(description="Note about the award.")


@strawberry.type(name="DeductPoints")
class DeductPointsContent:
    """Points that a rule takes."""

    points: Decimal = strawberry.field(description="Number of points.")
    label: str | None = strawberry.field(description="Note about the deduction.")


@strawberry.type
class RecordEventEffect:
    """Event that a rule records on the pass."""

    type: str = strawberry.field(description="Type of the event.")
    amount: Decimal | None = strawberry.field(description="Amount.")
    currency: str | None = strawberry.field(
        description="Currency. Null means that of the workspace, if there is an amount."
    )
    points: Decimal | None = strawberry.field(description="Points that the event adds or, negative, takes.")
    metadata: JSON = strawberry.field(description="Details as a JSON object of Liquid templates.")


@strawberry.type
class UpdatePassEffect:
    """Changes that a rule makes to the pass."""

    fields: JSON = strawberry.field(description="Fields to set, as a JSON object of Liquid templates.")
    metadata: JSON = strawberry.field(description="Details to set, as a JSON object of Liquid templates.")


@strawberry.type
class ListMembershipEffect:
    """Segment whose list of members a rule changes."""

    segment_id: strawberry.ID = strawberry.field(description="Id of the segment.")


@strawberry.type
class IssueRewardEffect:
    """Reward that a rule gives to the holder of the pass."""

    reward_key: str = strawberry.field(description="Key of the reward.")


@strawberry.type
class SendMessageEffect:
    """Message that a rule sends to the holder of the pass."""

    channel_key: str = strawberry.field(description="Key of the channel.")
    template: str = strawberry.field(description="Text of the message as a Liquid template.")
    subject: str | None = strawberry.field(description="Subject or title as a Liquid template. Null means none.")
    html: str | None = strawberry.field(description="HTML part as a Liquid template. Null means none.")
    valid_for_hours: int = strawberry.field(description="Hours after the firing in which the message may be sent.")


@strawberry.type
class RuleEffect:
    """What a rule does when it fires. One field is set."""

    award_points: AwardPointsContent | None = strawberry.field(default=None, description="Gives points.")
    deduct_points: DeductPointsContent | None = strawberry.field(default=None, description="Takes points.")
    record_event: RecordEventEffect | None = strawberry.field(default=None, description="Records an event on the pass.")
    update_pass: UpdatePassEffect | None = strawberry.field(
        default=None, description="Sets fields and details of the pass."
    )
    add_to_segment: ListMembershipEffect | None = strawberry.field(
        default=None, description="Adds the pass to the list of a segment."
    )
    remove_from_segment: ListMembershipEffect | None = strawberry.field(
        default=None, description="Removes the pass from the list of a segment."
    )
    issue_reward: IssueRewardEffect | None = strawberry.field(
        default=None, description="Gives a reward to the holder of the pass."
    )
    send_message: SendMessageEffect | None = strawberry.field(
        default=None, description="Sends a message over a channel."
    )


@strawberry.type
class RuleContent:
    """What a rule says: the fields of a rule and of each of its versions."""

    version: int = strawberry.field(
        description="Number of the version, from 1. Every change but that of a name or description makes a version."
    )
    status: RuleStatus = strawberry.field(description="State of the rule.")
    trigger: RuleTrigger = strawberry.field(description="What the rule waits for.")
    conditions: SegmentCriteria | None = strawberry.field(
        description="Criteria that the pass must match when the rule fires. Null means none."
    )
    event_metadata: list[MetadataCriteria] = strawberry.field(
        description="Conditions on the metadata of the event, all of which it must satisfy."
    )
    nth: NthContent | None = strawberry.field(description="Numbers of the matching event. Null means every event.")
    when: RuleHours | None = strawberry.field(description="Hours of the week. Null means always.")
    limits: RuleLimits | None = strawberry.field(description="Limits on the firings. Null means none.")
    active: FixedWindowCriteria | None = strawberry.field(
        description="Period in which the rule fires. Null means always."
    )
    timezone: str = strawberry.field(description="IANA time zone of hours, calendar periods and texts.")
    priority: int = strawberry.field(description="Rules with a higher priority are asked first.")
    group: str | None = strawberry.field(
        description="Of the rules of a group, only the first that fires for a cause does. Null means no group."
    )
    effects: list[RuleEffect] = strawberry.field(description="What the rule does, in this order.")
    on_correction: OnCorrection = strawberry.field(description="What a correction of the cause does to points.")
    historical: OnHistorical = strawberry.field(description="What imported past events do.")
    control_group_percent: int = strawberry.field(
        description="Share of the passes, in percent, for which firings are recorded without effects."
    )
