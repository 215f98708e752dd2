"""Named queries over the names of passes in one workspace: which pass an external id belongs to.

The id of a name follows from the workspace and the external id, so that each external id belongs to one pass. The name is
stored before its pass. A name without a pass belongs to a creation that crashed, or is under way. The next creation of this
external id creates the pass under the id that the name holds.

`ready` states whether a reader has to look at the pass, too. It is absent at first: the pass may not exist yet. The first
reader that finds the pass sets it to 1. A merge or an erasure sets it to 0 for good. (Source:
docs/decisions/0071-names-of-passes.md.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pymongo import UpdateOne

from app.domain.errors import Unavailable
from app.domain.ids import pass_name_id
from app.store.mongo.queries import Doc, WorkspaceQueries, equal_to, insert_new


@dataclass(frozen=True, slots=True)
class PassName:
    """The pass of an external id. Unless `is_ready`, the pass may be missing, merged or erased."""

    pass_id: str
    is_ready: bool


class PassNameQueries(WorkspaceQueries):
    """Names of passes. Errors: Unavailable, safe to repeat."""

    collection = "pass_names"

    async def find(self, external_ids: Iterable[str]) -> dict[str, PassName]:
        """Return by external id the names that exist. Index: _id."""
        wanted = {self._id(external_id): external_id for external_id in external_ids}
        docs = await self._by_ids(wanted, {"pass": 1, "ready": 1})
        return {wanted[doc["_id"]]: PassName(doc["pass"], doc.get("ready") == 1) for doc in docs}

    async def reserve(self, pass_ids: Mapping[str, str]) -> dict[str, str]:
        """Reserve external ids for passes that will be inserted, and return by external id the pass it belongs to.

        `pass_ids` gives the planned pass of each external id. One round trip, and one more if some are reserved already.
        Raises Unavailable, safe to repeat, if an erasure frees one of them at this moment. Index: _id.
        """
        docs = [self._in_workspace(_id=self._id(name), **{"pass": pass_id}) for name, pass_id in pass_ids.items()]
        existing = await insert_new(self._collection, docs)
        if not existing:
            return dict(pass_ids)
        names = list(pass_ids)
        taken = [names[index] for index in existing]
        found = await self.find(taken)
        if len(found) < len(taken):
            raise Unavailable("store")
        return {**pass_ids, **{name: each.pass_id for name, each in found.items()}}

    async def confirm(self, pass_ids: Mapping[str, str]) -> None:
        """Note that these passes exist, by external id, so that readers need not look at them. Index: _id."""
        await self._set_ready(pass_ids, {"ready": {"$exists": False}}, 1)

    async def close(self, pass_ids: Mapping[str, str]) -> None:
        """Let every reader look at these passes from now on, by external id: they are merged or erased. Index: _id."""
        await self._set_ready(pass_ids, {}, 0)

    async def free(self, external_id: str, pass_id: str) -> None:
        """Delete the name of an erased pass, unless another pass has the external id by now. Index: _id."""
        await self._collection.delete_one({**self._by_id(self._id(external_id)), "pass": equal_to(pass_id)})

    async def _set_ready(self, pass_ids: Mapping[str, str], where: Doc, ready: int) -> None:
        updates = [
            UpdateOne({**self._by_id(self._id(name)), "pass": equal_to(pass_id), **where}, {"$set": {"ready": ready}})
            for name, pass_id in pass_ids.items()
        ]
        for start in range(0, len(updates), self._in_chunk):
            await self._collection.bulk_write(updates[start : start + self._in_chunk], ordered=False)

    def _id(self, external_id: str) -> str:
        return pass_name_id(self._workspace_id, external_id)
