"""Indexes of all collections, and the constants on which stored documents depend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure

from app.domain.ids import SLOTS
from app.store.mongo.queries import Collection, Database, translating_errors

from .draws import draw_passes
from .findable_passes import make_passes_findable
from .pass_months import mark_passes
from .pass_names import name_passes

# Partial indexes filter by {$gte: 0}, because the embedded server ignores an index that is partial on {$exists: true}.
INDEXES: dict[str, list[IndexModel]] = {}
FORMER_INDEXES = {
    # {pend, workspace, pass, occurred_at, _id} replaces both.
    # A document of each workspace decides the order of merges.
    "events": frozenset(
        {
            "pend_1_pass_1_occurred_at_1__id_1",
            "workspace_1_pend_1_pass_1_occurred_at_1__id_1",
            "workspace_1_merge_1",
        }
    ),
    # A name of each pass guards its external id. {workspace, slot, rev} replaces {workspace, rev}, and
    # {workspace, tokens, created_at, _id} replaces {workspace, tokens}.
    "passes": frozenset({"workspace_1_external_id_1", "workspace_1_rev_1", "workspace_1_tokens_1"}),
}
"""Names of indexes that earlier versions made and this version does not use, by collection.

Only these are hidden or dropped: an index that is in neither table belongs to the operator.
"""

TEXT_FIELDS = frozenset({"root", "origin.rule", "cause.event"})
"""Fields of partial indexes that hold texts."""


def _index(
    collection: str, *names: str, unique: bool = False, partial: str | None = None, expires: bool = False
) -> None:
    options: dict[str, object] = {"unique": True} if unique else {}
    if expires:
        options["expireAfterSeconds"] = 0
    if partial is not None:
        options["partialFilterExpression"] = {partial: {"$gte": "" if partial in TEXT_FIELDS else 0}}
    INDEXES.setdefault(collection, []).append(IndexModel([(name, ASCENDING) for name in names], **options))


_index("events", "pend", "workspace", "pass", "occurred_at", "_id", partial="pend")
_index("events", "workspace", "pass", "occurred_at", "_id")
_index("events", "workspace", "occurred_at", "_id")
_index("events", "workspace", "type", "occurred_at", "_id")
_index("events", "workspace", "occurred_at", partial="pend")
_index("events", "workspace", "root", partial="root")
_index("events", "workspace", "origin.rule", "type", "occurred_at", "_id", partial="origin.rule")
_index("events", "workspace", "pass", "redeems", "occurred_at", "_id", partial="redeems")
_index("passes", "due", "slot", partial="due")
_index("passes", "parked", partial="parked")
_index("workspaces", "stale", partial="stale")
_index("merges", "open", partial="open")
_index("passes", "pub", "workspace", partial="pub")
_index("passes", "workspace", "pub", partial="pub")
_index("passes", "erasing", "workspace", partial="erasing")
_index("passes", "merging", "workspace", partial="merging")
_index("passes", "workspace", "alias_of", "alias", partial="alias")
_index("passes", "workspace", "slot", "rev")
_index("passes", "workspace", "memberships.s", "_id")
_index("passes", "workspace", "created_at", "_id")
_index("passes", "workspace", "tokens", "created_at", "_id")
_index("passes", "workspace", "last_event", "_id")
_index("passes", "workspace", "name_key", "_id")
_index("passes", "workspace", "points", "_id")
_index("passes", "workspace", "draw", partial="draw")
_index("passes", "workspace", "dirty_from", partial="dirty_from")
_index("passes", "workspace", "active")
_index("passes", "workspace", "first_active", partial="first_active")
_index("passes", "workspace", "recount.mark", partial="recount.mark")
_index("active_counts", "workspace", "period")
_index("pass_periods", "workspace", "measure", "period", "value", "pass")
_index("pass_periods", "workspace", "measure", "period", "twelve", "pass", partial="twelve")
_index("pass_periods", "workspace", "measure", "period", "twelve_before", "pass", partial="twelve_before")
_index("pass_periods", "workspace", "measure", "last_year", "twelve_later", "pass", partial="twelve_later")
_index("pass_periods", "workspace", "pass", "period")
_index("pass_periods", "doubt", partial="doubt")
_index("passes", "workspace", "made_at", partial="made_at")
_index("rollup_heads", "is_dirty", "workspace", "level", "start", partial="is_dirty")
_index("rollups", "check_at", partial="check_at")
_index("rollup_heads", "level", "workspace")
_index("activities", "workspace", "pos", unique=True)
_index("activities", "workspace", "pass", "pos")
_index("activities", "workspace", "type", "pos")
_index("activities", "workspace", "segment", "pos")
_index("activities", "workspace", "cause.event", "pos", partial="cause.event")
_index("intervals", "workspace", "segment", "pass", "entered")
_index("intervals", "workspace", "pass", "entered", "_id")
_index("segment_days", "workspace", "segment", "day")
_index("definitions", "workspace", "rev", unique=True)
_index("definitions", "workspace", "segment", "rev")
_index("definitions", "workspace", "subject", "rev")
_index("replaced_versions", "workspace", "segment", "rev")
_index("scheduled_edits", "due", partial="due")
_index("segments", "workspace", "key", unique=True)
_index("segments", "workspace", "created_at", "_id")
_index("rules", "workspace", "key", unique=True)
_index("rules", "workspace", "created_at", "_id")
_index("rewards", "workspace", "key", unique=True)
_index("rewards", "workspace", "created_at", "_id")
_index("reward_units", "workspace", "of")
_index("reward_units", "workspace", "pass")
_index("reward_units", "open", "workspace", partial="open")
_index("reward_codes", "workspace", "pass")
_index("reward_codes", "open", "workspace", partial="open")
_index("rule_counts", "workspace", "rule", "hour")
_index("api_keys", "hash", unique=True)
_index("api_keys", "workspace", "created_at", "_id")
_index("token_keys", "workspace", "created_at")
_index("token_revocations", "workspace", "at")
_index("audit", "workspace", "at", "_id")
_index("jobs", "workspace", "created_at", "_id")
_index("jobs", "open", "created_at", partial="open")
_index("jobs", "workspace", "open", partial="open")
_index("jobs", "expires_at", expires=True)
_index("job_files", "workspace", "job", "file", "n", unique=True)
_index("job_files", "expires_at", expires=True)
_index("event_types", "workspace", "rev", unique=True)
_index("words", "workspace", "kind", "word")
_index("words", "doubt", "workspace", partial="doubt")
_index("inbound_hooks", "workspace", "created_at", "_id")
_index("inbound_deliveries", "workspace", "hook", "status", "received_at", "_id")
_index("inbound_deliveries", "workspace", "named")
_index("inbound_deliveries", "due", partial="due")
_index("inbound_deliveries", "expires_at", expires=True)
_index("webhook_lanes", "workspace", "on", partial="on")
_index("webhook_lanes", "at", "free", partial="at")
_index("webhook_lanes", "tok")
_index("webhook_lanes", "away_since", partial="away_since")
_index("react_lanes", "workspace", "on", partial="on")
_index("react_lanes", "at", "free", partial="at")
_index("react_lanes", "tok")
_index("parked_reactions", "workspace", "due", partial="due")
_index("parked_reactions", "workspace", "event")
_index("parked_reactions", "workspace", "pass", "at", "_id")
_index("parked_reactions", "workspace", "at", "_id")
_index("webhook_deliveries", "workspace", "endpoint", "created_at", "_id")
_index("webhook_deliveries", "workspace", "endpoint", "status", "created_at", "_id")
_index("webhook_deliveries", "workspace", "endpoint", "due", "pos", partial="due")
_index("webhook_deliveries", "due", partial="due")
_index("webhook_deliveries", "expires_at", expires=True)
_index("webhook_endpoints", "workspace", "created_at", "_id")
_index("channels", "workspace", "created_at", "_id")
_index("channel_lanes", "workspace", "on", partial="on")
_index("channel_lanes", "at", "free", partial="at")
_index("channel_lanes", "tok")
_index("messages", "workspace", "created_at", "_id")
_index("messages", "workspace", "pass", "created_at", "_id")
_index("messages", "workspace", "channel", "created_at", "_id")
_index("messages", "workspace", "channel", "due", partial="due")
_index("messages", "due", partial="due")
_index("messages", "held", partial="held")
_index("messages", "expires_at", expires=True)
_index("message_templates", "workspace", "pass")
_index("receipts", "expires_at", expires=True)
_index("request_keys", "expires_at", expires=True)
_index("heartbeats", "expires_at", expires=True)

INDEX_NOT_FOUND = 27
"""Code of MongoDB for the drop of an index that does not exist."""


class SlotsChanged(RuntimeError):
    """The database was created with another number of slots, so stages would not find its pending events."""


async def check_slots(db: Database) -> None:
    """Raise SlotsChanged if the database was created with another number of slots. Raises Unavailable; safe to repeat."""
    with translating_errors():
        stored = await db["constants"].find_one({"_id": "slots"})
    if stored is not None and stored["value"] != SLOTS:
        raise SlotsChanged(
            f"The database was created with {stored['value']} slots, and this version has {SLOTS}. "
            "Run the version that created the database, or use another database."
        )


async def ensure_indexes(db: Database) -> None:
    """Create missing indexes, drop former ones, then complete the passes of version 0.1.0.

    They get what lists find them by, marks of their months, names and draws.

    Safe to repeat, and to run from several processes at once. `punchcard up` and tests use it, where collections are
    small. `punchcard migrate` builds the indexes one collection at a time, with progress. Raises SlotsChanged if the
    database was created with another number of slots. Raises Unavailable; safe to repeat.
    """
    await store_slots(db)
    with translating_errors():
        for collection, models in INDEXES.items():
            await db[collection].create_indexes(models)
        for collection, names in FORMER_INDEXES.items():
            await _drop_former_indexes(db[collection], names)
    await make_passes_findable(db)
    await mark_passes(db)
    await name_passes(db)
    await draw_passes(db)


async def store_slots(db: Database) -> None:
    """Store the number of slots, or raise SlotsChanged if another one is stored. Raises Unavailable; safe to repeat."""
    # A process that upserts at the same time gets a duplicate key. From the Python server it gets no document, so the
    # number is read by a find.
    with translating_errors(), contextlib.suppress(DuplicateKeyError):
        await db["constants"].update_one({"_id": "slots"}, {"$setOnInsert": {"value": SLOTS}}, upsert=True)
    await check_slots(db)


async def _drop_former_indexes(collection: Collection, names: Iterable[str]) -> None:
    existing = await collection.index_information()
    for name in names:
        if name in existing:
            try:
                await collection.drop_index(name)
            except OperationFailure as error:
                # Another process has dropped the index meanwhile.
                if error.code != INDEX_NOT_FOUND:
                    raise
