"""Named queries over the rules of one workspace: their labels, with the versions of their definitions."""

from __future__ import annotations

from datetime import datetime

from app.domain.rules.rules import Rule, RuleVersion
from app.store.codecs.rules import rule_version_from_doc
from app.store.mongo.queries import Doc

from .labels import Labels
from .versioned import VersionedQueries


class RuleQueries(VersionedQueries[Rule, RuleVersion]):
    """Rules of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "rules"

    async def first_revision(self, rule_id: str) -> int | None:
        """Return the lowest revision of a rule that is kept; None for no such rule. Index: {workspace, subject, rev}."""
        doc = await self._versions.find_one(
            self._in_workspace(subject=rule_id), {"rev": 1}, sort=[("subject", 1), ("rev", 1)]
        )
        return None if doc is None else int(doc["rev"])

    @staticmethod
    def _version_of(doc: Doc) -> RuleVersion:
        return rule_version_from_doc(doc)

    @staticmethod
    def _build(labels: Labels, latest: RuleVersion, updated_at: datetime) -> Rule:
        return Rule(
            id=labels.id,
            key=labels.key,
            name=labels.name,
            description=labels.description,
            latest=latest,
            created_at=labels.created_at,
            updated_at=updated_at,
        )
