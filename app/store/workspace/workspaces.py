"""Workspaces as documents: made once, read by id."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from app.domain.errors import NotFound
from app.domain.workspaces import WorkspaceProfile
from app.store.mongo.queries import Database, Doc, translating_errors


async def insert_workspace(db: Database, profile: WorkspaceProfile) -> None:
    """Stores a new workspace with a fingerprint key of its own."""
    doc = asdict(profile)
    doc["_id"] = doc.pop("id")
    with translating_errors():
        await db["workspaces"].insert_one({**doc, "secret": secrets.token_bytes(32)})


async def profile_of(db: Database, workspace_id: str) -> WorkspaceProfile:
    """What a workspace says of itself. Raises NotFound."""
    doc = await _workspace(db, workspace_id)
    return WorkspaceProfile(
        doc["_id"], doc["name"], doc["currency"], doc["timezone"], doc["week_start"], doc["created_at"]
    )


async def secret_of(db: Database, workspace_id: str) -> bytes:
    """The key of a workspace's fingerprints. Raises NotFound."""
    return bytes((await _workspace(db, workspace_id))["secret"])


async def erasure_epoch_of(db: Database, workspace_id: str) -> str:
    """The latest parting of a workspace; "" before the first. Index: _id."""
    with translating_errors():
        doc = await db["workspaces"].find_one({"_id": workspace_id}, {"parting": 1})
    return "" if doc is None else str(doc.get("parting", ""))


async def _workspace(db: Database, workspace_id: str) -> Doc:
    with translating_errors():
        doc = await db["workspaces"].find_one({"_id": workspace_id})
    if doc is None:
        raise NotFound("workspace")
    return doc
