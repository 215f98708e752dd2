"""`punchcard workspace create`: a workspace with a first key."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from app.domain.actors import ADMIN, READ, SUBSCRIBE, WRITE, secret_hash
from app.domain.errors import Code, InvalidInput
from app.domain.values.currencies import parse_currency
from app.domain.values.text import parse_text
from app.domain.workspaces import WorkspaceProfile
from app.resources import Resources
from app.store.mongo.ids import new_id
from app.store.workspace.workspaces import insert_workspace

from .keys import new_key


async def create_workspace(
    resources: Resources, name: str, *, currency: str = "USD", timezone: str = "UTC"
) -> tuple[WorkspaceProfile, str]:
    """The new workspace and the secret of its first key, which has every scope and is never shown again.

    Repeating makes another workspace. Raises Refused, Unavailable.
    """
    try:
        zone = ZoneInfo(timezone).key
    except (ValueError, OSError, KeyError):
        raise InvalidInput(
            Code.UNKNOWN, 'No such time zone; use an IANA name, for example "Europe/Berlin".', "timezone"
        ) from None
    profile = WorkspaceProfile(
        new_id("ws"),
        parse_text(name, "name"),
        parse_currency(currency, "currency"),
        zone,
        0,
        await resources.clock.now(),
    )
    key, secret = await new_key(profile.id, "First key", (READ, WRITE, SUBSCRIBE, ADMIN))
    await insert_workspace(resources.db, profile)
    await resources.workspace(profile.id).keys.insert(key, secret_hash(secret))
    return profile, secret
