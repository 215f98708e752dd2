"""Activities: entries of the activity log.

The fold numbers them in each pass, publish gives them positions in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from app.domain.events.events import (
    CONSENT_GIVEN,
    CONSENT_REVOKED,
    GIFT_ADDED,
    LIST_EVENTS,
    MERGE_FINISHED,
    MESSAGE_EVENTS,
    MESSAGE_SENT,
    PASS_CONFIRMED,
    PASS_REFERRED,
    PASS_UPDATED,
    POINT_ADD,
    POINTS_RETURNED,
    POINTS_TRANSFERRED,
    REDEMPTION,
    REDEMPTION_ROLLBACK,
    RULE_FIRED,
    RULE_INCLUDED,
    RULE_RETRIED,
    Category,
    Event,
)
from app.domain.values.cursors import activity_cursor


class CauseKind(StrEnum):
    """Cause of an activity or of a membership in a segment."""

    EVENT = "EVENT"
    TIME = "TIME"
    DEFINITION_CHANGED = "DEFINITION_CHANGED"
    EVENT_REMOVED = "EVENT_REMOVED"
    BACKFILL = "BACKFILL"
    PASS_CREATED = "PASS_CREATED"
    PASS_MERGED = "PASS_MERGED"
    MANUAL = "MANUAL"


CREATED = "customer.created"
UPDATED = "customer.updated"
DELETED = "customer.deleted"
CUSTOM_EVENT = "customer.custom_event"
ENTERED = "customer.segment.entered"
LEFT = "customer.segment.left"
ERASED_DATA: Mapping[str, object] = MappingProxyType({"erased": True})
"""The data of an activity whose pass was erased. Its type, time and position remain."""
REDEEMED, REDEMPTION_FAILED = "customer.redemption.succeeded", "customer.redemption.failed"
ROLLED_BACK, ROLLBACK_FAILED = "customer.redemption.rollback.succeeded", "customer.redemption.rollback.failed"
REDEMPTION_TYPES = frozenset({REDEEMED, REDEMPTION_FAILED, ROLLED_BACK, ROLLBACK_FAILED})
"""Types of activities that tell of redemptions and their rollbacks."""
EVENT_DECLINED = "customer.event.declined"
"""A walk declined an event, which counts nowhere. `data` has the reasons."""
POINTS_ADDED = "customer.voucher.loyalty_card.points_added"
POINTS_EXPIRED = "customer.voucher.loyalty_card.points_expired"
TIER_JOINED, TIER_LEFT = "customer.loyalty.tier.joined", "customer.loyalty.tier.left"
TIER_UPGRADED, TIER_DOWNGRADED = "customer.loyalty.tier.upgraded", "customer.loyalty.tier.downgraded"
TIER_PROLONGED = "customer.loyalty.tier.prolonged"
TIER_CHANGES: Mapping[str, str] = MappingProxyType({
    "JOINED": TIER_JOINED, "UPGRADED": TIER_UPGRADED, "PROLONGED": TIER_PROLONGED, "DOWNGRADED": TIER_DOWNGRADED,
    "LEFT": TIER_LEFT,
})  # fmt: skip
"""The type of the activity that reports each change of a tier."""
LOYALTY_UPDATED = "customer.loyalty.updated"
TIER_TYPES = frozenset({*TIER_CHANGES.values(), LOYALTY_UPDATED})
"""Types of activities that report the tier of a pass, or the end of its period."""

REWARDED_POINTS = "customer.rewarded.loyalty_points"
"""A rule awarded points. The activity stands beside that of the points themselves."""
GIFT_BALANCE_ADDED = "customer.voucher.gift.balance_added"
"""Money was added to a gift card."""
TRANSFERRED = "customer.voucher.loyalty_card.points_transferred"
"""Points left a pass for another one, entered it, or came back."""
CONSENTS = MappingProxyType({
    CONSENT_GIVEN: "customer.consents.given", CONSENT_REVOKED: "customer.consents.revoked",
})  # fmt: skip
"""The type of the activity that reports each change of a consent."""
MESSAGE_ROUTES = ("email", "sms", "push", "http", "braze", "mailchimp", "intercom", "activecampaign")
"""How messages reach customers: the kind of the channel, or the service that sends for it."""
MESSAGE_TYPES = frozenset(f"customer.{route}.{outcome}" for route in MESSAGE_ROUTES for outcome in ("sent", "failed"))
"""Types of activities that report the outcome of a message."""

REWARDED, REWARDED_POINTS = "customer.rewarded", "customer.rewarded.loyalty_points"
"""A rule gave a reward to the customer, or points."""
CONFIRMED, REFERRED = "customer.confirmed", "customer.referred"
"""The customer confirmed the own data, such as an address; or joined because another customer recommended it."""
CODE_ISSUED, CODE_NOT_ISSUED = "customer.publication.succeeded", "customer.publication.failed"
"""The customer got the code of a redemption, or did not get it because the redemption was declined."""
POINTS_PENDING = "customer.voucher.loyalty_card.points_pending"
RULE_WAS_FIRED = "customer.rule.fired"
"""A rule fired. The activity is shown only to readers that name its type."""
UNLESS_NAMED = frozenset({RULE_WAS_FIRED})
"""Types of activities that lists, streams and webhooks leave out unless their filter names the type."""

NO_EPOCH = ""
"""The first epoch of a log: it ends with the first restore from a backup."""
TRANSITIONS = frozenset({ENTERED, LEFT})
"""Types of activities that report entries into segments and exits from them."""
EFFECTS = frozenset(
    {ENTERED, LEFT, POINTS_EXPIRED, RULE_WAS_FIRED, *TIER_TYPES, *MESSAGE_TYPES, REWARDED, REWARDED_POINTS}
)
"""Types of activities that Punchcard derives (category EFFECT). All others have the category ACTION."""


UNREPORTED = frozenset({MERGE_FINISHED, RULE_RETRIED, RULE_INCLUDED})
"""Types of events that no activity reports."""
OWN_TYPES: Mapping[str, str] = MappingProxyType({
    REDEMPTION: REDEEMED, POINTS_TRANSFERRED: TRANSFERRED, POINTS_RETURNED: TRANSFERRED,
    GIFT_ADDED: GIFT_BALANCE_ADDED, PASS_CONFIRMED: CONFIRMED, PASS_REFERRED: REFERRED,
})  # fmt: skip
"""Types of events that have an activity of their own instead of CUSTOM_EVENT."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Activity in the outbox of a pass: at most 300 bytes stored, apart from the event that it may carry.

    Publish adds snapshots of the objects that it names.

    - `number`: number of the activity in its pass, from 1.
    - `at_ms`: exact instant of the activity.
    - `recorded_ms`: instant at which a worker wrote it.
    - `cause`: {kind, event?, version?}, where `event` is an id and `version` the version of a segment.
    - `refs`: ids and values: {event}, {event, reasons}, {removed}, {into} or {event, points, balance}. Those of a
      transition are {segment, version, before, after}, and {entered} for the number of the entry that an exit ends. Those
      of a tier are {change, program, tier, since, until, values}, and {tierBefore, sinceBefore, untilBefore} for the tier
      before. `reasons` has pairs of a code and a message.
    - `made`: event that the walk made, of which this is the first activity. Publish inserts it.
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
    made: Event | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """Entry of a workspace's activity log.

    `position` is dense in the workspace, `pass_sequence` dense in the pass. `data` is a snapshot of the time of
    publishing. `epoch` names the restore from a backup after which the activity was published. `entered` is the number of
    the entry that an exit from a segment ends; None for other activities, and if an earlier version wrote the entry.
    """

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
    epoch: str = NO_EPOCH
    entered: int | None = None

    @property
    def id(self) -> str:
        """The permanent id: "act_<pass>:<number>", without the prefix "pass_" of the pass id.

        After a restore it is "act_<epoch>_<pass>:<number>": numbers of lost activities are used again.
        """
        return activity_id(self.pass_id, self.pass_sequence, self.epoch)

    @property
    def cursor(self) -> str:
        """Cursor of the activity in the feed."""
        return activity_cursor(self.position, self.epoch)

    @property
    def is_erasure(self) -> bool:
        """Whether the activity is the last one of an erased pass. The last activity of a merged pass has a cause."""
        return self.type == DELETED and not self.cause


def activity_id(pass_id: str, number: int, epoch: str = NO_EPOCH) -> str:
    """Return the permanent id of an activity, from its number in the pass and its epoch."""
    # The Standard Webhooks specification forbids points in the ids of messages.
    return f"act_{epoch}{'_' if epoch else ''}{pass_id.removeprefix('pass_')}:{number}"


def split_activity_id(text: str) -> tuple[str, str]:
    """Return the id without its epoch, under which the activity is stored, and the epoch."""
    prefix, _, rest = text.partition("_")
    epoch, separator, number_in_pass = rest.rpartition("_")
    return (f"{prefix}_{number_in_pass}", epoch) if separator else (text, NO_EPOCH)


def category_of(activity_type: str) -> str:
    """Return EFFECT for activities that Punchcard derives, ACTION for all others."""
    return "EFFECT" if activity_type in EFFECTS else "ACTION"


def message_activity(route: str, *, was_sent: bool) -> str:
    """Return the type of the activity that reports the outcome of a message that took this route."""
    return f"customer.{route}.{'sent' if was_sent else 'failed'}"


def types_of(event: Event) -> tuple[str, ...]:
    """Return the types of the activities that report an event, in order: its own, then POINTS_ADDED if it adds points.

    A redemption by which a rule gives a reward is REWARDED, too, and one with a code is CODE_ISSUED.
    Points that a rule awards have no activity of their type: POINTS_ADDED, or POINTS_PENDING until they are in the
    balance, and REWARDED_POINTS.
    What only asks the walk for something has none, and neither has a change of a segment's list by hand. Each event that
    a walk makes has at least one, because an entry of the outbox carries the event until publish inserts it.
    """
    if event.type == RULE_FIRED:
        return (RULE_WAS_FIRED,)
    if event.type in LIST_EVENTS:
        return (UPDATED,) if event.is_made else ()
    if event.type in UNREPORTED:
        return ()
    if event.type in CONSENTS:
        return (CONSENTS[event.type],)
    if event.type in MESSAGE_EVENTS:
        return (message_activity(str(event.metadata.get("via")), was_sent=event.type == MESSAGE_SENT),)
    if event.is_made and event.type == POINT_ADD:
        own_type = POINTS_ADDED if event.matures_ms is None else POINTS_PENDING
        return (own_type,) if "reversal" in event.metadata else (own_type, REWARDED_POINTS)
    if event.type == REDEMPTION_ROLLBACK:
        # Points that come back are no points that are added.
        return (ROLLED_BACK,)
    if event.category is Category.FIELD_CHANGE or event.type == PASS_UPDATED:
        own_type = UPDATED
    else:
        own_type = OWN_TYPES.get(event.type, CUSTOM_EVENT)
    if event.type == REDEMPTION:
        is_issued = event.origin.rule is not None and not event.is_made
        further = (*((REWARDED,) if is_issued else ()), *((CODE_ISSUED,) if _has_code(event) else ()))
        return (own_type, *further, *((POINTS_ADDED,) if event.points > 0 else ()))
    return (own_type, POINTS_ADDED) if event.points > 0 else (own_type,)


def declined_types_of(event: Event) -> tuple[str, ...]:
    """Return the types of the activities that report an event which was declined, in order."""
    own_type = {REDEMPTION: REDEMPTION_FAILED, REDEMPTION_ROLLBACK: ROLLBACK_FAILED}.get(event.type, EVENT_DECLINED)
    return (own_type, CODE_NOT_ISSUED) if _has_code(event) else (own_type,)


def _has_code(event: Event) -> bool:
    """Return whether an event redeems a reward that gives the customer a code."""
    reward = None if event.guard is None else event.guard.reward
    return reward is not None and reward.code is not None
