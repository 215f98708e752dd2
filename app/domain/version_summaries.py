"""Summaries of versions: what a change of one definition has to know about the others."""

from __future__ import annotations

from app.domain.definitions import DefinitionVersion, criteria_of, references_of
from app.domain.passes.searchable import SearchableVersion
from app.domain.rewards.rewards import RewardVersion
from app.domain.rules.rules import RuleStatus, RuleVersion
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.segments import DefinitionKind, Version, VersionSummary
from app.domain.segments.workspace_versions import WorkspaceVersion


def kind_of(version: DefinitionVersion) -> DefinitionKind:
    """Return the kind of a version's definition."""
    match version:
        case Version():
            return DefinitionKind.SEGMENT
        case RuleVersion():
            return DefinitionKind.RULE
        case RewardVersion():
            return DefinitionKind.REWARD
        case WorkspaceVersion():
            return DefinitionKind.WORKSPACE
        case SearchableVersion():
            return DefinitionKind.SEARCHABLE
    return DefinitionKind.TIERS


def is_archived(version: DefinitionVersion) -> bool:
    """Return whether nothing depends on the version any more. A paused rule is not archived: it may be resumed."""
    return version.status is RuleStatus.ARCHIVED if isinstance(version, RuleVersion) else not version.is_in_force


def summarize(version: DefinitionVersion, digest: str) -> VersionSummary:
    """Return the version without its criteria. `digest` is that of its content."""
    return VersionSummary(
        kind=kind_of(version),
        subject_id=version.subject_id,
        revision=version.revision,
        version=version.version,
        timezone=version.timezone,
        archived=is_archived(version),
        at=version.at,
        references=frozenset(references_of(version)),
        comparisons=sum(map(count_comparisons, criteria_of(version))),
        digest=digest,
    )
