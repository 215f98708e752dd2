"""Named queries over the redemptions of rewards in one workspace, which are events."""

from __future__ import annotations

from app.domain.events.events import Event
from app.domain.values.instants import EARLIEST
from app.store.codecs.events import from_doc
from app.store.mongo.conditions import between
from app.store.mongo.paging import Page, PageRequest, count_matching, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries

OCCURRED = "occurred_at"
_BY = ("workspace", "pass", "redeems")


class RedemptionQueries(WorkspaceQueries):
    """Redemptions of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"

    async def page(self, pass_id: str, span: PageRequest) -> Page[Event]:
        """Return the redemptions of a pass, the newest first; key (occurred ms, id).

        Index: {workspace, pass, redeems, occurred_at, _id}.
        """
        order = ((OCCURRED, -1), ("_id", -1))
        return await read_page(self._collection, self._where(pass_id), order, to_stored_keys(span), from_doc, by=_BY)

    async def count(self, pass_id: str) -> int:
        """Return the number of redemptions of a pass. Index: {workspace, pass, redeems, occurred_at, _id}."""
        return await count_matching(self._collection, self._where(pass_id), _BY, OCCURRED)

    def _where(self, pass_id: str) -> Doc:
        return self._in_workspace(redeems=1, **{"pass": pass_id}, **between(OCCURRED, EARLIEST, None))
