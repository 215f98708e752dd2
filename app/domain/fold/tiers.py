"""The tier of a pass during a walk: each decision changes it, and is reported by entries of the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.domain.activities import LOYALTY_UPDATED, TIER_CHANGES, CauseKind
from app.domain.events.events import Event
from app.domain.passes.merges import tier_of_alias
from app.domain.passes.passes import Pass, PassTier
from app.domain.rules.occurrences import TierChanged
from app.domain.rules.triggers import TierChange
from app.domain.segments.causes import Step, collect_values, find_cause
from app.domain.segments.evaluation import EvaluationContext, Value
from app.domain.tiers.evaluation import TierDecision, adopt_program, decide, decide_end, take_over
from app.domain.tiers.programs import TierProgramVersion

from .entries import NewEntries

LATE_CAUSES = frozenset({CauseKind.EVENT_REMOVED.value, CauseKind.PASS_MERGED.value})
"""Causes whose transitions and changes of tiers are always late."""


class TierState:
    """The tier of one pass, as it is at the instant that a walk visits."""

    def __init__(self, card: Pass, entries: NewEntries) -> None:
        self._card = card
        self._entries = entries
        self.present = card.tier
        self._changes: list[TierChanged] = []

    @property
    def key(self) -> str | None:
        """The key of the tier; None without a tier."""
        return None if self.present is None else self.present.key

    @property
    def until_ms(self) -> int | None:
        """The instant at which the tier is decided again; None for never."""
        return None if self.present is None else self.present.until_ms

    def take_changes(self) -> list[TierChanged]:
        """Return the changes since the last call, as rules are asked about them."""
        changes, self._changes = self._changes, []
        return changes

    def is_over(self, at_ms: int) -> bool:
        """Return whether the period of the tier has ended at an instant."""
        return self.until_ms is not None and self.until_ms <= at_ms

    def end_period(self, program: TierProgramVersion | None, at_ms: int, before: EvaluationContext) -> None:
        """Decide at the end of a period. `before` is the pass as it was 1 ms earlier."""
        if self.present is not None:
            before = replace(before, at_ms=at_ms - 1)
            decision = decide_end(program, self.present, at_ms, before)
            self._apply(decision, program, at_ms, before, {"kind": CauseKind.TIME.value})

    def evaluate(
        self,
        program: TierProgramVersion | None,
        previous: TierProgramVersion | None,
        step: Step,
        context: EvaluationContext,
    ) -> None:
        """Decide after what happened in the step. `previous` is the program that was in force before it."""
        if isinstance(step.version, TierProgramVersion):
            decision = adopt_program(program, previous, self.present, step.at_ms, context)
        elif program is None:
            return
        else:
            decision = decide(program, self.present, step.at_ms, context, is_corrected=step.is_corrected)
        if decision is None:
            return
        event = None
        if decision.criteria is not None:
            cause, event = find_cause(decision.criteria, decision.holds, step, context)
            if cause["kind"] == CauseKind.TIME.value and not decision.holds:
                # The criteria had ended by time before. Only the correction asked them again.
                cause, event = _find_correction(step)
        else:
            cause = {"kind": CauseKind.DEFINITION_CHANGED.value}
            if step.version is not None:
                cause["version"] = step.version.version
        self._apply(decision, program or previous, step.at_ms, context, cause, event=event, step=step)

    def take_over(self, program: TierProgramVersion | None, event: Event, at_ms: int) -> None:
        """Take the tier of a merged pass, if it is higher or lasts longer. `event` is what the merge recorded."""
        other = tier_of_alias(event.changes)
        decision = None if other is None else take_over(program, self.present, other, at_ms)
        if decision is not None:
            cause = {"kind": CauseKind.PASS_MERGED.value}
            self._apply(decision, program, at_ms, None, cause)

    def leave(self, program: TierProgramVersion | None, step: Step) -> None:
        """Report the exit from the tier of a pass that was erased or merged."""
        if self.present is not None:
            kind = CauseKind.EVENT_REMOVED if step.is_erasure else CauseKind.PASS_MERGED
            self._apply(TierDecision(TierChange.LEFT, None), program, step.at_ms, None, {"kind": kind.value})

    def _apply(
        self,
        decision: TierDecision,
        program: TierProgramVersion | None,
        at_ms: int,
        context: EvaluationContext | None,
        cause: Mapping[str, object],
        *,
        event: Event | None = None,
        step: Step | None = None,
    ) -> None:
        values: tuple[Value, ...] = ()
        if context is not None and decision.criteria is not None:
            values = collect_values(decision.criteria, context)
        change = decision.change
        refs: dict[str, object] = {
            "change": None if change is None else change.value,
            "program": None if program is None else program.version,
            **_refs_of(decision.after, ""),
            **_refs_of(self.present, "Before"),
            "values": values,
        }
        key_before, self.present = self.key, decision.after
        is_creation = cause["kind"] == CauseKind.PASS_CREATED.value
        flags = {
            "late": cause["kind"] in LATE_CAUSES or (event is not None and event.occurred_ms < at_ms),
            "silent": step is not None and step.version is not None and step.version.is_silent,
            "historical": self._card.historical if is_creation else event is not None and event.historical,
        }
        if change is not None:
            number = self._entries.add(TIER_CHANGES[change.value], at_ms, cause, refs, None, **flags)
            kind, historical = str(cause["kind"]), flags["historical"]
            self._changes.append(
                TierChanged(change, key_before, self.key, number=number, kind=kind, event=event, historical=historical)
            )
        self._entries.add(LOYALTY_UPDATED, at_ms, cause, refs, None, **flags)


def _find_correction(step: Step) -> tuple[dict[str, object], Event | None]:
    """Return the cause of a tier that the last correction or removal of a step took away."""
    if step.removed:
        return {"kind": CauseKind.EVENT_REMOVED.value, "event": step.removed[-1].id}, None
    event = [event for event in step.events if event.correction_of is not None][-1]
    return {"kind": CauseKind.EVENT.value, "event": event.id}, event


def _refs_of(tier: PassTier | None, suffix: str) -> dict[str, object]:
    if tier is None:
        return {}
    found: dict[str, object] = {f"tier{suffix}": tier.key, f"since{suffix}": tier.since_ms}
    return found if tier.until_ms is None else {**found, f"until{suffix}": tier.until_ms}
