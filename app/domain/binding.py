"""Definitions in force: their criteria with the zone and the start of weeks that apply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from app.domain.passes.passes import Profile
from app.domain.rewards.rewards import RewardVersion
from app.domain.rules.rules import RuleVersion
from app.domain.segments.criteria import Criteria
from app.domain.segments.local_time import bind
from app.domain.segments.segments import Version
from app.domain.segments.workspace_versions import WorkspaceVersion, calendar_of
from app.domain.tiers.programs import TierProgramVersion
from app.domain.values.paths import split_path
from app.domain.values.zones import zone_names

Bindable = Version | RuleVersion | TierProgramVersion | RewardVersion
"""Versions that have criteria."""


PassZones = tuple[tuple[str, str], ...]
"""The zones of a pass, by the field that names each."""


def find_zones(profile: Profile, zone_fields: Iterable[str]) -> PassZones:
    """Return the zones that fields of a pass name. A text that is no IANA zone is left out."""
    found = []
    for name in sorted(zone_fields):
        root, _, path = name.partition(".")
        texts = [each for each in profile.values_at(root, split_path(path)).values if isinstance(each, str)]
        if texts and texts[0] in zone_names():
            found.append((name, texts[0]))
    return tuple(found)


def bind_version(version: Bindable, settings: WorkspaceVersion | None, zones: PassZones = ()) -> Bindable:
    """Return a version whose criteria have the calendar that the pass, the version and the workspace's settings say.

    `settings` are those in force; None if the workspace has no version of them. `zones` are those of the pass.
    """
    own_zone: str | None = version.timezone
    if isinstance(version, Version):
        own_zone = dict(zones).get(version.zone_field or "", None if version.inherits_zone else version.timezone)
    calendar = calendar_of(own_zone, settings, version.timezone)

    def bound(criteria: Criteria | None) -> Criteria | None:
        return None if criteria is None else bind(criteria, calendar)

    match version:
        case Version():
            return replace(version, criteria=bind(version.criteria, calendar), timezone=calendar.zone)
        case RuleVersion():
            return replace(version, conditions=bound(version.conditions))
        case RewardVersion():
            return replace(version, terms=replace(version.terms, criteria=bound(version.terms.criteria)))
    tiers = (replace(each, reach=bind(each.reach, calendar), keep=bound(each.keep)) for each in version.tiers)
    return replace(version, tiers=tuple(tiers))
