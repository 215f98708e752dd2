"""Named queries over the rules of one workspace: their labels, with the versions of their definitions."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.rules.rules import Rule, RuleVersion
from app.store.codecs.rules import rule_version_from_doc
from app.store.mongo.paging import Page, PageRequest, read_page
from app.store.mongo.queries import Doc
from app.store.mongo.usage import charge_counted

from .labels import LabelQueries, labels_from_doc


class RuleQueries(LabelQueries):
    """Rules of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "rules"

    async def get(self, rule_id: str) -> Rule | None:
        """Return the rule of that id, or None. Indexes: _id, {workspace, subject, rev}."""
        return (await self.get_many([rule_id])).get(rule_id)

    async def get_many(self, rule_ids: Iterable[str]) -> dict[str, Rule]:
        """Return the rules that exist among the ids, with their latest versions.

        Three round trips. Indexes: _id, {workspace, subject, rev}.
        """
        found = await self._with_versions(await self._by_ids(rule_ids))
        return {doc["_id"]: _rule_from_docs(doc, version) for doc, version in found}

    async def page(self, span: PageRequest) -> Page[Rule]:
        """Return rules, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        found = await self._read_page(span)
        return Page([_rule_from_docs(*each) for each in await self._with_versions(found.items)], found.has_more)

    async def versions(self, rule_id: str, span: PageRequest) -> Page[RuleVersion]:
        """Return the versions of a rule, the newest first; key (revision). Index: {workspace, subject, rev}."""
        query = self._in_workspace(subject=rule_id)
        return await read_page(self._versions, query, (("rev", -1),), span, rule_version_from_doc)

    async def count_versions(self, rule_id: str) -> int:
        """Return the number of versions of a rule. Index: {workspace, subject, rev}."""
        count = await self._versions.count_documents(self._in_workspace(subject=rule_id))
        charge_counted(count)
        return count

    async def first_revision(self, rule_id: str) -> int | None:
        """Return the lowest revision of a rule that is kept; None for no such rule. Index: {workspace, subject, rev}."""
        doc = await self._versions.find_one(
            self._in_workspace(subject=rule_id), {"rev": 1}, sort=[("subject", 1), ("rev", 1)]
        )
        return None if doc is None else int(doc["rev"])


def _rule_from_docs(doc: Doc, version: Doc) -> Rule:
    labels = labels_from_doc(doc)
    return Rule(
        id=labels.id,
        key=labels.key,
        name=labels.name,
        description=labels.description,
        latest=rule_version_from_doc(version),
        created_at=labels.created_at,
        updated_at=max(labels.updated_at, version["at"]),
    )
