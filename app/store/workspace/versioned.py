"""Named queries over objects of one workspace that have labels, and versions among the workspace's definitions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import Generic, TypeVar

from app.store.mongo.paging import Page, PageRequest, read_page
from app.store.mongo.queries import Doc
from app.store.mongo.usage import charge_counted

from .labels import LabelQueries, Labels, labels_from_doc

O = TypeVar("O")  # noqa: E741
V = TypeVar("V")


class VersionedQueries(LabelQueries, Generic[O, V]):
    """Labels of one workspace, with the versions of their definitions. Errors: Unavailable, safe to repeat."""

    @staticmethod
    @abstractmethod
    def _version_of(doc: Doc) -> V:
        """Return the version of a document."""

    @staticmethod
    @abstractmethod
    def _build(labels: Labels, latest: V, updated_at: datetime) -> O:
        """Return the object. `updated_at` is the instant of the last change of labels or definition."""

    async def get(self, object_id: str) -> O | None:
        """Return the object of that id, or None. Indexes: _id, {workspace, subject, rev}."""
        return (await self.get_many([object_id])).get(object_id)

    async def get_many(self, object_ids: Iterable[str]) -> dict[str, O]:
        """Return the objects that exist among the ids, with their latest versions.

        Three round trips. Indexes: _id, {workspace, subject, rev}.
        """
        found = await self._with_versions(await self._by_ids(object_ids))
        return {doc["_id"]: self._build_from_docs(doc, version) for doc, version in found}

    async def page(self, span: PageRequest) -> Page[O]:
        """Return objects, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        found = await self._read_page(span)
        built = [self._build_from_docs(*each) for each in await self._with_versions(found.items)]
        return Page(built, found.has_more)

    async def versions(self, object_id: str, span: PageRequest) -> Page[V]:
        """Return the versions of an object, the newest first; key (revision). Index: {workspace, subject, rev}."""
        query = self._in_workspace(subject=object_id)
        return await read_page(self._versions, query, (("rev", -1),), span, self._version_of)

    async def count_versions(self, object_id: str) -> int:
        """Return the number of versions of an object. Index: {workspace, subject, rev}."""
        count = await self._versions.count_documents(self._in_workspace(subject=object_id))
        charge_counted(count)
        return count

    def _build_from_docs(self, doc: Doc, version: Doc) -> O:
        labels = labels_from_doc(doc)
        return self._build(labels, self._version_of(version), max(labels.updated_at, version["at"]))
