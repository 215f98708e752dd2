"""Diagnostics of rules: added up in memory after each acknowledged save, and stored every few seconds."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.rules.statistics import Diagnostics
from app.domain.values.instants import HOUR_MS
from app.store.mongo.queries import Database
from app.store.stages.rule_counts import RuleCountWrites, RuleHour

STORE_INTERVAL_SECONDS = 5.0
"""How often a worker stores what it counted. A crash loses at most that much."""
MAX_STORED = 1_000
"""Rules and hours that one write stores."""


class RuleDiagnostics:
    """Counts of one worker since its start, by rule and hour. Hours that are over are dropped once they are stored."""

    def __init__(self, db: Database, worker_id: str) -> None:
        self._writes = RuleCountWrites(db)
        self._worker_id = worker_id
        self._counts: dict[RuleHour, Diagnostics] = {}
        self._changed: set[RuleHour] = set()

    def add(
        self, workspace_id: str, at_ms: int, matched: Mapping[str, int], skipped: Mapping[tuple[str, str], int]
    ) -> None:
        """Add the counts of a walk that was saved at an instant of business time."""
        for rule_id, number in matched.items():
            reasons = {reason: count for (each, reason), count in skipped.items() if each == rule_id}
            hour = RuleHour(workspace_id, rule_id, at_ms // HOUR_MS)
            self._counts[hour] = self._counts.get(hour, Diagnostics()).plus(Diagnostics(number, reasons))
            self._changed.add(hour)

    async def store(self, now_ms: int) -> bool:
        """Store the counts that changed, and return whether there are more. Raises Unavailable; safe to repeat."""
        chosen = {hour: self._counts[hour] for hour in sorted(self._changed, key=lambda each: each.number)[:MAX_STORED]}
        await self._writes.store(self._worker_id, chosen)
        # What was added meanwhile is stored next time.
        self._changed -= {hour for hour, counts in chosen.items() if self._counts[hour] is counts}
        # A round that began in the hour before may still add to it.
        over = [hour for hour in self._counts if hour.number < now_ms // HOUR_MS - 1 and hour not in self._changed]
        for hour in over:
            del self._counts[hour]
        return bool(self._changed)
