"""Inputs of rewards and redemptions."""

from __future__ import annotations

import strawberry

from app.domain.values.periods import PeriodUnit
from app.graphql.segments.criteria import CriteriaInput, FixedWindow
from app.graphql.segments.windows import RollingWindow
from app.graphql.types.scalars import JSON, RawDecimal


@strawberry.input
class RewardPerPassInput:
    """Limit on the units that one pass may redeem: ever, in a window, or in a calendar period."""

    count: int = strawberry.field(
        description="Largest number of units: 1 to 1,000,000, or to 100 in a window or a calendar period. Redemptions that "
        "were rolled back do not count."
    )
    within: RollingWindow | None = strawberry.field(
        default=None,
        description="Window before the redemption in which units count. Do not combine it with `calendar`.",
    )
    calendar: PeriodUnit | None = strawberry.field(
        default=None, description="Calendar period, in the time zone of the reward, in which units count."
    )


@strawberry.input
class RewardLimitsInput:
    """Limits on the redemptions of a reward."""

    per_pass: RewardPerPassInput | None = strawberry.field(
        default=None, description="Limit for each pass. Default: none."
    )
    total: int | None = strawberry.field(
        default=None,
        description="Units that exist, the stock: 1 to 1,000,000. Lowering it takes no unit back that is redeemed. Default: "
        "no limit.",
    )
    per_request: int | None = strawberry.field(
        default=None, description="Largest `quantity` of one redemption: 1 to 1,000. Default: 1,000."
    )


@strawberry.input
class RewardCodeInput:
    """Codes of a reward."""

    pattern: str = strawberry.field(
        description="Pattern of the codes, for example `COFFEE-######`. Each `#` stands for a random letter or digit. At "
        "least 6 of them, at most 40 ASCII characters, no blanks."
    )


@strawberry.input
class CreateRewardInput:
    """Reward to create."""

    key: str = strawberry.field(
        description="Key of the reward: 1 to 64 lower-case letters, digits, `_` or `-`, beginning with a letter or digit. "
        "It is unique in the workspace and cannot be changed or used again, not even after archiving."
    )
    name: str = strawberry.field(description="Name of the reward for people. At most 255 characters.")
    description: str | None = strawberry.field(
        default=None, description="Description of the reward. At most 2,000 characters."
    )
    points_cost: RawDecimal | None = strawberry.field(
        default=None, description="Points that one unit costs, not negative. Default: 0."
    )
    criteria: CriteriaInput | None = strawberry.field(
        default=None, description="Criteria that a pass must match to redeem the reward, at most 16 KB. Default: none."
    )
    limits: RewardLimitsInput | None = strawberry.field(
        default=None, description="Limits on the redemptions. Default: none."
    )
    active: FixedWindow | None = strawberry.field(
        default=None, description="Period in which the reward can be redeemed. Default: always."
    )
    timezone: str | None = strawberry.field(
        default=None,
        description='IANA time zone of calendar periods, for example "Europe/Berlin". Default: that of the workspace.',
    )
    code: RewardCodeInput | None = strawberry.field(
        default=None, description="Codes that redemptions get. Default: none."
    )
    metadata: JSON | None = strawberry.field(
        default=None, description="Details as a JSON object, for your own use. At most 4 KB."
    )


@strawberry.input
class UpdateRewardInput:
    """Changes to a reward. Values that are left out stay as they are; a null sets the default of `createReward`."""

    id: strawberry.ID = strawberry.field(description="Id of the reward.")
    name: str | None = strawberry.field(default=strawberry.UNSET, description="New name. At most 255 characters.")
    description: str | None = strawberry.field(
        default=strawberry.UNSET, description="New description. At most 2,000 characters."
    )
    points_cost: RawDecimal | None = strawberry.field(
        default=strawberry.UNSET, description="New points that one unit costs. Recorded redemptions keep their cost."
    )
    criteria: CriteriaInput | None = strawberry.field(
        default=strawberry.UNSET, description="New criteria. They replace the old ones as a whole."
    )
    limits: RewardLimitsInput | None = strawberry.field(
        default=strawberry.UNSET, description="New limits. They replace the old ones as a whole."
    )
    active: FixedWindow | None = strawberry.field(
        default=strawberry.UNSET, description="New period in which the reward can be redeemed."
    )
    timezone: str | None = strawberry.field(default=strawberry.UNSET, description="New IANA time zone.")
    code: RewardCodeInput | None = strawberry.field(
        default=strawberry.UNSET, description="New pattern of the codes of later redemptions."
    )
    metadata: JSON | None = strawberry.field(
        default=strawberry.UNSET, description="New details. They replace the old ones as a whole."
    )


@strawberry.input
class ArchiveRewardInput:
    """Reward to archive."""

    id: strawberry.ID = strawberry.field(description="Id of the reward.")


@strawberry.input
class RedeemRewardInput:
    """Reward to redeem. Name the pass by exactly one of `passId` and `passExternalId`."""

    pass_id: strawberry.ID | None = strawberry.field(default=None, description="Id of the pass.")
    pass_external_id: str | None = strawberry.field(
        default=None, description="External id of the pass. Blanks around it are left out."
    )
    reward_key: str = strawberry.field(description="Key of the reward.")
    quantity: int = strawberry.field(
        default=1, description="Units to redeem: 1 to 1,000, or fewer if the reward says so."
    )
    external_id: str | None = strawberry.field(
        default=None,
        description="Id of the redemption in your system; unique within the source, among all events. With it, the call is "
        "safe to repeat.",
    )
    source: str | None = strawberry.field(
        default=None, description='System that redeems, at most 100 characters. Default: "api".'
    )
    metadata: JSON | None = strawberry.field(default=None, description="Details of the redemption as a JSON object.")
    validate_only: bool = strawberry.field(
        default=False,
        description="Whether to say only what the redemption would give now, and to record nothing. Default: false.",
    )
    wait_seconds: float = strawberry.field(
        default=5.0,
        description="Seconds to wait for the outcome, from 0 to 5. A redemption that is not decided by then is `PENDING`.",
    )


@strawberry.input
class RollbackRedemptionInput:
    """Redemption to roll back."""

    id: strawberry.ID = strawberry.field(description="Id of the redemption.")
    reason: str | None = strawberry.field(default=None, description="Why it is rolled back. At most 255 characters.")
