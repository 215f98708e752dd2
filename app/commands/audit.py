"""What is written down of administrative commands."""

from __future__ import annotations

from app.clock import SystemClock
from app.domain.audit import AuditEntry
from app.store.mongo.ids import new_id

from .context import Context


async def record_audit_entry(ctx: Context, action: str, kind: str, subject_id: str, **details: str) -> None:
    """Writes the act down before it is done: nothing happens untold, and what was told may have died before it happened.

    Raises Unavailable: then nothing was done, and it is safe to repeat.
    """
    # Like keys, the log is about machines and people at them: its instants are the system's.
    entry = AuditEntry(
        new_id("audit"),
        await SystemClock().now(),
        action,
        ctx.actor.key_id,
        (kind, subject_id),
        ctx.ip_address,
        details,
    )
    await ctx.workspace.audit.insert(entry)
