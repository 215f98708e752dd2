"""Compare-and-sets of one round, by which a worker notices that another one does the same work."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

LOST_SHARE = 4
"""A round counts as lost if another worker was faster at one of so many writes, or more."""


@dataclass
class RoundWrites:
    """Compare-and-sets that one round sent, and those that another worker's write made void."""

    sent: int = 0
    lost: int = 0

    @property
    def is_lost(self) -> bool:
        """Whether another worker does the same work."""
        return self.lost * LOST_SHARE >= self.sent > 0


writes_of_round: ContextVar[RoundWrites] = ContextVar("writes_of_round")
"""The writes of the round that runs now; unset outside a round."""
