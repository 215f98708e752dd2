"""Results of attempts at reactions: the next state of partitions, and of the reactions that are parked.

This module decides and does no I/O. It follows the retry schedule of webhooks: three retries while the partition waits,
then the reaction is parked and the partition goes on. After the last retry, only `retryRuleFirings` makes another attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from app.domain.reactions.parked import ParkedReaction
from app.domain.reactions.reactions import Reaction
from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import RETRIES_IN_PARTITION, next_attempt_ms
from app.domain.webhooks.partitions import BlockedHead
from app.telemetry import metrics
from workers.delivery.partitions import Partition

from .performing import Attempted


@dataclass(frozen=True, slots=True)
class QueuedReactions:
    """Reactions to one entry of the log."""

    position: int
    reactions: tuple[Reaction, ...]

    @property
    def size_bytes(self) -> int:
        """The size in memory, about."""
        return 500 * len(self.reactions)


@dataclass
class ReactionOutcomes:
    """The results of attempts, and which of them are not stored yet.

    `due` are parked reactions in order of their next attempt. `parked` and `completed` are to be stored. `is_unsaved` is
    true if these or the partitions have changes that are not stored.
    """

    chance: Callable[[], float]
    due: list[ParkedReaction] = field(default_factory=list)
    parked: list[ParkedReaction] = field(default_factory=list)
    completed: list[Reaction] = field(default_factory=list)
    is_unsaved: bool = False

    def record(self, partition: Partition[QueuedReactions], results: Sequence[Attempted], now_ms: int) -> None:
        """Apply the results for a partition's first entry. Store them before the partition takes its next entry."""
        head = partition.head or BlockedHead(0, 0, now_ms, activity_id=results[0].reaction.activity_id)
        partition.is_sending, self.is_unsaved = False, True
        attempt_count = head.attempt_count + 1
        if any(each.may_retry for each in results) and attempt_count <= RETRIES_IN_PARTITION:
            _count("retried", sum(each.may_retry for each in results))
            at_ms = self._next_ms(attempt_count, now_ms) or now_ms
            partition.head = replace(head, attempt_count=attempt_count, retry_at_ms=at_ms)
            return
        for each in results:
            if each.refusal is None:
                _count("made")
            else:
                self._park(each, attempt_count, now_ms)
        partition.advance()

    def record_retry(self, before: ParkedReaction, result: Attempted, now_ms: int) -> None:
        """Apply the result of an attempt at a parked reaction."""
        self.is_unsaved = True
        if result.refusal is None:
            _count("made")
            self.completed.append(result.reaction)
        else:
            self._park(result, before.attempt_count + 1, now_ms)

    def take_due(self, now_ms: int, limit: int) -> list[ParkedReaction]:
        """Remove and return the parked reactions whose next attempt is due, `limit` at most."""
        count = 0
        while count < min(limit, len(self.due)) and _due_ms(self.due[count]) <= now_ms:
            count += 1
        found, self.due = self.due[:count], self.due[count:]
        return found

    def set_due(self, parked: Iterable[ParkedReaction]) -> None:
        """Replace the parked reactions with a next attempt."""
        self.due = sorted(parked, key=_due_ms)

    def next_due_ms(self) -> int | None:
        """Return the time of the next attempt at a parked reaction, or None if there is none."""
        return _due_ms(self.due[0]) if self.due else None

    def mark_saved(self) -> None:
        """Mark all results as stored."""
        self.parked, self.completed, self.is_unsaved = [], [], False

    def _park(self, result: Attempted, attempt_count: int, now_ms: int) -> None:
        assert result.refusal is not None, "only what was not made is parked"
        due_ms = self._next_ms(attempt_count, now_ms) if result.may_retry else None
        _count("refused" if not result.may_retry else "failed" if due_ms is None else "parked")
        parked = ParkedReaction(
            result.reaction, result.refusal, attempt_count=attempt_count, at=from_ms(now_ms), due_ms=due_ms
        )
        self.parked.append(parked)
        if due_ms is not None:
            self.set_due([*self.due, parked])

    def _next_ms(self, attempt_count: int, now_ms: int) -> int | None:
        return next_attempt_ms(attempt_count, now_ms, self.chance(), 0)


def _due_ms(parked: ParkedReaction) -> int:
    assert parked.due_ms is not None, "a reaction without a next attempt is not among those that are due"
    return parked.due_ms


def _count(outcome: str, number: int = 1) -> None:
    metrics.REACTIONS.labels(outcome).inc(number)
