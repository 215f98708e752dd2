"""What a fold or a pump writes of a pass: one compare-and-set, in which only what changed is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymongo import ReplaceOne, UpdateOne

from app.domain.activities import Entry
from app.domain.passes.passes import Pass
from app.domain.state.points import Lots
from app.store.mongo.queries import Doc

from .pass_parts import aggregate_doc, aggregate_key, entry_doc, lot_doc, memberships_doc, state_doc
from .passes import alias_doc, progress_doc, stub_doc


def update_pass_operation(before: Pass, after: Pass, entries: Sequence[Entry], fid: str) -> UpdateOne | ReplaceOne[Doc]:
    """The compare-and-set that makes a pass, as it was read, what it becomes: only what changed is written."""
    found = {"_id": before.id, "v": before.version, "fid": before.write_id}
    if after.erased is not None:
        # Whatever was published meanwhile comes back into `out`, and is found in the log by its id.
        stub = replace(after, version=before.version + 1, write_id=fid, outbox=(*before.outbox, *entries))
        return ReplaceOne(found, stub_doc(stub, after.erased))
    if after.alias_of is not None:
        alias = replace(after, version=before.version + 1, write_id=fid, outbox=(*before.outbox, *entries))
        return ReplaceOne(found, alias_doc(alias, after.alias_of))
    changes: Doc = {**progress_doc(after), "v": before.version + 1, "fid": fid}
    if after.profile is before.profile:
        del changes["profile"]
    gone: Doc = {}
    if after.last_folded_ids is not before.last_folded_ids:
        changes["lb"] = list(after.last_folded_ids)
    for key, row in after.aggregates.items():
        if before.aggregates.get(key) is not row:
            changes[f"aggregates.{aggregate_key(key)}"] = aggregate_doc(key, row)
    for key in before.aggregates:
        if key not in after.aggregates:
            gone[f"aggregates.{aggregate_key(key)}"] = ""
    for name, state in after.measures.items():
        if before.measures.get(name) is not state:
            changes[f"state.{name}"] = state_doc(state)
    for name in before.measures:
        if name not in after.measures:
            gone[f"state.{name}"] = ""
    _update_lots(before.lots, after.lots, changes, gone)
    if after.memberships != before.memberships:
        changes["memberships"] = memberships_doc(after.memberships)
    if after.next_due_ms is None:
        gone["due"] = ""
    else:
        changes["due"] = after.next_due_ms
    update: Doc = {"$set": changes}
    if entries:
        changes["pub"] = 1
        update["$push"] = {"out": {"$each": [entry_doc(entry) for entry in entries]}}
    if gone:
        update["$unset"] = gone
    return UpdateOne(found, update)


def _update_lots(before: Lots | None, after: Lots | None, changes: Doc, gone: Doc) -> None:
    """Only the lots that changed: a pass may have thousands."""
    if after is before:
        return
    if after is None:
        gone["lots"] = ""
        return
    if before is None and not after:
        changes["lots"] = {}
    known = before or {}
    changes.update({f"lots.{key}": lot_doc(lot) for key, lot in after.items() if known.get(key) != lot})
    gone.update({f"lots.{key}": "" for key in known if key not in after})
