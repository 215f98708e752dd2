"""Versions of segment definitions as documents, and back."""

from __future__ import annotations

from app.domain.segments.criteria import parse_criteria
from app.domain.segments.segments import Version
from app.store.mongo.queries import Doc

# Stored criteria name their currencies, so `parse_criteria` never applies this default.
ANY_CURRENCY = "XXX"


def version_to_doc(version: Version, workspace_id: str) -> Doc:
    """Return the document of a version; {workspace, rev} is unique."""
    return {
        "_id": f"ver_{version.segment_id.removeprefix('seg_')}_{version.version}",
        "workspace": workspace_id,
        "segment": version.segment_id,
        "rev": version.revision,
        "version": version.version,
        "criteria": version.criteria.to_dict(),
        "timezone": version.timezone,
        "archived": version.archived,
        "notify": version.notify,
        "at": version.at,
    }


def version_from_doc(doc: Doc) -> Version:
    """Return the version of a document."""
    return Version(
        segment_id=doc["segment"],
        revision=doc["rev"],
        version=doc["version"],
        criteria=parse_criteria(doc["criteria"], ANY_CURRENCY),
        timezone=doc["timezone"],
        archived=doc["archived"],
        notify=doc["notify"],
        at=doc["at"],
    )
