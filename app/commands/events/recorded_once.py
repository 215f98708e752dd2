"""Events that a mutation records itself under an id that follows from the call, so that a repeat records nothing."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256

from app.commands.context import Context
from app.commands.events.outcomes import REMOVED, BatchOutcome, ItemResult
from app.commands.events.receipts import RecordedCall
from app.domain.errors import Conflict, Refused, Unavailable
from app.domain.events.events import Event
from app.domain.events.receipts import RecordStatus
from app.domain.values.text import encode_canonical


async def record_once(ctx: Context, events: Sequence[Event], sent: Mapping[str, object], field: str) -> RecordedCall:
    """Record the events of one call, and return the first one as it is stored.

    The first one is a DUPLICATE if it exists. A repeat inserts the events that a crashed call did not insert. `sent` is
    what the client sent, by which a repeat is recognized; `field` is the input that names the call. Safe to repeat.
    Raises Conflict if another call has the same name, Refused if the event was removed, and Unavailable.
    """
    fingerprint = hmac.digest(await ctx.secret(), encode_canonical(sent).encode(), sha256)[:16]
    event, status = events[0], RecordStatus.CREATED
    existing = await ctx.workspace.events.insert([(each, fingerprint) for each in events])
    if 0 in existing:
        event, status = await _find_stored(ctx, event.id, fingerprint, field), RecordStatus.DUPLICATE
    ctx.resources.wake_fold(ctx.workspace.id, [each.pass_id for each in (event, *events[1:])])
    return RecordedCall(BatchOutcome([ItemResult(0, status, event)], event.recorded_at))


async def _find_stored(ctx: Context, identity: str, fingerprint: bytes, field: str) -> Event:
    stored = (await ctx.workspace.events.stored([identity])).get(identity)
    if stored is None:
        # Another call inserted the id a moment ago. A retry of this call can read what it inserted.
        raise Unavailable("store")
    if stored.event is None:
        raise Refused(REMOVED)
    if stored.fingerprint != fingerprint:
        message = "Another call has this external id; send what was sent first, or another external id."
        raise Conflict(message, field)
    return stored.event
