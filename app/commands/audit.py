"""Audit entries of administrative commands."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.clock import SystemClock
from app.domain.audit import AuditEntry
from app.store.mongo.ids import new_id

from .context import Context


async def record_audit_entry(
    ctx: Context, action: str, kind: str, subject_id: str, *, entry_id: str | None = None, **details: str
) -> None:
    """Insert an audit entry. Call this before the command's own write, so that no change lacks its entry.

    With `entry_id`, a repeat inserts no second entry. If the process crashes in between, the entry describes a change that
    did not happen. Raises Unavailable: then the command has changed nothing, and the call is safe to repeat.
    """
    # The audit log states when people acted, so its instants are system time, not business time.
    entry = AuditEntry(
        id=new_id("audit") if entry_id is None else entry_id,
        at=await SystemClock().now(),
        action=action,
        key_id=ctx.actor.key_id,
        subject=(kind, subject_id),
        ip_address=ctx.ip_address,
        details=details,
    )
    await ctx.workspace.audit.insert(entry)


def address_of(url: str) -> str:
    """Return the scheme, host, port and path of a URL. The query is left out, because some systems put secrets there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
