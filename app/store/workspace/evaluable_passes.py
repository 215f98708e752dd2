"""Named queries over the passes of one workspace with what an evaluation reads of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial

from app.domain.ids import MAX_DRAW
from app.domain.passes.passes import Pass
from app.store.codecs.passes import from_doc
from app.store.mongo.paging import Page, PageRequest
from app.store.mongo.queries import Doc, WorkspaceQueries, translating_errors
from app.store.mongo.read_ahead import read_ahead

from .pass_draws import DRAW_MARGIN
from .passes import CREATED, read_newest

EVALUATED = (
    "workspace", "external_id", "profile", "installed_at", "created_at", "updated_at", "at", "rev", "points", "memberships",
    "v", "fid", "n", "due", "tier", "tier_span",
)  # fmt: skip
"""The fields that every evaluation reads."""
COUNTED = ("aggregates", "made", "lb", "decided", "out")
"""The fields from which an evaluation builds what the pass does not store."""
REPLAYED = (*COUNTED, "base", "gift", "installed_by_event")
"""The fields from which a replay of the pass begins."""
DRAWN = "pass_draws"
"""The document in `constants` that says how far the passes have draws: `after` is the last pass, `done` is the end."""
PART_SIZE = 1_000
"""Passes in one part of `all`."""


class EvaluablePassQueries(WorkspaceQueries):
    """Passes of one workspace to evaluate. Errors: Unavailable, safe to repeat.

    The passes have the measures of `measure_keys` only. With `is_counted`, they also have what a measure is built from.
    With `is_replayed`, they have what they began as.
    """

    collection = "passes"

    async def page(
        self, span: PageRequest, measure_keys: Iterable[str], *, is_counted: bool, is_replayed: bool = False
    ) -> Page[Pass]:
        """Return passes, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        fields = _evaluated(measure_keys, is_counted=is_counted, is_replayed=is_replayed)
        return await read_newest(self._collection, self._in_workspace(created_at=CREATED), span, fields)

    async def drawn(
        self, limit: int, total: int, measure_keys: Iterable[str], *, is_counted: bool, is_replayed: bool = False
    ) -> list[Pass] | None:
        """Return about `limit` of the `total` passes, chosen at random, and the same ones each time.

        None if passes of an earlier version have no draws yet. Two round trips. Index: {workspace, draw}.
        """
        progress = await self._db["constants"].find_one({"_id": DRAWN})
        if progress is None or not progress.get("done"):
            return None
        # The embedded servers sort all passes between the bounds.
        bound = MAX_DRAW if limit * DRAW_MARGIN >= total else int(MAX_DRAW * limit * DRAW_MARGIN / total)
        fields = _evaluated(measure_keys, is_counted=is_counted, is_replayed=is_replayed)
        where = self._in_workspace(draw={"$gte": 0, "$lt": bound})
        cursor = self._collection.find(where, fields, batch_size=limit + 1).sort("draw", 1).limit(limit)
        return await asyncio.to_thread(_from_docs, await cursor.to_list(None))

    async def all(
        self, measure_keys: Iterable[str], *, is_counted: bool, is_replayed: bool = False
    ) -> AsyncIterator[list[Pass]]:
        """Yield all passes in parts of up to 1,000, in no order.

        The next part is read meanwhile. On the embedded servers, pages would cost the square of the number of passes: each
        page sorts all further ones. Index: {workspace, created_at, _id}.
        """
        fields = _evaluated(measure_keys, is_counted=is_counted, is_replayed=is_replayed)
        with translating_errors("EvaluablePassQueries.all"):
            cursor = self._collection.find(self._in_workspace(created_at=CREATED), fields, batch_size=PART_SIZE)
            async for docs in read_ahead(partial(cursor.to_list, PART_SIZE)):
                yield await asyncio.to_thread(_from_docs, docs)


def _from_docs(docs: Sequence[Doc]) -> list[Pass]:
    """Return the passes of many documents, in a thread: 1,000 of them would hold up the loop for 25 ms."""
    return [from_doc(doc) for doc in docs]


def _evaluated(measure_keys: Iterable[str], *, is_counted: bool, is_replayed: bool) -> Doc:
    """Return the projection of passes that are evaluated by these measures."""
    more = REPLAYED if is_replayed else COUNTED if is_counted else ()
    return dict.fromkeys((*EVALUATED, *(f"state.{key}" for key in measure_keys), *more), 1)
