"""Event types: the built-in ones, those that a workspace defines, and what they say of an event that is to be recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from app.domain.errors import Code, InvalidInput, Problem
from app.domain.ids import event_type_id

from .attributes import Attribute, find_violations
from .events import TYPES, Category
from .validation import Draft

MAX_DEFINED = 500


class Acceptance(StrEnum):
    """Which types of events a workspace takes."""

    OPEN = "OPEN"
    STRICT = "STRICT"


BUILT_IN: Mapping[str, tuple[str, str]] = MappingProxyType({
    "purchase": ("Purchase", "Something was bought; the amount is what it cost."),
    "refund": ("Refund", "Money went back; the amount is positive and subtracts from spend."),
    "payment": ("Payment", "Money was paid in."),
    "charge": ("Charge", "Money was asked for, for example a fee."),
    "credit": ("Credit", "Money was credited; the amount is positive and subtracts from spend."),
    "check_in": ("Check-in", "A visit began: entry to a gym, arrival at a store, attendance."),
    "check_out": ("Check-out", "A visit ended, for example with its duration."),
    "visit": ("Visit", "Somebody was there, or looked around."),
    "scan": ("Scan", "The pass was shown: looked up at a register, or let through a gate."),
    "app_open": ("App opened", "Engagement: the app was opened."),
    "link_click": ("Link clicked", "A link of the pass was followed, for attribution on the web."),
    "notification_received": ("Notification received", "A notification was delivered."),
    "notification_opened": ("Notification opened", "Engagement: a notification was opened."),
    "pass_installed": ("Pass installed", "The pass was put into a wallet: onboarding."),
    "pass_uninstalled": ("Pass uninstalled", "The pass was taken out of a wallet: churn."),
    "pass_registered": ("Pass registered", "Somebody signed up for the pass."),
    "redemption": ("Redemption", "A reward was redeemed."),
    "custom": ("Custom", "Anything else, with free details."),
    "field_updated": ("Field updated", "A field of the pass was set."),
    "field_increment": ("Field incremented", "A field of the pass grew by a step."),
    "field_decrement": ("Field decremented", "A field of the pass shrank by a step."),
})  # fmt: skip
"""(label, what it is for) of each built-in type."""


@dataclass(frozen=True, slots=True)
class EventType:
    """The definition of a type in one workspace, as of its latest `version`; built-in types begin at version 1."""

    id: str
    key: str
    label: str
    category: Category
    description: str | None = None
    attributes: tuple[Attribute, ...] = ()
    version: int = 1
    archived: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def built_in(self) -> bool:
        """Whether every workspace has it."""
        return self.key in TYPES

    def says(self, other: EventType) -> bool:
        """Whether another definition says the same, whatever its version."""
        return (self.label, self.category, self.description, self.attributes, self.archived) == (
            other.label, other.category, other.description, other.attributes, other.archived,
        )  # fmt: skip


def built_in(workspace_id: str, key: str) -> EventType:
    """A built-in type as it comes."""
    label, description = BUILT_IN[key]
    return EventType(event_type_id(workspace_id, key), key, label, TYPES[key], description)


def parse_category(raw: object, *path: str) -> Category:
    """The category of a type that a workspace defines. Raises InvalidInput: UNKNOWN, UNSUPPORTED for FIELD_CHANGE."""
    category = Category.CUSTOM if raw is None else Category.__members__.get(str(raw))
    if category is None:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(Category)}.", *path)
    if category is Category.FIELD_CHANGE:
        says = "Fields are changed by the built-in types only; see recordFieldChange."
        raise InvalidInput(Code.UNSUPPORTED, says, *path)
    return category


@dataclass(frozen=True, slots=True)
class EventTypes:
    """All that a workspace says of event types, as of revision `rev`. `defined` are those it defined or changed, by key."""

    workspace_id: str
    acceptance: Acceptance = Acceptance.OPEN
    defined: Mapping[str, EventType] = field(default_factory=dict)
    revision: int = 0

    def get(self, key: str) -> EventType | None:
        """The definition of a type, or None: a type that is neither defined nor built in."""
        found = self.defined.get(key)
        return built_in(self.workspace_id, key) if found is None and key in TYPES else found

    def all(self) -> list[EventType]:
        """Every definition, archived ones included, by key."""
        own = {key: built_in(self.workspace_id, key) for key in TYPES if key not in self.defined}
        return [found for _, found in sorted({**self.defined, **own}.items())]

    def label_of(self, key: str) -> str:
        """What people call a type; its key where nobody said."""
        found = self.defined.get(key)
        if found is not None:
            return found.label
        return BUILT_IN[key][0] if key in BUILT_IN else key

    def version_of(self, key: str) -> int | None:
        """The version of the definition that events of a type are held against; None where nothing was defined."""
        found = self.defined.get(key)
        return None if found is None else found.version

    def later(self, changed: Iterable[EventType], acceptance: Acceptance | None, rev: int) -> EventTypes:
        """These, with what changed up to a later revision."""
        defined = {**self.defined, **{each.key: each for each in changed}}
        return EventTypes(self.workspace_id, acceptance or self.acceptance, defined, rev)

    def check(self, draft: Draft) -> tuple[Draft, tuple[Problem, ...]]:
        """The draft with the category of its type, and what the definition says against it today.

        An event recorded before a definition became stricter keeps its identity: what speaks against a repeat of it does
        not count.
        """
        found = self.defined.get(draft.type)
        if found is None:
            return draft, self._unknown(draft.type) if self.acceptance is Acceptance.STRICT else ()
        if found.archived:
            says = f"The type '{draft.type}' is archived; record another, or define it again with defineEventType."
            return draft, (Problem(Code.UNSUPPORTED, says, ("type",)),)
        problems: Sequence[Problem] = find_violations(found.attributes, draft.metadata)
        if draft.category is not found.category and draft.sent_category is not None:
            says = f"The category of '{draft.type}' is {found.category}."
            problems = [Problem(Code.INVALID, says, ("category",)), *problems]
        counted = draft if draft.category is found.category else replace(draft, category=found.category)
        return counted, tuple(problems)

    def _unknown(self, key: str) -> tuple[Problem, ...]:
        if key in TYPES:
            return ()
        says = f"This workspace takes defined types only, and '{key}' is none; define it with defineEventType."
        return (Problem(Code.UNKNOWN, says, ("type",)),)
