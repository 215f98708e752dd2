"""Lists of passes by name, read in ranges of names.

The embedded servers read the whole range of a query before they apply its limit. So each query covers a range with few
passes. Names are not spread evenly: the ranges end at names of passes that are drawn at random.
(Source: docs/decisions/0159-ranges-of-names-end-at-drawn-names.md.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from app.domain.ids import MAX_DRAW
from app.store.mongo.paging import PageRequest, build_keyset_filter, count_results, later_value
from app.store.mongo.queries import Collection, Doc
from app.store.mongo.usage import charge

from .pass_filters import NAME

SAMPLE_SIZE = 500
"""Passes whose names are drawn, about."""
FIRST_DRAWS = MAX_DRAW // 1_000
"""Bound of the draws that are read first: by their number, the next read finds about as many passes as wanted."""
GROWTH = 4
"""How many times as many passes the next range has, if the last one did not complete the page."""


async def read_by_name(
    collection: Collection, where: Doc, span: PageRequest, projection: Doc, *, ascending: bool, most: int
) -> list[Doc] | None:
    """Return the first passes of a page and one more, in the direction of reading.

    None if more than `most` passes would be examined. `where` has the workspace, and a condition that every name meets.
    Indexes: {workspace, draw}, {workspace, name_key, _id}.
    """
    forward = ascending != span.backward
    begin = span.before if span.backward else span.after
    names, share = await _draw_names(collection, where["workspace"])
    ends = _ends(names, None if begin is None else begin[0], forward=forward)
    direction, wanted = (1 if forward else -1), span.limit + 1
    others = [{name: condition} for name, condition in where.items() if name not in ("workspace", NAME)]
    is_filtered = bool(others)
    order = [(NAME, 1 if ascending else -1), ("_id", 1 if ascending else -1)]
    for key, after in ((span.after, True), (span.before, False)):
        if key is not None:
            others.append(build_keyset_filter(order, key, forward=after))
    found: list[Doc] = []
    examined, size = 0, max(1, round(2 * wanted * share))
    # Passes with the name at which the page begins may follow it by their ids.
    edge = None if begin is None else begin[0] if forward else later_value(begin[0])
    while True:
        end = ends[size - 1] if size <= len(ends) else None
        indexed = {"workspace": where["workspace"], NAME: _range(edge, end, where[NAME], forward=forward)}
        count = await _count(collection, indexed, most - examined + 1)
        if count > most - examined:
            size = min(size, len(ends) + 1) // 2
            if not size:
                return None
            continue
        if is_filtered:
            await charge(count)
        examined += count
        stages: list[Doc] = [{"$match": indexed}, *([{"$match": {"$and": others}}] if others else [])]
        stages += [{"$sort": {NAME: direction, "_id": direction}}, {"$limit": wanted - len(found)}]
        if count:
            found += await collection.aggregate([*stages, {"$project": projection}]).to_list(None)
        if end is None or len(found) >= wanted:
            return found
        ends, edge, size = ends[size:], end, size * GROWTH


async def _draw_names(collection: Collection, workspace_id: str) -> tuple[list[str], float]:
    """Return names of passes that are drawn, in order, and the share of all passes that they are, about."""
    bound = FIRST_DRAWS
    docs = await _find_drawn(collection, workspace_id, bound)
    if len(docs) < SAMPLE_SIZE:
        bound = min(MAX_DRAW, bound * SAMPLE_SIZE // max(1, len(docs)))
        docs = await _find_drawn(collection, workspace_id, bound)
    return sorted(doc[NAME] for doc in docs if NAME in doc), bound / MAX_DRAW


async def _find_drawn(collection: Collection, workspace_id: str, bound: int) -> list[Doc]:
    where: Doc = {"workspace": workspace_id, "draw": {"$gte": 0, "$lt": bound}}
    limit = 4 * SAMPLE_SIZE
    docs: list[Doc] = await collection.find(where, {NAME: 1}, batch_size=limit + 1).limit(limit).to_list(None)
    return docs


def _ends(names: Sequence[str], begin: str | None, *, forward: bool) -> list[str]:
    """Return the names at which ranges may end, in the direction of reading, each once."""
    each = list(dict.fromkeys(names))
    if forward:
        return each if begin is None else each[bisect_right(each, begin) :]
    return each[::-1] if begin is None else each[: bisect_left(each, begin)][::-1]


def _range(edge: str | None, end: str | None, every: Doc, *, forward: bool) -> Doc:
    """Return the condition for the names from the edge to the end.

    Forward, the range has the edge and not the end. Backward, it has the end and not the edge.
    """
    low, high = (edge, end) if forward else (end, edge)
    found = dict(every) if low is None else {"$gte": low}
    return found if high is None else {**found, "$lt": high}


async def _count(collection: Collection, indexed: Doc, most: int) -> int:
    # In the order of the index, the embedded servers count faster than without one.
    return await count_results(collection, [{"$match": indexed}, {"$sort": {NAME: 1, "_id": 1}}, {"$limit": most}])
