"""updateWorkspace for local time: the zone and the start of weeks of a workspace."""

from __future__ import annotations

from dataclasses import replace

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.definitions import store_settings
from app.domain.errors import Code, InvalidInput
from app.domain.values.periods import Weekday
from app.domain.values.zones import parse_zone

WEEKDAYS = tuple(Weekday)


async def set_local_time(ctx: Context, timezone: object = None, week_start: object = None) -> None:
    """Set the zone and the start of weeks of the workspace. What is None stays as it is. Safe to repeat.

    If definitions depend on local time, they get a version of the settings, and the backfill evaluates all passes. The
    changes that it causes are silent. Raises InvalidInput and Unavailable.
    """
    before = await ctx.workspace.profile()
    after = replace(
        before,
        timezone=before.timezone if timezone is None else parse_zone(timezone, "timezone").key,
        week_start=before.week_start if week_start is None else _parse_weekday(week_start),
    )
    if after != before:
        changes = {"timezone": after.timezone, "weekStart": WEEKDAYS[after.week_start].value}
        await record_audit_entry(ctx, "updateWorkspace", "Workspace", ctx.workspace.id, **changes)
        await ctx.workspace.set_local_time(after.timezone, after.week_start)
        ctx.forget_profile()
    if (timezone, week_start) != (None, None):
        # Without a version of the settings, weeks begin on Monday.
        await store_settings(ctx, is_first=week_start is not None)


def _parse_weekday(raw: object) -> int:
    if raw not in WEEKDAYS:
        raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(WEEKDAYS)}.", "weekStart")
    return WEEKDAYS.index(Weekday(str(raw)))
