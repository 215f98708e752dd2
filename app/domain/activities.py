"""Activities: what the feed says happened, numbered per pass by the fold and positioned per workspace by publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from app.domain.events.events import PASS_UPDATED, Category, Event


class CauseKind(StrEnum):
    """What brought about an activity or a membership."""

    EVENT = "EVENT"
    TIME = "TIME"
    DEFINITION_CHANGED = "DEFINITION_CHANGED"
    EVENT_REMOVED = "EVENT_REMOVED"
    BACKFILL = "BACKFILL"
    PASS_CREATED = "PASS_CREATED"
    PASS_MERGED = "PASS_MERGED"


CREATED = "customer.created"
UPDATED = "customer.updated"
DELETED = "customer.deleted"
CUSTOM_EVENT = "customer.custom_event"
ENTERED = "customer.segment.entered"
LEFT = "customer.segment.left"
EMPTIED: Mapping[str, object] = MappingProxyType({"erased": True})
"""All that the lines of an erased pass say, beside what they are and when."""
REDEEMED = "customer.redemption.succeeded"
POINTS_ADDED = "customer.voucher.loyalty_card.points_added"
POINTS_EXPIRED = "customer.voucher.loyalty_card.points_expired"

EFFECTS = frozenset({ENTERED, LEFT, POINTS_EXPIRED})
"""Activities that Punchcard derived; every other one is an ACTION of somebody."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One activity in the outbox of a pass: at most 300 bytes stored; publish adds the snapshots it refers to.

    `at_ms` is the exact instant it happened, `recorded_ms` when it was written, `cause` {kind, event?, version?}, `refs`
    what it is about: {event}, {removed}, {into}, {event, points, balance} or {segment, version, before, after}.
    """

    number: int
    type: str
    at_ms: int
    recorded_ms: int
    cause: Mapping[str, object] = field(default_factory=dict)
    refs: Mapping[str, object] = field(default_factory=dict)
    late: bool = False
    silent: bool = False
    historical: bool = False


@dataclass(frozen=True, slots=True)
class Activity:
    """One line of the log. `pos` is dense in the workspace, `n` dense in the pass; `data` is a snapshot of that instant."""

    position: int
    pass_sequence: int
    pass_id: str
    type: str
    category: str
    occurred_at: datetime
    recorded_at: datetime
    cause: Mapping[str, object]
    data: Mapping[str, object]
    segment_id: str | None = None
    late: bool = False
    silent: bool = False
    historical: bool = False

    @property
    def id(self) -> str:
        """The permanent id: "act_<pass>:<n>" without the pass's own prefix."""
        return activity_id(self.pass_id, self.pass_sequence)

    @property
    def erases(self) -> bool:
        """Whether it is the last line of a pass that is erased, and not merged into another."""
        return self.type == DELETED and not self.cause


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """Which activities to list; an empty part means any. `aliases` are passes beside `pass_id`.

    "after" is inclusive, "before" exclusive.
    """

    types: Sequence[str] = ()
    category: str | None = None
    pass_id: str | None = None
    aliases: Sequence[str] = ()
    segment_ids: Sequence[str] = ()
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None
    include_silent: bool = False
    include_historical: bool = True
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None

    def matches(self, activity: Activity) -> bool:
        """Return whether the query lists the activity. Lists, streams and webhooks agree on this."""
        return (
            (not self.types or activity.type in self.types)
            and (not self.segment_ids or activity.segment_id in self.segment_ids)
            and self.category in (None, activity.category)
            and (self.pass_id is None or activity.pass_id == self.pass_id or activity.pass_id in self.aliases)
            and (self.occurred_after is None or activity.occurred_at >= self.occurred_after)
            and (self.occurred_before is None or activity.occurred_at < self.occurred_before)
            and (self.recorded_after is None or activity.recorded_at >= self.recorded_after)
            and (self.recorded_before is None or activity.recorded_at < self.recorded_before)
            and (self.include_silent or not activity.silent)
            and (self.include_historical or not activity.historical)
        )


def match_none(activity: Activity) -> bool:
    """Return False: the filter of a query that can list nothing."""
    return False


def activity_id(pass_id: str, n: int) -> str:
    """The permanent id of activity `n` of a pass."""
    return f"act_{pass_id.removeprefix('pass_')}:{n}"


def category_of(kind: str) -> str:
    """ "EFFECT" for what Punchcard derived, "ACTION" for what somebody did."""
    return "EFFECT" if kind in EFFECTS else "ACTION"


def type_of(event: Event) -> str:
    """The activity type that stands for an event (source: the API contract, "Which activity is what")."""
    if event.category is Category.FIELD_CHANGE or event.type == PASS_UPDATED:
        return UPDATED
    if event.type == "redemption":
        return REDEEMED
    return POINTS_ADDED if event.points > 0 else CUSTOM_EVENT
