"""Rewards and the versions of their definitions. A version takes the next revision of its workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from app.domain.rules.rules import PerPassLimit
from app.domain.segments.criteria import Criteria
from app.domain.values.decimals import ZERO
from app.domain.values.instants import to_ms


@dataclass(frozen=True, slots=True)
class Reward:
    """Terms of a reward.

    - `points_cost`: points that one unit costs; 0 or more.
    - `criteria`: what a pass must match to redeem the reward; None for nothing.
    - `per_pass`: units that one pass may redeem, in a time or ever; None for any number.
    - `total`: units that exist, the stock; None for any number.
    - `per_request`: units of one redemption, at most.
    - `active_from_ms` (inclusive), `active_to_ms` (exclusive): period in which the reward can be redeemed; None is open.
    - `timezone`: zone of the calendar periods of `per_pass`.
    - `code_pattern`: pattern of the code that each redemption gets; None for no code.
    """

    points_cost: Decimal = ZERO
    criteria: Criteria | None = None
    per_pass: PerPassLimit | None = None
    total: int | None = None
    per_request: int | None = None
    active_from_ms: int | None = None
    active_to_ms: int | None = None
    timezone: str = "UTC"
    code_pattern: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class RewardVersion:
    """Version of a reward's definition, created at the instant `at`. It is in force from its revision on."""

    reward_id: str
    key: str
    revision: int
    version: int
    at: datetime
    terms: Reward
    archived: bool = False

    @cached_property
    def at_ms(self) -> int:
        """The instant from which the version is in force, in ms. It does not see the events of that instant."""
        return to_ms(self.at)

    @property
    def subject_id(self) -> str:
        """The id of the reward."""
        return self.reward_id

    @property
    def timezone(self) -> str:
        """The time zone of the terms."""
        return self.terms.timezone

    @property
    def announces_backfill(self) -> bool:
        """Whether passes must be evaluated under the version at once. A pass meets a reward when it is next walked."""
        return False

    @property
    def is_in_force(self) -> bool:
        """Whether the reward can be redeemed under this version."""
        return not self.archived


@dataclass(frozen=True, slots=True)
class LabelledReward:
    """Reward with its labels and its latest version."""

    id: str
    key: str
    name: str
    description: str | None
    latest: RewardVersion
    created_at: datetime
    updated_at: datetime

    @property
    def terms(self) -> Reward:
        """The terms of the latest version."""
        return self.latest.terms
