"""The field of a pass that says in which months and years the stored numbers of active passes may be out of date.

`recount` has the periods and a random mark, so that a worker takes away only what it has read.
"""

from __future__ import annotations

from collections.abc import Collection

from app.domain.rollups.active_periods import ALL_PERIODS, periods_of_ended
from app.store.mongo.queries import Doc

ENDED_FIELDS: Doc = {"fid": 1, "active": 1, "dirty_months": 1, "recount": 1}
"""The fields that `recount_of_ended` needs."""


def recount_part(periods: Collection[int], mark: int) -> Doc:
    """Return the field for these periods; nothing if there are none."""
    return {"recount": {"mark": mark, "periods": sorted(periods)}} if periods else {}


def periods_to_recount(doc: Doc) -> frozenset[int]:
    """Return the periods that the field of a pass has."""
    return frozenset(doc.get("recount", {}).get("periods", ()))


def recount_of_ended(doc: Doc | None, write_id: str, mark: int) -> Doc:
    """Return the field for a pass that ends with a write to the version with this write id.

    `doc` has ENDED_FIELDS of the pass, of any moment. Those of that version have all periods in which the pass may count
    when the write comes, because a seal of the version adds no other ones.
    """
    if doc is None or doc.get("fid") != write_id:
        return recount_part({ALL_PERIODS}, mark)
    periods = periods_of_ended(doc.get("active", ()), doc.get("dirty_months", ()))
    return recount_part(periods | periods_to_recount(doc), mark)
