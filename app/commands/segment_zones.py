"""Time zones of segments: their own, those of their passes, or that of the workspace."""

from __future__ import annotations

from app.domain.errors import Code, InvalidInput
from app.domain.segments.criteria import Criteria
from app.domain.segments.local_time import depends_on_zone
from app.domain.segments.segments import Segment, SegmentZone
from app.domain.values.conditions import check_steps
from app.domain.values.paths import split_path
from app.domain.values.text import parse_text
from app.domain.values.zones import parse_zone

from .context import Context


def parse_own_zone(raw: object, criteria: Criteria) -> str | None:
    """Return the time zone of a segment, checked; None for that of the workspace.

    Raises InvalidInput: INVALID for a zone on which the criteria do not depend.
    """
    if raw is None:
        return None
    zone = parse_zone(raw, "timezone").key
    _require_local_time(criteria, "time zone", "timezone")
    return zone


def parse_zone_field(raw: object, criteria: Criteria) -> str | None:
    """Return the field of a pass that names its zone, checked; None for none, and for an empty text.

    Raises InvalidInput: INVALID for criteria that do not depend on local time, and for a value that is no field.
    """
    if raw is None or raw == "":
        return None
    name = parse_text(raw, "zoneField", max_length=200)
    root, _, path = name.partition(".")
    if root != "fields" or not path:
        raise InvalidInput(Code.INVALID, 'Give a field of the pass, such as "fields.timezone".', "zoneField")
    check_steps(split_path(path), "zoneField")
    _require_local_time(criteria, "field", "zoneField")
    return name


def _require_local_time(criteria: Criteria, what: str, field: str) -> None:
    if not depends_on_zone(criteria):
        message = f"These criteria do not depend on local time: days have 24 hours in them. Leave the {what} out."
        raise InvalidInput(Code.INVALID, message, field)


async def parse_zone_of_segment(
    ctx: Context, timezone: object, zone_field: object, criteria: Criteria, before: SegmentZone | None = None
) -> SegmentZone:
    """Return the zone of a segment, checked. What is None stays as `before`, the zone of a segment that exists.

    An empty text takes away its own zone, or its field. Raises InvalidInput and Unavailable.
    """
    own = None if timezone == "" and before is not None else parse_own_zone(timezone, criteria)
    field = parse_zone_field(zone_field, criteria)
    if before is None or (timezone == "" and not before.inherits):
        inherited = SegmentZone((await ctx.profile()).timezone, inherits=True)
        before = inherited if before is None else inherited._replace(field=before.field)
    after = before if own is None else SegmentZone(own, field=before.field)
    return after if zone_field is None else after._replace(field=field)


async def zone_of(ctx: Context, segment: Segment) -> str:
    """Return the time zone of a segment as it is now: its own, or that of the workspace."""
    return (await ctx.profile()).timezone if segment.inherits_zone else segment.timezone


async def parse_segment_zone(ctx: Context, raw: object) -> str:
    """Return the time zone of a segment, checked; that of the workspace for None. Raises Refused."""
    if raw is None:
        return (await ctx.profile()).timezone
    return parse_zone(raw, "timezone").key
