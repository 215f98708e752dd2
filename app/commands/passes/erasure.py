"""Removal of what else names an erased pass: exports, reports of failed rows, failed messages, persisted documents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.bus import REDIS_ERRORS, REDIS_TIMEOUT_SECONDS
from app.clock import SystemClock
from app.document_cache import DocumentCache
from app.domain.errors import Unavailable
from app.domain.values.name_hashes import hash_name
from app.resources import Resources


async def erase_copies(resources: Resources, workspace_id: str, external_ids: Sequence[str]) -> bool:
    """Remove what names a pass by one of its external ids: its own, and those of passes merged into it. Safe to repeat.

    Exports are deleted as a whole. Failed messages and quoted rows that cannot be attributed to any pass are removed,
    too. Returns False while a worker runs an export, which may still write a part: then call it again. Raises
    Unavailable.
    """
    workspace = resources.workspace(workspace_id)
    key = await workspace.secret()
    hashes = [hash_name(key, external_id) for external_id in external_ids]
    await workspace.inbound.forget([*external_ids, *hashes])
    return await workspace.exports.forget(external_ids, hashes, await SystemClock().now())


async def erase_documents(resources: Resources, workspace_id: str) -> None:
    """Delete the persisted documents of a workspace, which may name a pass. Clients send them again. Safe to repeat.

    Raises Unavailable if Redis does not answer.
    """
    try:
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            await DocumentCache(resources.redis, resources.settings.database).forget(workspace_id)
    except REDIS_ERRORS as error:
        raise Unavailable("Redis") from error
