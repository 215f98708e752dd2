"""Named queries over the rules of one workspace: their labels, with the versions of their definitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.rules.rules import Rule, RuleVersion
from app.store.codecs.rules import rule_version_from_doc
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, in_chunks
from app.store.mongo.usage import charge_counted

from .labels import LabelQueries, labels_from_doc


class RuleQueries(LabelQueries):
    """Rules of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "rules"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._versions = db["definitions"]

    async def get(self, rule_id: str) -> Rule | None:
        """Return the rule of that id, or None. Indexes: _id, {workspace, subject, rev}."""
        return (await self.get_many([rule_id])).get(rule_id)

    async def get_many(self, rule_ids: Iterable[str]) -> dict[str, Rule]:
        """Return the rules that exist among the ids, with their latest versions.

        Three round trips. Indexes: _id, {workspace, subject, rev}.
        """
        return {rule.id: rule for rule in await self._with_versions(await self._by_ids(rule_ids))}

    async def page(self, span: PageRequest) -> Page[Rule]:
        """Return rules, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        found = await read_page(
            self._collection, self._in_workspace(defined=True), order, to_stored_keys(span), lambda doc: doc
        )
        return Page(await self._with_versions(found.items), found.has_more)

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

    async def _with_versions(self, docs: Sequence[Doc]) -> list[Rule]:
        if not docs:
            return []
        ids = [doc["_id"] for doc in docs]
        newest: dict[str, str] = {}
        query = self._in_workspace(subject={"$in": ids})
        # Only the last versions are read in full: a rule may take 64 KB, and have many versions.
        cursor = self._versions.find(query, {"subject": 1, "rev": 1}).sort([("subject", 1), ("rev", 1)])
        async for version in cursor:
            newest[version["subject"]] = version["_id"]

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            return await self._versions.find({"_id": {"$in": list(chunk)}}).to_list(None)

        whole = await in_chunks(find_chunk, list(newest.values()), self._in_chunk)
        latest = {doc["subject"]: doc for doc in whole}
        return [_rule_from_docs(doc, latest[doc["_id"]]) for doc in docs if doc["_id"] in latest]


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
