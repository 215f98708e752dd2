"""The write that fold, due and backfill make to a pass: one compare-and-set that contains only the changed fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from pymongo import ReplaceOne, UpdateOne

from app.domain.activities import Entry
from app.domain.passes.passes import Pass
from app.domain.state.aggregates import Aggregates
from app.domain.state.lots import Lots
from app.store.mongo.decimal128 import to_decimal128
from app.store.mongo.queries import Doc, equal_to

from .pass_parts import (
    aggregate_to_doc,
    encode_aggregate_key,
    entry_to_doc,
    firings_to_doc,
    lot_to_doc,
    memberships_to_docs,
    pending_to_docs,
    profile_to_doc,
    redeemed_to_doc,
    tier_to_doc,
)
from .pass_search import update_find_part
from .passes import alias_to_doc, decisions_part, dirty_part, made_at_part, stub_to_doc
from .states import state_to_doc


def update_pass_operation(
    before: Pass,
    after: Pass,
    entries: Sequence[Entry],
    write_id: str,
    *,
    system_ms: int,
    recount: Mapping[str, object] = MappingProxyType({}),
    names_shard: bool = False,
) -> UpdateOne | ReplaceOne[Doc]:
    """Return the compare-and-set that turns a pass, as it was read, into `after`. Only changed fields are written.

    The write applies only if the pass still has the version and write id of `before`. `fid` is the write id of the new
    version. `system_ms` is the time of the machine: publish takes first the pass whose outbox has waited longest. A
    pass that ends gets the field `recount`. With `names_shard`, the filter leads a sharded store to one shard.
    """
    as_read: Doc = {"_id": before.id, "v": equal_to(before.version), "fid": equal_to(before.write_id)}
    if names_shard:
        as_read["workspace"] = before.workspace_id
    if after.erased is not None:
        # Entries published since the pass was read return to the outbox. Publishing finds them in the log by their ids.
        stub = replace(after, version=before.version + 1, write_id=write_id, outbox=(*before.outbox, *entries))
        return ReplaceOne(as_read, {**stub_to_doc(stub, after.erased, system_ms), **recount})
    if after.alias_of is not None:
        alias = replace(after, version=before.version + 1, write_id=write_id, outbox=(*before.outbox, *entries))
        return ReplaceOne(as_read, {**alias_to_doc(alias, after.alias_of, system_ms), **recount})
    changes: Doc = {"at": after.evaluated_until_ms, "v": before.version + 1, "fid": write_id}
    _update_progress(before, after, changes)
    unset: Doc = {"fails": "", "failure": ""} if before.failures else {}
    if after.last_folded_ids is not before.last_folded_ids:
        changes["lb"] = list(after.last_folded_ids)
    if after.dirty_months is not before.dirty_months:
        # Also if they are equal: the months may have been sealed since the pass was read, which changes no version.
        changes |= dirty_part(after)
    if after.decisions is not before.decisions:
        changes |= decisions_part(after)
        if before.decisions and not after.decisions:
            unset["decided"] = ""
    _update_aggregates("aggregates", before.aggregates, after.aggregates, changes=changes, unset=unset)
    _update_aggregates("made", before.made_aggregates, after.made_aggregates, changes=changes, unset=unset)
    for rule_id, firings in after.firings.items():
        if before.firings.get(rule_id) is not firings:
            changes[f"fired.{rule_id}"] = firings_to_doc(firings)
    for rule_id in before.firings.keys() - after.firings.keys():
        unset[f"fired.{rule_id}"] = ""
    for reward_id in before.redeemed.keys() | after.redeemed.keys():
        redeemed = after.redeemed.get(reward_id)
        if redeemed is None:
            unset[f"redeemed.{reward_id}"] = ""
        elif before.redeemed.get(reward_id) != redeemed:
            changes[f"redeemed.{reward_id}"] = redeemed_to_doc(redeemed)
    if after.pending_points != before.pending_points:
        changes["wait"] = pending_to_docs(after.pending_points)
    for name, state in after.measures.items():
        if before.measures.get(name) is not state:
            changes[f"state.{name}"] = state_to_doc(state)
    for name in before.measures:
        if name not in after.measures:
            unset[f"state.{name}"] = ""
    _update_lots(before.lots, after.lots, changes, unset)
    update_find_part(before, after, changes, unset)
    if after.memberships != before.memberships:
        changes["memberships"] = memberships_to_docs(after.memberships)
    if after.next_due_ms is None:
        unset["due"] = ""
    else:
        changes["due"] = after.next_due_ms
    update: Doc = {"$set": changes}
    if entries:
        update["$min"] = {"pub": system_ms, **made_at_part(entries)}
        update["$push"] = {"out": {"$each": [entry_to_doc(entry) for entry in entries]}}
    if unset:
        update["$unset"] = unset
    return UpdateOne(as_read, update)


def _update_progress(before: Pass, after: Pass, changes: Doc) -> None:
    """Add the small fields that changed. Every write that changes them takes the next version."""
    if after.profile is not before.profile:
        changes["profile"] = profile_to_doc(after.profile)
    if after.updated_at != before.updated_at:
        changes["updated_at"] = after.updated_at
    if after.revision != before.revision:
        changes["rev"] = after.revision
    if after.last_activity != before.last_activity:
        changes["n"] = after.last_activity
    # Equal decimals may have different places.
    if after.points is not before.points:
        changes["points"] = to_decimal128(after.points)
    if (after.installed_at, after.installed_by_event) != (before.installed_at, before.installed_by_event):
        changes |= {"installed_at": after.installed_at, "installed_by_event": after.installed_by_event}
    if after.tier != before.tier:
        changes |= tier_to_doc(after.tier)


def _update_aggregates(name: str, before: Aggregates, after: Aggregates, *, changes: Doc, unset: Doc) -> None:
    """Add the rows that changed."""
    for key, row in after.items():
        if before.get(key) is not row:
            changes[f"{name}.{encode_aggregate_key(key)}"] = aggregate_to_doc(key, row)
    unset.update({f"{name}.{encode_aggregate_key(key)}": "" for key in before if key not in after})


def _update_lots(before: Lots | None, after: Lots | None, changes: Doc, unset: Doc) -> None:
    """Add the changes of the lots that changed. A pass may have thousands of lots."""
    if after is before:
        return
    if after is None:
        unset["lots"] = ""
        return
    if before is None and not after:
        changes["lots"] = {}
    lots_before = before or {}
    changes.update({f"lots.{key}": lot_to_doc(lot) for key, lot in after.items() if lots_before.get(key) != lot})
    unset.update({f"lots.{key}": "" for key in lots_before if key not in after})
