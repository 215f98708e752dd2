"""Inputs of rules: the trigger, when and how often a rule fires, and its effects."""

from __future__ import annotations

import strawberry

from app.domain.values.periods import PeriodUnit, Weekday
from app.graphql.segments.windows import RollingWindow
from app.graphql.types.enums import EventCategory
from app.graphql.types.ids import names_segment
from app.graphql.types.scalars import JSON, RawDateTime, RawDecimal

from .enums import Rounding, TierChange


@strawberry.input
class EventTriggerInput:
    """Events that a rule waits for. An event matches if it satisfies every condition that is given."""

    types: list[str] = strawberry.field(description="Event types to match: 1 to 50.")
    sources: list[str] | None = strawberry.field(
        default=None,
        description="Sources to match, at most 50. Default: all. Rules record with the source `rule:<key>`.",
    )
    categories: list[EventCategory] | None = strawberry.field(
        default=None, description="Event categories to match. Default: all."
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Currency that the event must have: a code of ISO 4217. Default: the currency of the workspace if the "
        "rule compares or uses amounts, else any.",
    )
    amount_min: RawDecimal | None = strawberry.field(
        default=None, description="Smallest amount, after refunds and other corrections. Inclusive. Default: none."
    )
    amount_max: RawDecimal | None = strawberry.field(
        default=None, description="Largest amount, after refunds and other corrections. Inclusive. Default: none."
    )


@names_segment("segment_id")
@strawberry.input
class SegmentTriggerInput:
    """Segment whose entries or exits a rule waits for."""

    segment_id: strawberry.ID = strawberry.field(description="Id of the segment, which must not be archived.")


@strawberry.input
class TierTriggerInput:
    """Changes of the tier that a rule waits for."""

    changes: list[TierChange] | None = strawberry.field(default=None, description="Changes to match. Default: all.")
    tier_key: str | None = strawberry.field(
        default=None, description="Only changes into the tier with this key; of `LEFT`, out of it. Default: any tier."
    )


@strawberry.input(one_of=True)
class BalanceTriggerInput:
    """Value of points that must be reached: it rises from below it to it or above. Give exactly one field."""

    points_reach: RawDecimal | None = strawberry.field(
        default=strawberry.UNSET, description="Balance to reach, above 0."
    )
    earned_total_reach: RawDecimal | None = strawberry.field(
        default=strawberry.UNSET, description="Total of points ever earned to reach, above 0."
    )


@strawberry.input(one_of=True)
class RuleTriggerInput:
    """What a rule waits for. Give exactly one field."""

    event: EventTriggerInput | None = strawberry.field(default=strawberry.UNSET, description="An event counts.")
    segment_entered: SegmentTriggerInput | None = strawberry.field(
        default=strawberry.UNSET, description="The pass enters a segment."
    )
    segment_left: SegmentTriggerInput | None = strawberry.field(
        default=strawberry.UNSET, description="The pass leaves a segment."
    )
    tier: TierTriggerInput | None = strawberry.field(
        default=strawberry.UNSET, description="The tier of the pass changes."
    )
    balance: BalanceTriggerInput | None = strawberry.field(
        default=strawberry.UNSET, description="The points of the pass reach a value."
    )


@strawberry.input(one_of=True)
class NthInput:
    """Numbers of the matching event at which a rule fires, counted from 1 for each pass. Give exactly one field."""

    equals: int | None = strawberry.field(default=strawberry.UNSET, description="Only at this number: 1 to 1,000,000.")
    every: int | None = strawberry.field(
        default=strawberry.UNSET, description="At each multiple of this number: 1 to 1,000,000."
    )


@strawberry.input
class RuleHoursInput:
    """Hours of the week at which a rule fires, in its time zone. For an event, its `occurredAt` decides."""

    weekdays: list[Weekday] | None = strawberry.field(default=None, description="Days of the week. Default: all.")
    from_: str | None = strawberry.field(
        default=None, name="from", description='Time of day from which the rule fires, as "HH:MM". Default: "00:00".'
    )
    to: str | None = strawberry.field(
        default=None,
        description='Time of day before which the rule fires, as "HH:MM". Default: "24:00". If it is before `from`, the '
        "hours run over midnight and belong to the day on which they begin.",
    )


@strawberry.input
class PerPassLimitInput:
    """Limit on the firings for one pass: ever, in a window, or in a calendar period."""

    count: int = strawberry.field(
        description="Largest number of firings: 1 to 1,000,000, or to 100 in a window or a calendar period."
    )
    within: RollingWindow | None = strawberry.field(
        default=None, description="Window before the firing in which firings count. Do not combine it with `calendar`."
    )
    calendar: PeriodUnit | None = strawberry.field(
        default=None, description="Calendar period, in the time zone of the rule, in which firings count."
    )


@strawberry.input
class RuleLimitsInput:
    """Limits on the firings of a rule."""

    per_pass: PerPassLimitInput | None = strawberry.field(
        default=None, description="Limit for each pass. Default: none."
    )


@strawberry.input
class PointsPerAmountInput:
    """Points for the amount of the event: `points` for each full `each`."""

    points: RawDecimal = strawberry.field(description="Points for each `each` of the amount; above 0.")
    each: RawDecimal = strawberry.field(description="Amount for which `points` are given; above 0.")
    rounding: Rounding = strawberry.field(
        default=Rounding.DOWN, description="Rounding of the number of `each` in the amount, and of the points."
    )
    decimals: int = strawberry.field(default=0, description="Decimal places of the points: 0 to 6.")


@strawberry.input
class EndOfPeriodInput:
    """End of a calendar period in the time zone of the rule."""

    unit: PeriodUnit = strawberry.field(description="Calendar period.")
    plus: int = strawberry.field(
        default=0, description="Number of periods after the present one, up to 100. 0 is the end of the present period."
    )


@strawberry.input
class AwardPointsInput:
    """Points that a rule gives. Give exactly one of `points` and `perAmount`, and at most one of the four expiries."""

    points: RawDecimal | None = strawberry.field(default=None, description="Fixed number of points; above 0.")
    per_amount: PointsPerAmountInput | None = strawberry.field(
        default=None, description="Points for the amount of the event. Only for rules on events."
    )
    multiplier: RawDecimal | None = strawberry.field(
        default=None, description="Factor of the points; above 0. The product is rounded. Default: 1."
    )
    expires_at: RawDateTime | None = strawberry.field(default=None, description="Instant at which the points expire.")
    expires_after_days: int | None = strawberry.field(
        default=None, description="Days after the award at whose end the points expire: 1 to 3,650."
    )
    expires_after_inactive_days: int | None = strawberry.field(
        default=None,
        description="Days of 24 hours without activity after which the points expire: 1 to 3,650. They count from the award "
        "on if that follows the last activity.",
    )
    expires_at_end_of: EndOfPeriodInput | None = strawberry.field(
        default=None, description="Calendar period at whose end the points expire."
    )
    pending_days: int | None = strawberry.field(
        default=None, description="Days of 24 hours before the points enter the balance: up to 3,650. Default: 0."
    )
    label: str | None = strawberry.field(default=None, description="Note about the award. At most 255 characters.")


@strawberry.input
class DeductPointsInput:
    """Points that a rule takes. The balance may become negative."""

    points: RawDecimal = strawberry.field(description="Number of points; above 0.")
    label: str | None = strawberry.field(default=None, description="Note about the deduction. At most 255 characters.")


@strawberry.input
class RecordEventEffectInput:
    """Event that a rule records on the pass."""

    type: str = strawberry.field(description="Type of the event. It changes no field and corrects no event.")
    amount: RawDecimal | None = strawberry.field(default=None, description="Amount, not negative. Default: none.")
    currency: str | None = strawberry.field(
        default=None, description="Currency of the amount. Default: the currency of the workspace."
    )
    points: RawDecimal | None = strawberry.field(
        default=None, description="Points that the event adds or, negative, takes."
    )
    metadata: JSON | None = strawberry.field(
        default=None, description="Details as a JSON object, at most 4,096 bytes. Its texts are Liquid templates."
    )


@strawberry.input
class UpdatePassEffectInput:
    """Changes that a rule makes to the pass. Texts are Liquid templates; a null removes its key."""

    fields: JSON | None = strawberry.field(
        default=None, description="Fields to set, as a JSON object, at most 4,096 bytes."
    )
    metadata: JSON | None = strawberry.field(
        default=None, description="Details to set, as a JSON object, at most 4,096 bytes."
    )


@names_segment("segment_id")
@strawberry.input
class ListMembershipInput:
    """Segment whose list of members a rule changes."""

    segment_id: strawberry.ID = strawberry.field(description="Id of the segment, which must not be archived.")


@strawberry.input
class SendMessageInput:
    """Message to the holder of the pass. It is rendered when it is sent, with the values of then."""

    channel_key: str = strawberry.field(description="Key of the channel.")
    template: str = strawberry.field(description="Text of the message as a Liquid template, at most 4,000 characters.")
    subject: str | None = strawberry.field(
        default=None,
        description="Subject of an e-mail, or title of a push message, as a Liquid template of at most 255 characters.",
    )
    html: str | None = strawberry.field(
        default=None,
        description="HTML part of an e-mail as a Liquid template, at most 4,000 characters. Values are escaped.",
    )
    valid_for_hours: int = strawberry.field(
        default=24,
        description="Hours after the firing in which the message may be sent: 1 to 720. Later it is `SUPPRESSED`, with the "
        "reason `EXPIRED`.",
    )


@strawberry.input
class IssueRewardInput:
    """Reward that a rule gives to the holder of the pass, for no points.

    The terms of the reward hold: its stock, criteria and limits. If they are not met, the effect fails.
    """

    reward_key: str = strawberry.field(description="Key of the reward.")


@strawberry.input(one_of=True)
class RuleEffectInput:
    """What a rule does when it fires. Give exactly one field."""

    award_points: AwardPointsInput | None = strawberry.field(default=strawberry.UNSET, description="Gives points.")
    deduct_points: DeductPointsInput | None = strawberry.field(default=strawberry.UNSET, description="Takes points.")
    record_event: RecordEventEffectInput | None = strawberry.field(
        default=strawberry.UNSET, description="Records an event on the pass."
    )
    update_pass: UpdatePassEffectInput | None = strawberry.field(
        default=strawberry.UNSET, description="Sets fields and details of the pass."
    )
    add_to_segment: ListMembershipInput | None = strawberry.field(
        default=strawberry.UNSET, description="Adds the pass to the list of a segment."
    )
    remove_from_segment: ListMembershipInput | None = strawberry.field(
        default=strawberry.UNSET, description="Removes the pass from the list of a segment."
    )
    send_message: SendMessageInput | None = strawberry.field(
        default=strawberry.UNSET, description="Sends a message over a channel."
    )
    issue_reward: IssueRewardInput | None = strawberry.field(
        default=strawberry.UNSET, description="Gives a reward to the holder of the pass."
    )
