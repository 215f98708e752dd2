"""Versions of segment definitions as documents, and back."""

from __future__ import annotations

from app.domain.segments.criteria import parse_criteria
from app.domain.segments.segments import Version
from app.store.mongo.queries import Doc

# Stored criteria name every currency, so that the workspace's own is never asked for again.
ANY_CURRENCY = "XXX"


def version_doc(version: Version, workspace_id: str) -> Doc:
    """The document of a version; {workspace, rev} is unique."""
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


def version_from(doc: Doc) -> Version:
    """The version of a document."""
    return Version(
        doc["segment"],
        doc["rev"],
        doc["version"],
        parse_criteria(doc["criteria"], ANY_CURRENCY),
        doc["timezone"],
        doc["archived"],
        doc["notify"],
        doc["at"],
    )
