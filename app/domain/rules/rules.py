"""Rules and the versions of their definitions. A version takes the next revision of its workspace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from app.domain.segments.criteria import Criteria
from app.domain.values.conditions import Condition
from app.domain.values.instants import to_ms
from app.domain.values.periods import PeriodUnit

from .effects import Effect
from .triggers import Trigger


class RuleStatus(StrEnum):
    """Status of a rule. Only an ACTIVE rule fires; an ARCHIVED one never fires again."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ARCHIVED = "ARCHIVED"


class OnCorrection(StrEnum):
    """Whether a correction or removal of the cause takes points back (REVERSE) or leaves them (KEEP)."""

    REVERSE = "REVERSE"
    KEEP = "KEEP"


class OnHistorical(StrEnum):
    """Whether a rule fires for imported past events and for events that occurred before its first version."""

    IGNORE = "IGNORE"
    FIRE = "FIRE"


@dataclass(frozen=True, slots=True)
class Nth:
    """Numbers of the matching event at which the rule fires: `equals`, or each multiple of `every`; one has a value."""

    equals: int | None = None
    every: int | None = None

    def includes(self, number: int) -> bool:
        """Return whether the rule fires at the matching event of this number, counted from 1."""
        return number == self.equals if self.equals is not None else number % (self.every or 1) == 0


@dataclass(frozen=True, slots=True)
class When:
    """Hours of the week at which a rule fires, in its time zone.

    `weekdays` are 0 (Monday) to 6; empty for all. `from_minute` is inclusive, `to_minute` exclusive, in minutes from
    midnight; None for the whole day. If `to_minute` is before `from_minute`, the hours run over midnight and belong to the
    day on which they begin.
    """

    weekdays: tuple[int, ...] = ()
    from_minute: int | None = None
    to_minute: int | None = None


@dataclass(frozen=True, slots=True)
class PerPassLimit:
    """At most `count` firings for one pass: in the last `within_ms`, in each calendar period, or ever if both are None."""

    count: int
    within_ms: int | None = None
    calendar: PeriodUnit | None = None


@dataclass(frozen=True)
class RuleVersion:
    """Version of a rule's definition, created at the instant `at`. It is in force from its revision on.

    - `first_at`: instant of the rule's first version; rules of equal priority are asked in its order.
    - `conditions`: criteria that the pass must match; None for none.
    - `event_metadata`: conditions on the metadata of the event; all must hold.
    - `active_from_ms` (inclusive), `active_to_ms` (exclusive): period in which the rule fires; None is open.
    - `group`: of the rules of one group, only the first that fires for a cause does.
    - `announces`: every pass must be evaluated under the version soon, so that older versions can be deleted.
    - `control_percent`: share of the passes for which firings are recorded without effects.
    """

    rule_id: str
    key: str
    revision: int
    version: int
    at: datetime
    first_at: datetime
    status: RuleStatus
    trigger: Trigger
    effects: tuple[Effect, ...]
    conditions: Criteria | None = None
    event_metadata: tuple[Condition, ...] = ()
    nth: Nth | None = None
    when: When | None = None
    per_pass: PerPassLimit | None = None
    active_from_ms: int | None = None
    active_to_ms: int | None = None
    timezone: str = "UTC"
    priority: int = 0
    group: str | None = None
    on_correction: OnCorrection = OnCorrection.REVERSE
    historical: OnHistorical = OnHistorical.IGNORE
    control_percent: int = 0
    announces: bool = False

    @cached_property
    def at_ms(self) -> int:
        """The instant from which the version is in force, in ms. It does not see the events of that instant."""
        return to_ms(self.at)

    @cached_property
    def first_ms(self) -> int:
        """The instant of the rule's first version, in ms."""
        return to_ms(self.first_at)

    @property
    def subject_id(self) -> str:
        """The id of the rule."""
        return self.rule_id

    @property
    def announces_backfill(self) -> bool:
        """Whether passes must be evaluated under the version soon. Usually, a pass meets a rule when it is next walked."""
        return self.announces

    @property
    def is_in_force(self) -> bool:
        """Whether the rule may fire under this version."""
        return self.status is RuleStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule with its labels and its latest version."""

    id: str
    key: str
    name: str
    description: str | None
    latest: RuleVersion
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> RuleStatus:
        """The status of the latest version."""
        return self.latest.status
