"""Events that a rule makes: the firing itself, and one for each effect inside the pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from app.domain.events.events import (
    FIELD_ROOTS,
    LIST_ADDED,
    LIST_REMOVED,
    PASS_UPDATED,
    POINT_ADD,
    POINT_SUB,
    RULE_CHANNEL,
    RULE_FIRED,
    TYPES,
    Category,
    Event,
    Origin,
)
from app.domain.ids import made_event_id
from app.domain.passes.lists import INCLUDE, list_metadata
from app.domain.passes.passes import Pass, Profile
from app.domain.values.decimals import ZERO, canonical, plain
from app.domain.values.instants import from_ms
from app.domain.values.paths import split_keys
from app.domain.values.text import encode_canonical

from .effects import AwardPoints, ChangeList, DeductPoints, Effect, IssueReward, RecordEvent, SendMessage, UpdatePass
from .rules import RuleVersion
from .terms import Terms, is_reversed, terms_of
from .texts import TextFault, Texts, render_value, text_values
from .writing import effect_to_dict

MAX_MADE_BYTES = 4_096
"""Bytes of what a rule writes into one event: its metadata, or the fields that it changes, as JSON in UTF-8."""
TOO_LARGE = "TOO_LARGE"
"""Why an effect fails that would write more than MAX_MADE_BYTES, or give more than MAX_POINTS."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What a rule fires for.

    - `id`: id of the event, or of the activity of a transition, a tier change or a reached balance.
    - `event`: the event, if the rule was asked about one.
    - `occurred_ms`: instant that the rule's hours and period are compared with.
    - `net`: net amount of the event; None without an event or an amount.
    - `number`: number of the event among those that match the rule; 0 if the rule does not ask for it.
    - `counted`: key of the measure that gave the number.
    - `depth`: depth of what the rule makes: 1 for what follows from a recorded event.
    - `root`: root of the family of what the rule makes; None for the family of the event, if there is one.
    """

    id: str
    event: Event | None
    occurred_ms: int
    chain: str
    depth: int = 1
    net: Decimal | None = None
    number: int = 0
    counted: str = ""
    root: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one effect: the event that it made, or why it failed. Neither if the effect gave 0 points.

    `outward` is an effect outside the pass, as rules store it. `react` makes it, and notes if it fails.
    """

    made: Event | None = None
    failure: str | None = None
    terms: Terms | None = None
    outward: Mapping[str, object] | None = None

    def to_json(self, index: int) -> dict[str, object]:
        """Return the result as the firing stores it."""
        stored: dict[str, object] = {"index": index}
        if self.failure is not None:
            return {**stored, "status": "FAILED", "reason": self.failure}
        stored["status"] = "SUCCEEDED"
        if self.made is not None:
            stored["event"] = self.made.id
            if self.made.points:
                stored["points"] = plain(self.made.points)
        if self.terms is not None:
            stored["terms"] = self.terms.to_json()
        if self.outward is not None:
            stored["outward"] = dict(self.outward)
        return stored


@dataclass(frozen=True, slots=True)
class Maker:
    """Maker of events at one instant of a walk. `profile`, `points` and `tier` are those of the pass at that instant."""

    card: Pass
    at_ms: int
    recorded_ms: int
    texts: Texts
    profile: Profile
    points: Decimal
    tier: str | None

    def fire(self, rule: RuleVersion, cause: Cause, *, is_control: bool) -> list[Event]:
        """Return the events of one firing: the firing, then what its effects made."""
        results: list[Result] = []
        if not is_control:
            results = [self._perform(rule, cause, index, effect) for index, effect in enumerate(rule.effects)]
        metadata: dict[str, object] = {"effects": [each.to_json(index) for index, each in enumerate(results)]}
        if is_control:
            metadata["control"] = True
        if cause.number:
            metadata |= {"number": cause.number, "counted": cause.counted}
        if cause.event is not None and cause.event.occurred_ms < self.at_ms:
            metadata["late"] = True
        fired = replace(self._new(rule, cause, None, RULE_FIRED, Category.CUSTOM), metadata=metadata)
        return [fired, *(each.made for each in results if each.made is not None)]

    def make_again(self, rule: RuleVersion, cause: Cause, index: int) -> Event | None:
        """Return the event of an effect that failed before; None if it fails again.

        Only effects with texts fail. If the rule has another kind of effect at the index now, there is nothing to make.
        """
        effect = rule.effects[index] if index < len(rule.effects) else None
        if not isinstance(effect, RecordEvent | UpdatePass):
            return None
        return self._perform(rule, cause, index, effect).made

    def _perform(self, rule: RuleVersion, cause: Cause, index: int, effect: Effect) -> Result:
        match effect:
            case AwardPoints() | DeductPoints():
                terms = terms_of(rule, effect, event=cause.event, at_ms=self.at_ms)
                if terms.is_too_large(cause.net):
                    return Result(failure=TOO_LARGE)
                made = self.give(
                    self._new(rule, cause, index, POINT_ADD, Category.CUSTOM), terms, terms.points(cause.net)
                )
                return Result(made, terms=terms if is_reversed(rule) else None)
            case RecordEvent():
                return self._record(rule, cause, index, effect)
            case UpdatePass():
                return self._update(rule, cause, index, effect)
            case ChangeList():
                kind = LIST_ADDED if effect.adds else LIST_REMOVED
                made = self._new(rule, cause, index, kind, Category.CUSTOM)
                return Result(replace(made, metadata=list_metadata(effect.segment_id, INCLUDE)))
            case IssueReward():
                return Result(outward=effect_to_dict(effect))
            case SendMessage():
                # The template is stored under its id, so that the firing and its activity stay small.
                return Result(outward={"sendMessage": self._message(rule, cause, effect)})

    def _message(self, rule: RuleVersion, cause: Cause, effect: SendMessage) -> dict[str, object]:
        of_event = {} if cause.event is None else {"event": cause.event.id}
        return {
            "channelKey": effect.channel_key,
            "templateId": effect.template.id_in(self.card.workspace_id),
            "validForHours": effect.valid_for_hours,
            "rule": rule.rule_id,
            **of_event,
        }

    def give(self, blank: Event, terms: Terms, points: Decimal) -> Event | None:
        """Return the event that gives or takes points under the terms of an effect; None for no points."""
        if not points:
            return None
        return replace(
            blank,
            type=POINT_ADD if points > 0 else POINT_SUB,
            # Products keep the zeros of their factors, and balances would show them: 596.0.
            points=Decimal(canonical(points)),
            points_expiry=terms.expiry,
            matures_ms=terms.matures_ms,
            label=terms.label,
            # Earned and spent points tell a reversal of an award from a deduction.
            metadata={"reversal": True} if points * terms.sign < 0 else {},
        )

    def _record(self, rule: RuleVersion, cause: Cause, index: int, effect: RecordEvent) -> Result:
        metadata = self._render(rule, cause, effect.metadata)
        if not isinstance(metadata, Mapping):
            return Result(failure=str(metadata))
        split = split_keys(metadata)
        category = TYPES.get(effect.type, effect.category)
        made = replace(
            self._new(rule, cause, index, effect.type, category),
            amount=effect.amount,
            currency=effect.currency,
            points=effect.points or ZERO,
            metadata=metadata,
            split_metadata=split if isinstance(split, Mapping) and split is not metadata else None,
        )
        return Result(made)

    def _update(self, rule: RuleVersion, cause: Cause, index: int, effect: UpdatePass) -> Result:
        parts = {name: getattr(effect, name) for name in FIELD_ROOTS if getattr(effect, name, None)}
        changes = self._render(rule, cause, parts)
        if not isinstance(changes, Mapping):
            return Result(failure=str(changes))
        made = self._new(rule, cause, index, PASS_UPDATED, Category.FIELD_CHANGE)
        return Result(replace(made, changes=changes))

    def _render(self, rule: RuleVersion, cause: Cause, value: Mapping[str, object]) -> Mapping[str, object] | str:
        """Return a JSON object with its texts rendered, or why it fails."""
        values = text_values(
            rule_key=rule.key, external_id=self.card.external_id, profile=self.profile, points=self.points,
            tier=self.tier, event=cause.event, at_ms=self.at_ms, zone=ZoneInfo(rule.timezone),
        )  # fmt: skip
        rendered = render_value(value, self.texts, values)
        if isinstance(rendered, TextFault):
            return f"TEXT: {rendered.message}"[:200]
        assert isinstance(rendered, Mapping)
        return rendered if len(encode_canonical(rendered)) <= MAX_MADE_BYTES else TOO_LARGE

    def _new(self, rule: RuleVersion, cause: Cause, effect: int | None, kind: str, category: Category) -> Event:
        return self.new_event(
            rule.rule_id, rule.key, rule.version, cause=cause.id, effect=effect, kind=kind, category=category,
            depth=cause.depth, root=cause.root or (None if cause.event is None else cause.event.family),
        )  # fmt: skip

    def new_event(
        self,
        rule_id: str,
        rule_key: str,
        version: int,
        *,
        cause: str,
        effect: int | None,
        kind: str,
        category: Category,
        depth: int,
        root: str | None,
        target: str | None = None,
    ) -> Event:
        """Return an event that a rule makes, without what it is about."""
        at = from_ms(self.at_ms)
        return Event(
            id=made_event_id(rule_id, cause, target or cause, effect),
            pass_id=self.card.id,
            category=category,
            type=kind,
            amount=None,
            currency=None,
            points=ZERO,
            source=f"rule:{rule_key}",
            external_id=None,
            metadata={},
            occurred_at=at,
            recorded_at=from_ms(self.recorded_ms),
            origin=Origin(
                RULE_CHANNEL, rule=rule_id, rule_version=version, depth=depth, cause=cause, effect=effect, target=target
            ),
            root=root,
        )
