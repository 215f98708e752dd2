"""Heads and contents of rollups, written as sealing leaves them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from app.domain.events.events import Event
from app.domain.rollups.building import build_content
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Period
from app.domain.rollups.rows import CountedRow, row_of
from app.domain.values.instants import from_ms
from app.store.codecs.rollups import content_to_docs, head_id, parts_of
from app.store.workspace.rollup_heads import IS_DIRTY
from tests.business import Business

TOKEN = 77


async def seal_events(
    business: Business, events: Iterable[Event], dirty: Collection[Period] = (), token: int = TOKEN
) -> None:
    """Seal all hours, days and months of the events. Periods in `dirty` have a mark, and those around them have no head."""
    rows: dict[Period, list[CountedRow]] = {}
    for event in events:
        for level in Level:
            rows.setdefault(Period(level, level.start_ms(event.occurred_ms)), []).append(row_of(event))
    workspace_id = business.ctx.workspace.id
    unsound = {each.around(level) for each in dirty for level in (Level.DAY, Level.MONTH) if level is not each.level}
    heads, contents = [], []
    for period in {**rows, **dict.fromkeys(dirty)}:
        if period in unsound - set(dirty):
            continue
        content = build_content(rows.get(period, ()), period.level)
        heads.append(
            {
                "_id": head_id(workspace_id, *period),
                "workspace": workspace_id,
                "level": period.level.value,
                "start": from_ms(period.start_ms),
                "sealed": TOKEN,
                "types": [list(part) for part in parts_of(content)],
                **({"dirty": 5, IS_DIRTY: 1} if period in dirty else {}),
            }
        )
        contents += content_to_docs(content, workspace_id, *period, token=TOKEN)
    db = business.ctx.resources.db
    await db["rollup_heads"].delete_many({"workspace": workspace_id})
    await db["rollup_heads"].insert_many(heads)
    if contents:
        await db["rollups"].delete_many({"workspace": workspace_id})
        await db["rollups"].insert_many(contents)
    await db["workspaces"].update_one({"_id": workspace_id}, {"$set": {"marked": True}})
