"""Since when a member has met the criteria of a segment, by the instants of its events."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from app.domain.segments.segments import Version
from app.domain.simulation import MAX_SIMULATED_EVENTS, definitions_of, held_since_ms
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.usage import charge

from .context import Context
from .copies import read_definitions


async def held_since(ctx: Context, pass_id: str, segment_id: str) -> datetime | None:
    """Return since when a pass meets the criteria of a segment, as if the segment had always existed.

    Each event counts when it occurred. None if the pass or the segment is gone, if the pass would be no member, or if it has
    more than 20,000 events. Reads all events of the pass. Raises Unavailable; safe to repeat.
    """
    card = await ctx.workspace.passes.complete(pass_id)
    if card is None or card.event_count > MAX_SIMULATED_EVENTS:
        return None
    latest = (await read_definitions(ctx, [card])).latest()
    version = latest.get(segment_id)
    if not isinstance(version, Version) or version.archived:
        return None
    await charge(card.event_count)
    counted = (await ctx.workspace.counted_events.histories([card]))[card.id]
    at_ms = to_ms(await ctx.now())
    replay = partial(held_since_ms, card, counted, definitions_of(latest, version), segment_id, at_ms)
    found_ms = await asyncio.to_thread(replay)
    return None if found_ms is None else from_ms(found_ms)
