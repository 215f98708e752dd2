"""Outbox entries that one walk makes: they get the next numbers of the pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from app.domain.activities import (
    DELETED,
    POINTS_ADDED,
    POINTS_EXPIRED,
    UPDATED,
    CauseKind,
    Entry,
    declined_types_of,
    types_of,
)
from app.domain.events.events import Event
from app.domain.events.guards import Decision
from app.domain.state.lots import ExpiredLot, Matured, is_end_key
from app.domain.values.text import encode_canonical

MAX_ENTRIES = 1_000
"""New entries after which a walk stops: a write must stay small."""
MAX_BYTES = 1_000_000
"""Bytes of new entries after which a walk stops, estimated."""
_ENTRY_BYTES, _EVENT_BYTES = 300, 600


class NewEntries:
    """New outbox entries of a pass. `last_number` is the number of the last activity so far."""

    def __init__(self, last_number: int, recorded_ms: int) -> None:
        self.last_number = last_number
        self.entries: list[Entry] = []
        self._recorded_ms = recorded_ms
        self._bytes = 0

    @property
    def are_many(self) -> bool:
        """Whether the walk must end after this instant, because its write becomes large."""
        return len(self.entries) > MAX_ENTRIES or self._bytes > MAX_BYTES

    def add(
        self,
        activity_type: str,
        at_ms: int,
        cause: Mapping[str, object],
        refs: Mapping[str, object],
        made: Event | None = None,
        **flags: bool,
    ) -> int:
        """Add an entry with the next number, and return that number."""
        self.last_number += 1
        self._bytes += _ENTRY_BYTES
        self.entries.append(
            Entry(
                self.last_number,
                activity_type,
                at_ms,
                recorded_ms=self._recorded_ms,
                cause=cause,
                refs=refs,
                made=made,
                **flags,
            )
        )
        return self.last_number

    def report_event(self, event: Event, at_ms: int) -> None:
        """Add the entries of an event that counts now, unless a merged pass published them before."""
        if event.move is not None and event.move.was_published:
            return
        cause, late = {"kind": CauseKind.EVENT.value, "event": event.id}, event.occurred_ms < at_ms
        for activity_type in types_of(event):
            self.add(
                activity_type, event.occurred_ms, cause, {"event": event.id}, late=late, historical=event.historical
            )

    def report_declined(self, event: Event, decision: Decision, at_ms: int) -> None:
        """Add the entries of an event that was declined, with the reasons."""
        cause, late = {"kind": CauseKind.EVENT.value, "event": event.id}, event.occurred_ms < at_ms
        refs = {"event": event.id, "reasons": [[reason.code, reason.message] for reason in decision.reasons]}
        for activity_type in declined_types_of(event):
            self.add(activity_type, event.occurred_ms, cause, refs, late=late, historical=event.historical)

    def report_made(self, event: Event, at_ms: int) -> Event:
        """Add the entries of an event that the walk made, and return the event with the number of its first one."""
        numbered = replace(event, step=self.last_number + 1)
        cause = {"kind": CauseKind.EVENT.value, "event": event.id}
        made: Event | None = numbered
        self._bytes += _EVENT_BYTES + len(encode_canonical(event.metadata)) + len(encode_canonical(event.changes))
        for activity_type in types_of(event):
            self.add(activity_type, at_ms, cause, {"event": event.id}, made)
            made = None
        return numbered

    def report_maturities(self, matured: Iterable[Matured], at_ms: int) -> None:
        """Add an entry for the points that entered the balance at one instant, for each end that they have."""
        for each in matured:
            refs = {"points": each.points, "balance": each.balance}
            self.add(POINTS_ADDED, at_ms, {"kind": CauseKind.TIME.value}, refs, late=each.at_ms < at_ms)

    def report_removals(self, event_ids: Iterable[str], at_ms: int) -> None:
        """Add an entry for each event that does not count any more."""
        for event_id in event_ids:
            cause = {"kind": CauseKind.EVENT_REMOVED.value, "event": event_id}
            self.add(UPDATED, at_ms, cause, {"removed": event_id}, late=True)

    def report_expiries(self, expired: Iterable[ExpiredLot], at_ms: int) -> None:
        """Add an entry for each lot that expired."""
        for lot in expired:
            of_event = {} if is_end_key(lot.event_id) else {"event": lot.event_id}
            refs = {**of_event, "points": lot.points, "balance": lot.balance}
            self.add(POINTS_EXPIRED, at_ms, {"kind": CauseKind.TIME.value}, refs, late=lot.at_ms < at_ms)

    def report_end(self, at_ms: int, survivor_id: str | None) -> None:
        """Add the last entry of an erased pass, or of a pass that was merged into a survivor."""
        if survivor_id is None:
            self.add(DELETED, at_ms, {}, {})
        else:
            self.add(DELETED, at_ms, {"kind": CauseKind.PASS_MERGED.value}, {"into": survivor_id})
