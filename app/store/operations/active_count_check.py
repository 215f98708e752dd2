"""Comparison of the stored numbers of active passes with the passes, while traffic goes on. It only reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.domain.fold.recomputation import Difference
from app.domain.rollups.periods import is_month, months_of
from app.store.mongo.queries import Database, ErrorTranslating
from app.store.workspace.active_counts import ActiveCountReads
from app.store.workspace.pass_periods import PassPeriodReads

from .consistency import LOOKS, Finding


class ActiveCountCheck(ErrorTranslating):
    """The comparison of one workspace. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        self._counts = ActiveCountReads(db, workspace_id, in_chunk)
        self._passes = PassPeriodReads(db, workspace_id, in_chunk)

    async def compare(self, periods: Collection[int] | None = None) -> list[Difference]:
        """Return how the numbers of months and years differ from the passes; of all that have numbers by default.

        A number that is about to be counted, or that changes during each look, is left out. Indexes: those of
        `ActiveCountReads`, {workspace, active}, {workspace, first_active}.
        """
        found: list[Difference] = []
        for period in sorted(await self._counts.periods() if periods is None else periods):
            found += await self._compare_one(period)
        return found

    async def _compare_one(self, period: int) -> list[Difference]:
        months = [period] if is_month(period) else months_of(period)
        name = f"{period // 100}-{period % 100:02}" if is_month(period) else str(period)
        for _ in range(LOOKS):
            stored = await self._counts.read_stored(period)
            if stored is None:
                break
            live = (await self._passes.count_active([period]), await self._passes.count_new(months[0], months[-1]))
            # The token differs after each count, so a number that was counted meanwhile is no difference.
            if await self._counts.read_stored(period) == stored:
                pairs = zip(("active", "new"), stored.numbers, live, strict=True)
                return [
                    Difference(f"the number of {kind} passes of {name}", str(number), str(counted))
                    for kind, number, counted in pairs
                    if number != counted
                ]
        return []


async def check_active_counts(db: Database, workspace_ids: Sequence[str], in_chunk: int) -> list[Finding]:
    """Return the differences in workspaces. Raises Unavailable; safe to repeat. Indexes as for `compare`."""
    return [
        Finding(
            workspace_id, "active passes", f"The passes give {each.rebuilt} for {each.what}, stored is {each.live}."
        )
        for workspace_id in workspace_ids
        for each in await ActiveCountCheck(db, workspace_id, in_chunk).compare()
    ]
