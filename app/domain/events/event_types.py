"""Event types, built-in and defined by a workspace, and the check of an event against the definition of its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from app.domain.errors import Code, InvalidInput, LimitExceeded, Problem
from app.domain.ids import event_type_id

from .attributes import Attribute, Examined, find_violations
from .events import TYPES, Category
from .validation import Draft

MAX_DEFINED = 500
"""Types that a workspace defines, archived ones included."""
MAX_DEFINITION_BYTES = 65_536
"""Size of one definition: its label, description and attributes."""
MAX_DEFINITIONS_BYTES = 2_097_152
"""Size of all definitions of a workspace. Each API process keeps them in memory."""


class Acceptance(StrEnum):
    """Types of events that a workspace accepts."""

    OPEN = "OPEN"
    STRICT = "STRICT"


BUILT_IN: Mapping[str, tuple[str, str]] = MappingProxyType({
    "purchase": ("Purchase", "The customer bought something; the amount is the price."),
    "refund": ("Refund", "The business paid money back; the amount is positive and subtracts from spend."),
    "payment": ("Payment", "The customer paid money in."),
    "charge": ("Charge", "The business charged money, for example a fee."),
    "credit": ("Credit", "The business credited money; the amount is positive and subtracts from spend."),
    "checkout": ("Checkout", "The customer ordered something; the amount is the total, which may change later."),
    "checkout_update": ("Checkout updated", "The total of a checkout changed; the amount is the new total."),
    "checkout_reject": ("Checkout rejected", "A checkout was cancelled: what is left of it is taken back."),
    "login": ("Login", "The customer logged in."),
    "opt_in": ("Opt-in", "The customer agreed to be contacted."),
    "opt_out": ("Opt-out", "The customer does not want to be contacted any more."),
    "share": ("Share", "The customer recommended something to others."),
    "pass_confirmed": ("Pass confirmed", "The customer confirmed the own data, for example an address."),
    "pass_referred": ("Pass referred", "The customer joined because another customer recommended it."),
    "friend_referred": ("Friend referred", "Another customer joined because this one recommended it."),
    "check_in": ("Check-in", "A visit began: entry to a gym, arrival at a store, attendance."),
    "check_out": ("Check-out", "A visit ended, for example with its duration."),
    "visit": ("Visit", "The customer was present or looked around."),
    "scan": ("Scan", "The customer presented the pass, at a register or a gate."),
    "app_open": ("App opened", "Engagement: the customer opened the app."),
    "link_click": ("Link clicked", "The customer followed a link of the pass, for attribution on the web."),
    "notification_received": ("Notification received", "A notification was delivered to the customer."),
    "notification_opened": ("Notification opened", "Engagement: the customer opened a notification."),
    "pass_installed": ("Pass installed", "The customer added the pass to a wallet. This activates the pass."),
    "pass_uninstalled": ("Pass uninstalled", "The customer removed the pass from a wallet. This deactivates the pass."),
    "pass_registered": ("Pass registered", "The customer signed up for the pass."),
    "redemption": ("Redemption", "The customer redeemed a reward."),
    "redemption_rollback": ("Redemption rolled back", "The redemption of a reward was taken back."),
    "point_add": ("Points added", "Points were given, by a rule or apart from other events."),
    "point_sub": ("Points subtracted", "Points were taken, by a rule or apart from other events."),
    "points_transferred": ("Points transferred", "Points went to another pass, or came from it."),
    "points_returned": ("Points returned", "Points of a transfer came back, because the other pass was erased."),
    "gift_balance_added": ("Gift balance added", "Money was added to a gift card; the amount is positive."),
    "gift_balance_spent": ("Gift balance spent", "Money of a gift card was spent; the amount is positive."),
    "custom": ("Custom", "Anything else; put details into the metadata."),
    "field_updated": ("Field updated", "A field of the pass was set."),
    "field_increment": ("Field incremented", "A number in a field of the pass was increased by a step."),
    "field_decrement": ("Field decremented", "A number in a field of the pass was decreased by a step."),
})  # fmt: skip
"""Label and description of each built-in type."""


@dataclass(frozen=True, slots=True)
class EventType:
    """Definition of an event type in one workspace, in its latest `version`. Built-in types begin at version 1.

    `dimensions_version` is the version in which an attribute became a dimension last. Hours of the type that were sealed
    before have no totals by its values.
    """

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
    dimensions_version: int | None = None

    @property
    def dimensions(self) -> tuple[Attribute, ...]:
        """The attributes of whose values rollups have totals."""
        return tuple(each for each in self.attributes if each.dimension and not each.overflowing)

    @property
    def size(self) -> int:
        """The bytes of the texts of the definition, and some for each attribute."""
        texts = [self.key, self.label, self.description or ""]
        for each in self.attributes:
            texts += (each.name, each.description or "", *each.allowed_values)
        return sum(len(text.encode()) + 4 for text in texts) + 100 * len(self.attributes)

    @property
    def is_built_in(self) -> bool:
        """Whether the type is built in, so that every workspace has it."""
        return self.key in TYPES

    def has_same_content(self, other: EventType) -> bool:
        """Return whether the other definition is equal, apart from its version and times."""
        return (self.label, self.category, self.description, self.attributes, self.archived) == (
            other.label, other.category, other.description, other.attributes, other.archived,
        )  # fmt: skip

    def following(self, before: EventType | None) -> EventType:
        """Return this definition as it follows another one: a dimension that overflows does so until it loses its mark."""
        overflowing = {
            each.name for each in (before.attributes if before else ()) if each.dimension and each.overflowing
        }
        attributes = tuple(
            replace(each, overflowing=True) if each.dimension and each.name in overflowing else each
            for each in self.attributes
        )
        return replace(self, attributes=attributes)

    def has_more_dimensions(self, before: EventType | None) -> bool:
        """Return whether rollups have no totals yet by the values of a dimension, if they were sealed under `before`."""
        sealed = {each.name for each in (before.dimensions if before else ())}
        return any(each.name not in sealed for each in self.dimensions)


def built_in_type(workspace_id: str, key: str) -> EventType:
    """Return the definition of a built-in type that the workspace has not changed."""
    label, description = BUILT_IN[key]
    return EventType(event_type_id(workspace_id, key), key, label, category=TYPES[key], description=description)


def parse_category(raw: object, *path: str) -> Category:
    """Return the category of a type that a workspace defines; CUSTOM for None.

    Raises InvalidInput: UNKNOWN, or UNSUPPORTED for FIELD_CHANGE.
    """
    category = Category.CUSTOM if raw is None else Category.__members__.get(str(raw))
    if category is None:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(Category)}.", *path)
    if category is Category.FIELD_CHANGE:
        message = "Only built-in types change fields; use recordFieldChange, or choose another category."
        raise InvalidInput(Code.UNSUPPORTED, message, *path)
    return category


@dataclass(frozen=True, slots=True)
class EventTypes:
    """The event types of a workspace at `revision`, and its other rule for events.

    `defined` holds, by key, the types that it defined or changed. `allow_negative_balance` says whether deductions of points
    may leave a debt; None if updateWorkspace has not set it.
    """

    workspace_id: str
    acceptance: Acceptance = Acceptance.OPEN
    defined: Mapping[str, EventType] = field(default_factory=dict)
    revision: int = 0
    allow_negative_balance: bool | None = None

    def get(self, key: str) -> EventType | None:
        """Return the definition of a type; None if the type is neither defined nor built in."""
        found = self.defined.get(key)
        return built_in_type(self.workspace_id, key) if found is None and key in TYPES else found

    def all(self) -> list[EventType]:
        """Return all definitions, archived ones included, sorted by key."""
        unchanged = {key: built_in_type(self.workspace_id, key) for key in TYPES if key not in self.defined}
        return [found for _, found in sorted({**self.defined, **unchanged}.items())]

    def label_of(self, key: str) -> str:
        """Return the label of a type; its key if the type has no definition."""
        found = self.defined.get(key)
        if found is not None:
            return found.label
        return BUILT_IN[key][0] if key in BUILT_IN else key

    def version_of(self, key: str) -> int | None:
        """Return the version of the definition that events of a type are checked against; None without a definition."""
        found = self.defined.get(key)
        return None if found is None else found.version

    def extended(
        self,
        changed: Iterable[EventType],
        acceptance: Acceptance | None,
        revision: int,
        *,
        allow_negative_balance: bool | None = None,
    ) -> EventTypes:
        """Return these event types with the changes up to a later revision. What is None stays as it is."""
        defined = {**self.defined, **{each.key: each for each in changed}}
        allows = self.allow_negative_balance if allow_negative_balance is None else allow_negative_balance
        return replace(
            self,
            acceptance=acceptance or self.acceptance,
            defined=defined,
            revision=revision,
            allow_negative_balance=allows,
        )

    def check_room(self, after: EventType) -> None:
        """Raise LimitExceeded if a definition is too large, or all definitions are with it."""
        if after.size > MAX_DEFINITION_BYTES:
            message = (
                f"This definition takes {after.size:,} bytes; give at most {MAX_DEFINITION_BYTES:,}. Shorten descriptions "
                "or lists of allowed values."
            )
            raise LimitExceeded(message, "attributes")
        others = sum(each.size for key, each in self.defined.items() if key != after.key)
        if others + after.size > MAX_DEFINITIONS_BYTES:
            message = (
                f"The event types of this workspace would take {others + after.size:,} bytes; at most "
                f"{MAX_DEFINITIONS_BYTES:,} are allowed. Shorten descriptions or lists of allowed values."
            )
            raise LimitExceeded(message, "attributes")

    def check(self, draft: Draft, examined: Examined | None = None) -> tuple[Draft, tuple[Problem, ...]]:
        """Return the draft with the category of its type, and its problems under today's definition of the type.

        The caller ignores the problems of an event that is recorded already. Such an event is a DUPLICATE, even if its
        definition has become stricter since.
        """
        found = self.defined.get(draft.type)
        if found is None:
            return draft, self._unknown(draft.type) if self.acceptance is Acceptance.STRICT else ()
        if found.archived:
            message = (
                f"The type '{draft.type}' is archived; record another type, or define it again with defineEventType."
            )
            return draft, (Problem(Code.UNSUPPORTED, message, ("type",)),)
        problems: Sequence[Problem] = find_violations(found.attributes, draft.details, examined)
        if draft.category is not found.category and draft.sent_category is not None:
            message = f"The category of '{draft.type}' is {found.category}; give that category, or none."
            problems = [Problem(Code.INVALID, message, ("category",)), *problems]
        checked = draft if draft.category is found.category else replace(draft, category=found.category)
        return checked, tuple(problems)

    def _unknown(self, key: str) -> tuple[Problem, ...]:
        if key in TYPES:
            return ()
        message = (
            f"This workspace accepts only defined types, and '{key}' is not defined; define it with defineEventType."
        )
        return (Problem(Code.UNKNOWN, message, ("type",)),)
