"""Named queries over the codes that one workspace has issued. The id is a hash of the code, so each is issued once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pymongo import DeleteOne

from app.domain.ids import code_id
from app.store.mongo.queries import insert_new

from .restocking import RestockedQueries


class OpenCode(NamedTuple):
    """Code whose redemption the stage `restock` has not seen accepted yet. `id` is a hash of the code."""

    id: str
    redemption_id: str | None
    pass_id: str | None


class CodeQueries(RestockedQueries):
    """Codes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "reward_codes"

    async def claim(self, code: str, redemption_id: str, pass_id: str, *, system_ms: int) -> bool:
        """Claim a code for a redemption, and return whether the redemption has it. Safe to repeat. Index: _id.

        `system_ms` is the instant from which the stage `restock` waits for the event of the redemption. After an erasure,
        the hash of the code stays without the redemption, so that no other redemption gets the code.
        """
        code_key = self.id_of(code)
        doc = self._in_workspace(_id=code_key, of=redemption_id, open=system_ms, **{"pass": pass_id})
        if not await insert_new(self._collection, [doc]):
            return True
        existing = await self._collection.find_one({"_id": code_key}, {"of": 1})
        return existing is not None and existing.get("of") == redemption_id

    def id_of(self, code: str) -> str:
        """Return the id of a code: a hash."""
        return code_id(self._workspace_id, code)

    async def free(self, codes: Iterable[tuple[str, str]]) -> None:
        """Let other redemptions claim codes: id of the code, redemption that has it. Safe to repeat. Index: _id.

        Codes of other redemptions, and those of erased passes, stay.
        """
        deletes = [DeleteOne({"_id": code_key, "of": redemption_id}) for code_key, redemption_id in codes]
        if deletes:
            await self._collection.bulk_write(deletes, ordered=False)

    async def open_codes(self, before_ms: int, limit: int) -> list[OpenCode]:
        """Return codes that were claimed or checked before an instant, the oldest first. Index: {open, workspace}."""
        docs = await self._find_open(before_ms, limit)
        return [OpenCode(doc["_id"], doc.get("of"), doc.get("pass")) for doc in docs]
