"""Named queries over the codes that one workspace has issued. The id is a hash of the code, so each is issued once."""

from __future__ import annotations

from app.domain.ids import code_id
from app.store.mongo.queries import WorkspaceQueries, insert_new


class CodeQueries(WorkspaceQueries):
    """Codes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "reward_codes"

    async def claim(self, code: str, redemption_id: str, pass_id: str) -> bool:
        """Claim a code for a redemption, and return whether the redemption has it. Safe to repeat. Index: _id.

        After an erasure, the hash of the code stays without the redemption, so that no other redemption gets the code.
        """
        code_key = code_id(self._workspace_id, code)
        doc = self._in_workspace(_id=code_key, of=redemption_id, **{"pass": pass_id})
        if not await insert_new(self._collection, [doc]):
            return True
        existing = await self._collection.find_one({"_id": code_key}, {"of": 1})
        return existing is not None and existing.get("of") == redemption_id
