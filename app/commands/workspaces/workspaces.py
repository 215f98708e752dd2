"""`punchcard workspace create`: create a workspace with a first key."""

from __future__ import annotations

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.actors import ADMIN, READ, SUBSCRIBE, WRITE, operator, secret_hash
from app.domain.values.currencies import parse_currency
from app.domain.values.text import parse_text
from app.domain.values.zones import parse_zone
from app.domain.workspaces import WorkspaceProfile
from app.resources import Resources
from app.store.mongo.ids import new_id
from app.store.workspace.workspaces import insert_workspace

from .keys import new_key


async def create_workspace(
    resources: Resources,
    name: str,
    *,
    currency: str = "USD",
    timezone: str = "UTC",
    allow_negative_balance: bool = False,
    command: str | None = None,
) -> tuple[WorkspaceProfile, str]:
    """Create a workspace and return it with the secret of its first key, which is never shown again.

    The key has every scope. `allow_negative_balance` is the first rule for deductions of points. With `command`, the name of
    an operator's command, it writes an audit entry. A repeated call creates another one. Raises Refused and Unavailable.
    """
    profile = WorkspaceProfile(
        id=new_id("ws"),
        name=parse_text(name, "name"),
        currency=parse_currency(currency, "currency"),
        timezone=parse_zone(timezone, "timezone").key,
        week_start=0,
        created_at=await resources.clock.now(),
        allow_negative_balance=allow_negative_balance,
    )
    if command is not None:
        ctx = Context(resources.workspace(profile.id), operator(profile.id, command), resources)
        await record_audit_entry(ctx, "createWorkspace", "Workspace", profile.id, name=profile.name)
    key, secret = await new_key(profile.id, "First key", (READ, WRITE, SUBSCRIBE, ADMIN))
    await insert_workspace(resources.db, profile)
    await resources.workspace(profile.id).keys.insert(key, secret_hash(secret))
    return profile, secret
