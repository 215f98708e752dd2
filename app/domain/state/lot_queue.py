"""Lots of a pass during a walk, in the order in which they expire."""

from __future__ import annotations

from bisect import bisect_left, insort

from app.domain.values.instants import DAY_MS

from .lots import Lot, LotKey, Lots, is_end_key, lot_key


class LotQueue:
    """Lots, of which one can find the one that expires soonest. `lots` is None as long as no counted event had an end."""

    def __init__(self, lots: Lots | None) -> None:
        self.lots: Lots | None = lots
        self._copied: dict[str, Lot] | None = None
        # Lots that expire at an instant, and lots that expire after days without activity; the soonest first.
        self._fixed: list[LotKey] = []
        self._rolling: list[LotKey] = []
        # Lots of awards that expire after days without activity: one for each number of days.
        self._idle: list[LotKey] = []
        for key, lot in (lots or {}).items():
            self._queue_of(key, lot).append(lot_key(key, lot))
        self._fixed.sort()
        self._rolling.sort()
        self._idle.sort()

    def copy(self) -> LotQueue:
        """Return a copy that later changes leave as it was."""
        other = LotQueue(None)
        if self.lots is not None:
            other.lots = other._copied = dict(self.lots)
        other._fixed, other._rolling, other._idle = list(self._fixed), list(self._rolling), list(self._idle)
        return other

    def begin(self) -> None:
        """Note that an event had an end: from now on, the order of events matters, even if it leaves no lot."""
        if self.lots is None:
            self.lots = self._copied = {}

    def find_soonest(self, active_ms: int) -> LotKey | None:
        """Return the key of the lot that expires soonest. `active_ms` is the instant of the last activity."""
        # A grant is an activity of the customer, but an award may follow the last one.
        return min(
            (
                *self._fixed[:1],
                *((active_ms + days * DAY_MS, at_ms, key) for days, at_ms, key in self._rolling[:1]),
                *((max(active_ms, at_ms) + days * DAY_MS, at_ms, key) for days, at_ms, key in self._idle),
            ),
            default=None,
        )

    def put(self, key: str, lot: Lot) -> None:
        """Store a lot."""
        if self.lots is not None and key in self.lots:
            # A slow worker may count an event that another worker counted before the history was read. The
            # compare-and-set rejects the result of such a walk, but the walk must not raise.
            self.take(key)
        self._changeable()[key] = lot
        insort(self._queue_of(key, lot), lot_key(key, lot))

    def take(self, key: str) -> Lot:
        """Remove a lot and return it."""
        lot = self._changeable().pop(key)
        queue = self._queue_of(key, lot)
        del queue[bisect_left(queue, lot_key(key, lot))]
        return lot

    def _queue_of(self, key: str, lot: Lot) -> list[LotKey]:
        if lot.expiry.after_days is None:
            return self._fixed
        return self._idle if is_end_key(key) else self._rolling

    def _changeable(self) -> dict[str, Lot]:
        """Return the lots to change.

        Copy them before the first change, because the caller's lots must stay unchanged.
        """
        if self._copied is None:
            self.lots = self._copied = dict(self.lots or {})
        return self._copied
