"""Documents of workspaces: inserted once, read by id."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from app.domain.errors import NotFound
from app.domain.log_history import LogHistory, Restore
from app.domain.workspaces import WorkspaceProfile
from app.store.cache import Epochs
from app.store.mongo.queries import Database, Doc, translating_errors


async def insert_workspace(db: Database, profile: WorkspaceProfile) -> None:
    """Insert a workspace with a new key for its fingerprints. It has no events yet, so all their hours will be marked."""
    doc = asdict(profile)
    doc["_id"] = doc.pop("id")
    with translating_errors():
        await db["workspaces"].insert_one({**doc, "secret": secrets.token_bytes(32), "marked": True})


async def list_profiles(db: Database, limit: int = 10_000) -> list[WorkspaceProfile]:
    """Return the profiles of all workspaces, in the order of their ids. Index: _id."""
    with translating_errors():
        docs = await db["workspaces"].find({}).sort("_id", 1).limit(limit).to_list(None)
    return [_profile_from_doc(doc) for doc in docs]


async def read_profile(db: Database, workspace_id: str) -> WorkspaceProfile:
    """Return the profile of a workspace. Raises NotFound. Index: _id."""
    return _profile_from_doc(await _read_workspace(db, workspace_id))


async def set_local_time(db: Database, workspace_id: str, timezone: str, week_start: int) -> None:
    """Set the zone and the start of weeks of a workspace. Safe to repeat. Index: _id."""
    changes = {"timezone": timezone, "week_start": week_start}
    with translating_errors():
        await db["workspaces"].update_one({"_id": workspace_id}, {"$set": changes})


def _profile_from_doc(doc: Doc) -> WorkspaceProfile:
    return WorkspaceProfile(
        id=doc["_id"],
        name=doc["name"],
        currency=doc["currency"],
        timezone=doc["timezone"],
        week_start=doc["week_start"],
        created_at=doc["created_at"],
        # Version 0.1.0 stored no rule: its workspaces accept debts.
        allow_negative_balance=doc.get("allow_negative_balance", True),
    )


async def read_secret(db: Database, workspace_id: str) -> bytes:
    """Return the key of a workspace's fingerprints. Raises NotFound. Index: _id."""
    return bytes((await _read_workspace(db, workspace_id))["secret"])


async def read_epochs(db: Database, workspace_id: str) -> Epochs:
    """Return the epochs of a workspace. That of erasures is stored as `parting`. Index: _id."""
    with translating_errors():
        doc = await db["workspaces"].find_one({"_id": workspace_id}, {"parting": 1, "tokens": 1}) or {}
    return Epochs(erasures=str(doc.get("parting", "")), tokens=int(doc.get("tokens", 0)))


async def begin_token_epoch(db: Database, workspace_id: str) -> int:
    """Add 1 to the number of changes that concern tokens for one pass, and return the number. Index: _id."""
    with translating_errors():
        doc = await db["workspaces"].find_one_and_update(
            {"_id": workspace_id}, {"$inc": {"tokens": 1}}, projection={"tokens": 1}, return_document=True
        )
    if doc is None:
        raise NotFound("workspace")
    return int(doc["tokens"])


async def write_nothing(db: Database, workspace_id: str) -> None:
    """Make a write that changes nothing, and wait for a majority. Index: _id.

    After an election, the first reads may be older than acknowledged writes. Reads after this write are not.
    """
    with translating_errors():
        await db["workspaces"].update_one({"_id": workspace_id}, {"$unset": {"nothing": ""}})


async def read_log_history(db: Database, workspace_id: str) -> LogHistory:
    """Return the restores and truncations of a workspace's activity log. Index: _id."""
    with translating_errors():
        doc = await db["workspaces"].find_one({"_id": workspace_id}, {"restores": 1, "front": 1}) or {}
    restores = tuple(Restore(each["epoch"], each["pos"]) for each in doc.get("restores", ()))
    return LogHistory(restores, int(doc.get("front", 0)))


async def _read_workspace(db: Database, workspace_id: str) -> Doc:
    with translating_errors():
        doc = await db["workspaces"].find_one({"_id": workspace_id})
    if doc is None:
        raise NotFound("workspace")
    return doc
