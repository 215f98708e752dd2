"""Explanation of one membership: whether a pass is in a segment, since when, until when and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.definitions import Definitions
from app.domain.fold.copies import CopyWalk
from app.domain.passes.passes import Pass
from app.domain.rules.texts import Texts
from app.domain.segments.criteria import Criteria
from app.domain.segments.segments import SILENT, Version
from app.domain.values.instants import from_ms

from .outlook import Outlook, explain_with_outlook, look_ahead
from .trees import Part

DRAFT_ID = "draft"
"""The id of the segment that criteria make which no segment has."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a pass is in a segment, or not, at an instant.

    - `version`: number of the version of the segment; None for criteria that no segment has.
    - `since_ms`, `cause`: of a member of a segment, else None.
    - `listed`: the list of the segment that the pass is on. It wins over the criteria.
    """

    card: Pass
    at_ms: int
    is_member: bool
    tree: Part
    outlook: Outlook
    timezone: str
    version: int | None = None
    since_ms: int | None = None
    cause: Mapping[str, object] | None = None
    listed: str | None = None


def with_draft(
    definitions: Definitions, criteria: Criteria, timezone: str, zone_field: str | None, *, at_ms: int
) -> Definitions:
    """Return the definitions with a segment of these criteria, DRAFT_ID, that comes into force at an instant."""
    draft = Version(
        segment_id=DRAFT_ID,
        revision=definitions.revision + 1,
        version=1,
        criteria=criteria,
        timezone=timezone,
        zone_field=zone_field,
        archived=False,
        notify=SILENT,
        at=from_ms(at_ms),
    )
    return definitions.extended([draft])


def explain_membership(
    card: Pass, definitions: Definitions, segment_id: str, at_ms: int, *, texts: Texts
) -> CopyWalk[Explanation | None]:
    """Return the explanation for a pass that was walked to `at_ms`; None if the segment is not in force."""
    version = definitions.active_for(card.revision, card.profile).by_segment.get(segment_id)
    if version is None:
        return None
    outlook = yield from look_ahead(card, definitions, segment_id, version.criteria, at_ms, texts=texts)
    tree = explain_with_outlook(version.criteria, card, at_ms, outlook)
    membership, is_draft = card.memberships.get(segment_id), segment_id == DRAFT_ID
    return Explanation(
        card=card,
        at_ms=at_ms,
        is_member=membership is not None,
        tree=tree,
        outlook=outlook,
        timezone=version.timezone,
        version=None if is_draft else version.version,
        since_ms=None if membership is None or is_draft else membership.since_ms,
        cause=None if membership is None or is_draft else membership.cause,
        listed=card.profile.lists.get(segment_id),
    )
