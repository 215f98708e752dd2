"""Versions of segment definitions as documents, and back."""

from __future__ import annotations

from app.domain.segments.criteria import Criteria, meaning_of, parse_criteria
from app.domain.segments.limits import summarize
from app.domain.segments.segments import Version, VersionSummary
from app.store.mongo.queries import Doc

# Stored criteria name their currencies, so `parse_criteria` never applies this default.
ANY_CURRENCY = "XXX"


def version_to_doc(version: Version, workspace_id: str) -> Doc:
    """Return the document of a version; {workspace, rev} is unique."""
    summary = summarize(version)
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
        "meaning": meaning_of(version.criteria),
        "refs": sorted(summary.references),
        "comparisons": summary.comparisons,
        "digest": summary.digest,
    }


def summary_from_doc(doc: Doc) -> VersionSummary:
    """Return the summary of a document that has one. Version 0.1.0 stored none."""
    return VersionSummary(
        segment_id=doc["segment"],
        revision=doc["rev"],
        version=doc["version"],
        timezone=doc["timezone"],
        archived=doc["archived"],
        at=doc["at"],
        references=frozenset(doc["refs"]),
        comparisons=doc["comparisons"],
        digest=doc["digest"],
    )


def criteria_from_doc(doc: Doc) -> Criteria:
    """Return the criteria of the document of a version. Version 0.1.0 stored no meaning."""
    return parse_criteria(doc["criteria"], ANY_CURRENCY, stored_meaning=doc.get("meaning", 1))


def version_from_doc(doc: Doc) -> Version:
    """Return the version of a document."""
    return Version(
        segment_id=doc["segment"],
        revision=doc["rev"],
        version=doc["version"],
        criteria=criteria_from_doc(doc),
        timezone=doc["timezone"],
        archived=doc["archived"],
        notify=doc["notify"],
        at=doc["at"],
    )
