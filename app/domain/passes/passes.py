"""Passes: what a customer holds, and everything the fold has derived for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from app.domain.activities import Entry
from app.domain.errors import Code, InvalidInput, Problem, Refused
from app.domain.state.aggregates import Aggregates
from app.domain.state.measures import State
from app.domain.state.points import Lots
from app.domain.values.decimals import ZERO
from app.domain.values.instants import parse_instant
from app.domain.values.text import parse_object, parse_optional, parse_text

ACTIVE = "ACTIVE"
STATUSES = (ACTIVE, "INACTIVE", "EXPIRED", "REVOKED")


@dataclass(frozen=True, slots=True)
class Membership:
    """That a pass is in a segment now: since which instant, judged under which revision, and why."""

    segment_id: str
    since_ms: int
    revision: int
    cause: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Profile:
    """What staff and integrators set on a pass; the fold applies field changes to it."""

    holder: Mapping[str, str | None] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    status: str = ACTIVE


@dataclass(frozen=True, slots=True)
class Erased:
    """What is known of an erased pass: when, and how much there was. Nothing in it is personal."""

    at_ms: int
    events: int
    aggregates: int
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass as stored: its profile, its aggregates and memberships, and the proof of how far it was folded.

    `at_ms` is the last instant judged, `rev` the revision of the definitions judged under, `v` and `fid` name the last
    write, `lb` the events of the last fold, `n` the last activity number, `out` activities not yet published, `due_ms` the
    next instant at which a verdict can flip or points end, `lots` what of the points has an end (None: nothing ever had).
    An `erased` one is a stub: only what the fold and the feed need is left of it.
    One that was merged is an `alias_of` the pass that it went into.
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
    tier: str | None = None
    erased: Erased | None = None
    alias_of: str | None = None
    lots: Lots | None = None

    @property
    def joined_at(self) -> datetime:
        """When the customer joined: installed, else created. "Never did it" counts from here."""
        return self.installed_at or self.created_at


@dataclass(frozen=True, slots=True)
class PassInput:
    """One item of createPasses exactly as it was sent. None means not given."""

    external_id: object
    holder: object = None
    fields: object = None
    metadata: object = None
    installed_at: object = None


@dataclass(frozen=True, slots=True)
class PassDraft:
    """A checked PassInput."""

    external_id: str
    profile: Profile
    installed_at: datetime | None


def validate_pass(sent: PassInput, now: datetime, metadata_bytes: int) -> PassDraft:
    """The checked draft of one input. Raises Refused with every problem found."""
    problems: list[Problem] = []
    external_id = ""
    installed_at = None
    try:
        external_id = parse_text(sent.external_id, "externalId")
    except Refused as refused:
        problems.extend(refused.problems)
    changes = validate_changes(sent.holder, sent.fields, sent.metadata, None, metadata_bytes, problems)
    if sent.installed_at is not None:
        try:
            installed_at = parse_instant(sent.installed_at, "installedAt")
            if installed_at > now:
                raise InvalidInput(Code.OUT_OF_RANGE, "A pass cannot have been installed in the future.", "installedAt")
        except Refused as refused:
            problems.extend(refused.problems)
    if problems:
        raise Refused(*problems)
    return PassDraft(external_id, apply_changes(Profile(), changes), installed_at)


def validate_changes(
    holder: object, fields: object, metadata: object, status: object, most_bytes: int, problems: list[Problem]
) -> dict[str, object]:
    """The parts given, checked, under the names holder, fields, metadata, status; problems are added to the list."""
    changes: dict[str, object] = {}
    for name, raw in (("fields", fields), ("metadata", metadata)):
        if raw is not None:
            try:
                changes[name] = parse_object(raw, name, most_bytes=most_bytes)[0]
            except Refused as refused:
                problems.extend(refused.problems)
    if isinstance(holder, Mapping):
        kept: dict[str, str | None] = {}
        for name, raw in holder.items():
            try:
                kept[name] = parse_optional(raw, "holder", name)
            except Refused as refused:
                problems.extend(refused.problems)
        changes["holder"] = kept
    if status is not None:
        if status in STATUSES:
            changes["status"] = status
        else:
            problems.append(Problem(Code.UNKNOWN, f"One of {', '.join(STATUSES)}.", ("status",)))
    return changes


def apply_changes(profile: Profile, changes: Mapping[str, object]) -> Profile:
    """The profile after an update: keys given are set, a null removes its key, keys not given stay."""
    parts: dict[str, dict[str, object]] = {
        "holder": dict(profile.holder),
        "fields": dict(profile.fields),
        "metadata": dict(profile.metadata),
    }
    for name, part in parts.items():
        given = changes.get(name)
        if isinstance(given, Mapping):
            for key, value in given.items():
                if value is None:
                    part.pop(key, None)
                else:
                    part[key] = value
    status = changes.get("status", profile.status)
    return Profile(
        {key: str(value) for key, value in parts["holder"].items()}, parts["fields"], parts["metadata"], str(status)
    )
