"""Sets of passes that a condition of a filter selects and an index holds, such as a word of a search or a segment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.passes.pass_queries import PassQuery
from app.store.mongo.paging import count_results
from app.store.mongo.queries import Doc, WorkspaceQueries

from .pass_filters import NO_PART, SEGMENT, TOKENS, conditions_of, indexed_parts


@dataclass(frozen=True, slots=True)
class IndexedSet:
    """Passes that indexed conditions select, each pass by the first of the parts that it meets, and how many they are.

    The number counts at most one more than a page may examine.
    """

    parts: tuple[Doc, ...]
    size: int


class IndexedSetQueries(WorkspaceQueries):
    """Sets of passes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    def _set_stages(self, query: PassQuery, small: IndexedSet, number: int, keyed: Sequence[Doc] = ()) -> list[Doc]:
        """Return the stages that find the matching passes of one part of a set, without those of the parts before."""
        part, earlier = small.parts[number], small.parts[:number]
        others = [{name: value} for name, value in conditions_of(query, part).items() if name not in part]
        others += [*({"$nor": [each]} for each in earlier), *keyed]
        return [{"$match": self._in_workspace(**part)}, *([{"$match": {"$and": others}}] if others else [])]

    async def _smallest_set(self, query: PassQuery, where: Doc, max_examined: int, *, enough: int) -> IndexedSet | None:
        """Return conditions of the filter that an index holds and that select few passes, or None.

        The most promising conditions are counted first, and no further ones as soon as a set has `enough` passes at
        most. The embedded servers count all passes of a frequent word, although the count has a limit.
        """
        best: IndexedSet | None = None
        for parts in indexed_parts(query, where):
            size = sum(await asyncio.gather(*(self._count_set(max_examined + 1, part) for part in parts)))
            if best is None or size < best.size:
                best = IndexedSet(parts, size)
            if best.size <= enough:
                break
        return best

    async def _count_set(self, most: int, part: Doc) -> int:
        stages = [{"$match": self._in_workspace(**part)}, *index_order(part), {"$limit": most}]
        return await count_results(self._collection, stages)

    def _where(self, query: PassQuery, part: Mapping[str, object] = NO_PART) -> Doc:
        """Return the filter of the passes that match. Among passes that meet the part, the rest of it is enough."""
        return self._in_workspace(**conditions_of(query, part))


def index_order(part: Doc) -> list[Doc]:
    """Return the stage that sorts passes as the index of a part has them. MongoDB need not sort them then.

    Without an order, the embedded server looks for the one in which MongoDB would return the documents: that takes three
    times as long as counting them.
    """
    if TOKENS in part:
        return [{"$sort": {"created_at": 1, "_id": 1}}]
    return [{"$sort": {"_id": 1}}] if isinstance(part.get(SEGMENT), str) else []
