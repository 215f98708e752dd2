"""Passes: the stored pass with everything that the fold derives for it, and the validation of clients' changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from app.domain.activities import Entry
from app.domain.errors import Code, InvalidInput, Problem, Refused
from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.events.guards import Decisions
from app.domain.state.aggregates import Aggregates
from app.domain.state.firings import RuleFirings
from app.domain.state.lots import Lots, Pending
from app.domain.state.measures import State
from app.domain.state.redeemed import RedeemedRewards
from app.domain.values.decimals import ZERO
from app.domain.values.path_values import PathValues
from app.domain.values.paths import Steps, iter_values, split_keys
from app.domain.values.text import encode_canonical, parse_object, parse_optional

from .consents import Consent

MAX_PROFILE_BYTES = 262_144
"""Size of holder, fields and metadata of a pass together, as JSON in UTF-8."""
ACTIVE, INACTIVE = "ACTIVE", "INACTIVE"
LOYALTY_CARD, GIFT_CARD = "LOYALTY_CARD", "GIFT_CARD"
KINDS = (LOYALTY_CARD, GIFT_CARD)
"""Kinds of passes. A gift card has a balance of money."""
STATUSES = (ACTIVE, INACTIVE, "EXPIRED", "REVOKED")


@dataclass(frozen=True, slots=True)
class Membership:
    """Membership of a pass in a segment: the instant of entry, the revision of the definitions then, and the cause.

    `number` is that of the activity of the entry in the pass; 0 for an entry that an earlier version of Punchcard wrote.
    """

    segment_id: str
    since_ms: int
    revision: int
    cause: Mapping[str, object]
    number: int = 0


@dataclass(frozen=True, slots=True)
class PassTier:
    """Tier of a pass: its key, the instant since when the pass has it, and the instant at which it is decided again.

    `until_ms` is the first instant after the period; None for ever.
    """

    key: str
    since_ms: int
    until_ms: int | None


@dataclass(frozen=True)
class Profile:
    """Values of a pass that clients set: the holder, fields, metadata and status. The fold applies their changes.

    `lists` has the lists of segments that the pass is on: by the id of the segment, INCLUDE or EXCLUDE. `consents` has the
    state of each consent that the customer ever gave or revoked, by its key.

    `problems` has the fields that an event could not change: a step found no number, or the profile would have become too
    large. Such a field keeps its value. By field, `problems` has the id of the last such event.
    """

    holder: Mapping[str, str | None] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    status: str = ACTIVE
    problems: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)
    consents: Mapping[str, Consent] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """The bytes of holder, fields and metadata, as the sum of the sizes of their entries."""
        parts: tuple[Mapping[str, object], ...] = (self.holder, self.fields, self.metadata)
        return sum(entry_size(key, value) for part in parts for key, value in part.items())

    def is_too_large_after(self, before: Profile) -> bool:
        """Return whether the profile is too large, and has grown by the change from `before`."""
        return self.size > MAX_PROFILE_BYTES and self.size > before.size

    @cached_property
    def split_fields(self) -> object:
        """The fields in the form in which criteria read them."""
        return split_keys(self.fields)

    @cached_property
    def split_metadata(self) -> object:
        """The metadata in the form in which criteria read it."""
        return split_keys(self.metadata)

    def values_at(self, root: str, steps: Steps) -> PathValues:
        """Return the values at a path of the fields, the metadata or the holder. All criteria of that path share them."""
        found = self._values.get((root, steps))
        if found is None:
            roots = {"fields": self.split_fields, "metadata": self.split_metadata, "holder": self.holder}
            found = self._values[root, steps] = PathValues(iter_values(roots[root], steps))
        return found

    @cached_property
    def _values(self) -> dict[tuple[str, Steps], PathValues]:
        return {}


@dataclass(frozen=True, slots=True)
class Erased:
    """Figures of an erased pass, without personal data.

    They are the instant, the numbers of events and aggregate rows, and the ids of the segments that the pass left.
    """

    at_ms: int
    events: int
    aggregates: int
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """Pass as stored: profile, aggregates and memberships, with the proof of which events are counted.

    - `initial_profile`, `profile`: as created, and current.
    - `installed_at`: as given at the creation, else the instant of the first installation event, if any counts; then
      `installed_by_event` is true.
    - `evaluated_until_ms`: last instant evaluated; it never goes back.
    - `revision`: revision of the definitions that the pass was last evaluated under.
    - `version`, `write_id`: counter and random id of the last write, for the compare-and-set.
    - `last_folded_ids`: events of the last fold. `decisions`: what the walk decided about some of them.
    - `last_activity`: number of the last activity; `outbox`: activities that are not in the log yet.
    - `next_due_ms`: next instant at which time alone changes a result or expires points.
    - `lots`: points that expire; None if no counted event ever had an expiry.
    - `made_aggregates`: aggregates of the events that rules made, which are no activity of the customer.
    - `firings`: firings of rules, by rule id; `redeemed`: units of rewards, by reward id.
    - `pending_points`: points that rules awarded and that are not in the balance yet.
    - `failures`: failed walks since the last successful one; 0 for a parked pass, which stays parked until its release.
    - `historical`: the pass was created for an import of past events, so its creation is no news.
    - `erased`: set on the stub of an erased pass. Only the values that the fold and the feed need remain.
    - `gift_currency`: currency of a gift card; None for every other pass.
    - `searchable`: paths of the fields under whose values search finds the pass, as of the last write of its tokens; None
      for a pass whose tokens were never stored.
    - `dirty_months`: months of UTC whose sums are not sealed, for example 202503; 0 for all. A write that counts or removes
      an event gives them anew, as an object of its own.
    - `alias_of`: survivor of a merged pass. `tier` is then the one that the survivor takes over, and `had_families` says
      whether checkouts or events of rules counted there.

    (Source: docs/explanation/exactly-once.md.)
    """

    id: str
    workspace_id: str
    external_id: str
    initial_profile: Profile
    profile: Profile
    installed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    evaluated_until_ms: int
    revision: int = 0
    points: Decimal = ZERO
    aggregates: Aggregates = field(default_factory=dict)
    measures: Mapping[str, State] = field(default_factory=dict)
    memberships: Mapping[str, Membership] = field(default_factory=dict)
    version: int = 0
    write_id: str = ""
    last_folded_ids: tuple[str, ...] = ()
    last_activity: int = 0
    outbox: tuple[Entry, ...] = ()
    next_due_ms: int | None = None
    tier: PassTier | None = None
    erased: Erased | None = None
    alias_of: str | None = None
    lots: Lots | None = None
    failures: int = 0
    historical: bool = False
    made_aggregates: Aggregates = field(default_factory=dict)
    firings: RuleFirings = field(default_factory=dict)
    pending_points: Pending = field(default_factory=dict)
    installed_by_event: bool = False
    had_families: bool = False
    redeemed: RedeemedRewards = field(default_factory=dict)
    decisions: Decisions = field(default_factory=dict)
    gift_currency: str | None = None
    searchable: tuple[str, ...] | None = None
    dirty_months: frozenset[int] = frozenset()

    @property
    def kind(self) -> str:
        """The kind of the pass: LOYALTY_CARD or GIFT_CARD."""
        return LOYALTY_CARD if self.gift_currency is None else GIFT_CARD

    @property
    def has_ended(self) -> bool:
        """Whether the pass was erased, or merged into another one."""
        return self.erased is not None or self.alias_of is not None

    @property
    def has_counted(self) -> bool:
        """Whether any event has counted in the pass."""
        return bool(self.aggregates or self.made_aggregates)

    @property
    def last_event_ms(self) -> int | None:
        """The instant of the last event of the customer that counts; None without one.

        Changes that `updatePass` records and events that rules made are no activity of the customer.
        """
        rows = (row for (kind, _), row in self.aggregates.items() if kind not in INTERNAL_TYPES)
        return max((row.last_ms for row in rows), default=None)

    @property
    def event_count(self) -> int:
        """The number of events that count, those that rules made included."""
        return sum(row.count for rows in (self.aggregates, self.made_aggregates) for row in rows.values())

    @property
    def made_events(self) -> list[Event]:
        """The events that rules made and that publish may not have inserted yet: the outbox carries them."""
        return [entry.made for entry in self.outbox if entry.made is not None]

    @property
    def given_installed_at(self) -> datetime | None:
        """The instant of the installation as the client gave it at the creation; None if it gave none."""
        return None if self.installed_by_event else self.installed_at

    @property
    def tier_key(self) -> str | None:
        """The key of the tier; None without a tier."""
        return None if self.tier is None else self.tier.key

    @property
    def joined_at(self) -> datetime:
        """The instant at which the customer joined: the installation, else the creation.

        "Days since the last event" count from here for a pass without a matching event.
        """
        return self.installed_at or self.created_at


def check_profile_size(after: Profile, before: Profile) -> None:
    """Raise InvalidInput: TOO_LONG if a change from `before` makes the profile too large."""
    if after.is_too_large_after(before):
        message = (
            f"Holder, fields and metadata of this pass would take {after.size:,} bytes together; at most "
            f"{MAX_PROFILE_BYTES:,} are allowed. Remove fields, by setting them to null, or shorten values."
        )
        raise InvalidInput(Code.TOO_LONG, message)


def entry_size(key: str, value: object) -> int:
    """Return the bytes of one entry of a JSON object."""
    text = value if isinstance(value, str) else encode_canonical(value)
    return len(key.encode()) + len(text.encode()) + 6


def validate_changes(
    holder: object, fields: object, metadata: object, status: object, max_bytes: int, problems: list[Problem]
) -> dict[str, object]:
    """Return the checked values that are not None, by the names holder, fields, metadata and status.

    `max_bytes` limits `fields` and `metadata`, each as JSON. Problems are appended to `problems`.
    """
    changes: dict[str, object] = {}
    for name, raw in (("fields", fields), ("metadata", metadata)):
        if raw is not None:
            try:
                changes[name] = parse_object(raw, name, max_bytes=max_bytes, splits_keys=True)[0]
            except Refused as refused:
                problems.extend(refused.problems)
    if isinstance(holder, Mapping):
        checked_holder: dict[str, str | None] = {}
        for name, raw in holder.items():
            try:
                checked_holder[name] = parse_optional(raw, "holder", name)
            except Refused as refused:
                problems.extend(refused.problems)
        changes["holder"] = checked_holder
    if status is not None:
        if status in STATUSES:
            changes["status"] = status
        else:
            problems.append(Problem(Code.UNKNOWN, f"Give one of {', '.join(STATUSES)}.", ("status",)))
    return changes


def apply_changes(profile: Profile, changes: Mapping[str, object]) -> Profile:
    """Return the profile after an update. A value sets its key, None removes its key, other keys stay."""
    parts: dict[str, dict[str, object]] = {
        "holder": dict(profile.holder),
        "fields": dict(profile.fields),
        "metadata": dict(profile.metadata),
    }
    for name, part in parts.items():
        part_changes = changes.get(name)
        if isinstance(part_changes, Mapping):
            for key, value in part_changes.items():
                if value is None:
                    part.pop(key, None)
                else:
                    part[key] = value
    status = changes.get("status", profile.status)
    changed_fields = changes.get("fields")
    problems = profile.problems
    if problems and isinstance(changed_fields, Mapping):
        problems = {name: event for name, event in problems.items() if name not in changed_fields}
    return Profile(
        {key: str(value) for key, value in parts["holder"].items()},
        parts["fields"],
        parts["metadata"],
        status=str(status),
        problems=problems,
        lists=profile.lists,
        consents=profile.consents,
    )
