"""Named queries over the diagnostics of rules: one document for each rule and UTC hour."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.domain.rules.statistics import Diagnostics
from app.domain.values.instants import EARLIEST, LATEST
from app.store.mongo.queries import WorkspaceQueries
from app.store.mongo.usage import charge

HOUR = timedelta(hours=1)


class RuleCountQueries(WorkspaceQueries):
    """Diagnostics of the rules of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "rule_counts"

    async def read(self, rule_id: str, after: datetime | None, before: datetime | None) -> Diagnostics:
        """Return the sum of all hours that lie at least in part in a period. Index: {workspace, rule, hour}."""
        start = (after or EARLIEST).replace(minute=0, second=0, microsecond=0)
        where = self._in_workspace(rule=rule_id, hour={"$gte": start, "$lt": before or LATEST})
        docs = await self._collection.find(where, {"by": 1}).to_list(None)
        await charge(len(docs))
        total = Diagnostics()
        for doc in docs:
            for counts in doc["by"].values():
                total = total.plus(Diagnostics(counts["matched"], counts["skipped"]))
        return total
