"""Versions of definitions as documents, and back.

All kinds have the same fields of their summary, so that a change of one definition can be checked against the others. A
document without a `kind` is a version of a segment. Documents of other kinds name it, and their `subject`.
"""

from __future__ import annotations

from hashlib import blake2b

from app.domain.definitions import DefinitionVersion
from app.domain.passes.searchable import SearchableVersion
from app.domain.rewards.rewards import RewardVersion
from app.domain.rewards.writing import digest_of_reward
from app.domain.rules.rules import RuleVersion
from app.domain.rules.writing import digest_of_rule
from app.domain.segments.limits import digest_of
from app.domain.segments.segments import DefinitionKind, SegmentVersion, Version, VersionOrigin, VersionSummary
from app.domain.segments.workspace_versions import WorkspaceVersion
from app.domain.tiers.programs import TierProgramVersion
from app.domain.version_summaries import kind_of, summarize
from app.store.mongo.queries import Doc

from .criteria import criteria_from_doc, criteria_to_doc
from .rewards import reward_version_from_doc, reward_version_to_doc
from .rules import rule_version_from_doc, rule_version_to_doc
from .tiers import program_from_doc, program_to_doc

SUMMARY_FORM = 2
"""Form of the summary that this code stores. Version 0.1.0 stored none; the first form left out references to the tier."""


def definition_to_doc(version: DefinitionVersion, workspace_id: str) -> Doc:
    """Return the document of a version; {workspace, rev} is unique."""
    match version:
        case Version():
            content, digest = _segment_to_doc(version), digest_of(version.criteria, *version.zone.marks)
        case TierProgramVersion():
            content = program_to_doc(version)
            digest = _digest(content)
            content |= {"_id": _id_in_workspace(version, workspace_id)}
        case RuleVersion():
            content, digest = rule_version_to_doc(version), digest_of_rule(version)
            content |= {"_id": f"ver_{version.rule_id}_{version.version}"}
            content |= {"announces": True} if version.announces else {}
        case WorkspaceVersion():
            content = {"week_start": version.week_start, "tzdata": version.tzdata}
            digest = version.digest
            owner = workspace_id.removeprefix("ws_")
            content |= {"_id": f"ver_{owner}_{version.subject_id}_{version.version}"}
        case RewardVersion():
            content, digest = reward_version_to_doc(version), digest_of_reward(version)
            content |= {"_id": f"ver_{version.reward_id}_{version.version}"}
        case SearchableVersion():
            content = {"paths": list(version.paths)}
            digest = _digest(content)
            content |= {"_id": _id_in_workspace(version, workspace_id)}
    kind, summary = kind_of(version), summarize(version, digest)
    if kind is not DefinitionKind.SEGMENT:
        content |= {"kind": kind.value, "subject": version.subject_id}
    return {
        **content,
        "workspace": workspace_id,
        "rev": version.revision,
        "version": version.version,
        "timezone": version.timezone,
        "archived": summary.archived,
        "at": version.at,
        "refs": sorted(summary.references),
        "comparisons": summary.comparisons,
        "digest": digest,
        "summary": SUMMARY_FORM,
    }


def definition_from_doc(doc: Doc) -> DefinitionVersion:
    """Return the version of a document, of any kind."""
    match doc.get("kind"):
        case None:
            return segment_version_from_doc(doc)
        case DefinitionKind.TIERS:
            return program_from_doc(doc)
        case DefinitionKind.RULE:
            return rule_version_from_doc(doc)
        case DefinitionKind.REWARD:
            return reward_version_from_doc(doc)
        case DefinitionKind.SEARCHABLE:
            return SearchableVersion(doc["rev"], doc["version"], doc["at"], paths=tuple(doc["paths"]))
        case DefinitionKind.WORKSPACE:
            return WorkspaceVersion(
                revision=doc["rev"],
                version=doc["version"],
                at=doc["at"],
                timezone=doc["timezone"],
                week_start=doc["week_start"],
                tzdata=doc["tzdata"],
            )
    raise ValueError(f"Definition {doc['_id']} is of the kind {doc['kind']!r}, which this version does not know.")


def has_summary(doc: Doc) -> bool:
    """Return whether the document has a summary that this code reads. Else the summary is made from the whole version."""
    return doc.get("summary") == SUMMARY_FORM


def summary_from_doc(doc: Doc) -> VersionSummary:
    """Return the summary of a document that has one."""
    return VersionSummary(
        kind=DefinitionKind(doc.get("kind", DefinitionKind.SEGMENT)),
        subject_id=doc["segment"] if "segment" in doc else doc["subject"],
        revision=doc["rev"],
        version=doc["version"],
        timezone=doc["timezone"],
        archived=doc["archived"],
        at=doc["at"],
        references=frozenset(doc["refs"]),
        comparisons=doc["comparisons"],
        digest=doc["digest"],
        edit_id=doc.get("origin", {}).get("edit"),
    )


def summary_of_whole(doc: Doc) -> VersionSummary:
    """Return the summary of a segment's version whose document has none."""
    version = segment_version_from_doc(doc)
    return summarize(version, digest_of(version.criteria))


def segment_version_id(segment_id: str, version: int) -> str:
    """Return the id of the document of a segment's version."""
    return f"ver_{segment_id.removeprefix('seg_')}_{version}"


def segment_version_from_doc(doc: Doc) -> Version:
    """Return the version of a segment from its document."""
    return Version(
        segment_id=doc["segment"],
        revision=doc["rev"],
        version=doc["version"],
        criteria=criteria_from_doc(doc),
        timezone=doc["timezone"],
        archived=doc["archived"],
        notify=doc["notify"],
        at=doc["at"],
        fires_rules=doc.get("fires_rules", False),
        origin=_origin_from_doc(doc["origin"]) if "origin" in doc else None,
        inherits_zone=doc.get("inherits_zone", False),
        zone_field=doc.get("zone_field"),
    )


def readable_version_from_doc(doc: Doc) -> SegmentVersion:
    """Return the version of a segment as readers see it, from its document."""
    return SegmentVersion(segment_version_from_doc(doc), doc.get("members_after"))


def _origin_to_doc(origin: VersionOrigin) -> Doc:
    edit = {} if origin.edit_id is None else {"edit": origin.edit_id}
    return {"by": origin.created_by, "members": origin.members_before, **edit}


def _origin_from_doc(doc: Doc) -> VersionOrigin:
    return VersionOrigin(doc["by"], doc["members"], doc.get("edit"))


def _segment_to_doc(version: Version) -> Doc:
    return {
        "_id": segment_version_id(version.segment_id, version.version),
        "segment": version.segment_id,
        **criteria_to_doc(version.criteria),
        "notify": version.notify,
        **({"fires_rules": True} if version.fires_rules else {}),
        **({} if version.origin is None else {"origin": _origin_to_doc(version.origin)}),
        **({"inherits_zone": True} if version.inherits_zone else {}),
        **({} if version.zone_field is None else {"zone_field": version.zone_field}),
    }


def _id_in_workspace(version: TierProgramVersion | SearchableVersion, workspace_id: str) -> str:
    """Return the id of a version of a definition that each workspace has once."""
    return f"ver_{workspace_id.removeprefix('ws_')}_{version.subject_id}_{version.version}"


def _digest(content: Doc) -> str:
    return blake2b(repr(content).encode(), digest_size=16).hexdigest()
