"""createReward, updateReward and archiveReward: a change is one insert of a version with the next revision.

It needs no backfill: a pass meets a reward when it is next walked, at the instant of the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.definitions import (
    DefinitionChanged,
    NextRevision,
    change_labels,
    claim_labels,
    insert_next_version,
    is_renamed,
    key_taken,
    live_tiers,
    parse_labels,
    repeat_if_changed,
)
from app.commands.events.event_types import event_types
from app.commands.events.vocabulary import recorded_types
from app.domain.definitions import criteria_of, references_of
from app.domain.errors import STORE_FAILURES, Conflict, LimitExceeded, NotFound, Problem, refuse_if
from app.domain.ids import reward_id
from app.domain.rewards.parsing import MAX_REWARDS, parse_reward
from app.domain.rewards.rewards import LabelledReward, Reward, RewardVersion
from app.domain.rewards.writing import digest_of_reward, reward_to_dict
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.criteria import iter_types
from app.domain.segments.limits import check_comparisons, check_rate
from app.domain.segments.satisfiability import find_constants
from app.domain.segments.segments import TIER_PROGRAM, DefinitionKind, parse_key
from app.domain.segments.warnings import find_warnings
from app.domain.values.instants import EPOCH
from app.store.mongo.points import charge_points

LABELS = frozenset({"key", "name", "description"})
"""Names in the input that are no part of the definition."""


async def create_reward(ctx: Context, sent: Mapping[str, object]) -> LabelledReward:
    """Create a reward from an input with key, name and terms. A repeated call raises Conflict: TAKEN at `key`.

    Raises Refused with all problems of the terms. Raises Unavailable; safe to repeat.
    """
    key = parse_key(sent.get("key"), "key")
    labels = parse_labels(reward_id(ctx.workspace.id, key), key, sent, await ctx.now())
    terms = await _parse_terms(ctx, sent)
    store = ctx.workspace.rewards
    labels = await claim_labels(store, labels, "reward")
    await record_audit_entry(ctx, "createReward", "Reward", labels.id, key=key)
    try:
        await _insert_version(ctx, RewardVersion(labels.id, key, 0, version=0, at=EPOCH, terms=terms), read=0)
    except DefinitionChanged:
        # Another call has completed the same labels with other terms.
        raise key_taken("reward") from None
    await store.set_labels(labels)
    return await find_reward(ctx, labels.id)


async def update_reward(ctx: Context, changed_id: str, sent: Mapping[str, object]) -> LabelledReward:
    """Change a reward and return it. Values that are not in `sent` stay, and None sets the default. Safe to repeat.

    A higher `limits.total` adds units. A lower one takes none back that are redeemed. Raises NotFound, Refused and
    Unavailable.
    """
    return await repeat_if_changed(lambda: _update_reward(ctx, changed_id, sent))


async def _update_reward(ctx: Context, changed_id: str, sent: Mapping[str, object]) -> LabelledReward:
    before = await find_reward(ctx, changed_id)
    if before.latest.archived:
        raise Conflict("This reward is archived; create another one.", "id")
    labels = change_labels(before, sent, await ctx.now())
    changes = {name: value for name, value in sent.items() if name not in LABELS}
    terms = await _parse_terms(ctx, {**reward_to_dict(before.terms), **changes})
    version = replace(before.latest, terms=terms)
    is_redefined = digest_of_reward(version) != digest_of_reward(before.latest)
    if is_redefined or is_renamed(before, labels):
        await record_audit_entry(ctx, "updateReward", "Reward", before.id, key=before.key)
    if is_redefined:
        await _insert_version(ctx, version, read=before.latest.version)
    if is_renamed(before, labels):
        await ctx.workspace.rewards.set_labels(labels)
    return await find_reward(ctx, changed_id)


async def archive_reward(ctx: Context, archived_id: str) -> LabelledReward:
    """Archive a reward, which cannot be redeemed afterwards, and return it. Safe to repeat.

    Raises NotFound and Unavailable.
    """
    return await repeat_if_changed(lambda: _archive_reward(ctx, archived_id))


async def _archive_reward(ctx: Context, archived_id: str) -> LabelledReward:
    before = await find_reward(ctx, archived_id)
    if not before.latest.archived:
        await record_audit_entry(ctx, "archiveReward", "Reward", before.id, key=before.key)
        await _insert_version(ctx, replace(before.latest, archived=True), read=before.latest.version)
    return await find_reward(ctx, archived_id)


async def find_reward(ctx: Context, wanted_id: str) -> LabelledReward:
    """Return a reward. Raises NotFound at `id`, and Unavailable."""
    reward = await ctx.workspace.rewards.get(wanted_id)
    if reward is None:
        raise NotFound("reward", "id")
    return reward


async def warn_about_reward(ctx: Context, version: RewardVersion) -> list[Problem]:
    """Return warnings about a reward that is valid and looks like a mistake. If the store does not answer, none.

    At most two round trips, of which one only for criteria with types that are not built in.
    """
    criteria = version.terms.criteria
    if criteria is None:
        return []
    try:
        recorded = await recorded_types(ctx, set(iter_types(criteria)))
        return list(find_warnings(criteria, await event_types(ctx), recorded, "criteria"))
    except STORE_FAILURES:
        return []


async def _parse_terms(ctx: Context, sent: Mapping[str, object]) -> Reward:
    profile = await ctx.profile()
    terms = parse_reward(sent, profile.currency, profile.timezone)
    if terms.criteria is not None:
        await charge_points(count_comparisons(terms.criteria))
        tiers = await live_tiers(ctx, terms.criteria)
        refuse_if(find_constants(terms.criteria, "criteria", tiers=tiers))
    return terms


async def _insert_version(ctx: Context, version: RewardVersion, *, read: int) -> None:
    """Insert the next version of a reward. Nothing changes if the latest version has the same content.

    `read` is the number of the version from which this one was made, 0 for a new reward. Raises DefinitionChanged if it is
    not the latest one any more.
    """
    own = sum(map(count_comparisons, criteria_of(version)))

    def build(revision: NextRevision) -> RewardVersion | None:
        before = revision.latest.get(version.reward_id)
        if before is not None and before.digest == digest_of_reward(version):
            return None
        revision.check_version(version.reward_id, read)
        if not version.archived:
            if references_of(version) - revision.live_of(DefinitionKind.SEGMENT).keys() - {TIER_PROGRAM}:
                raise NotFound("live segment", "criteria")
            rewards = revision.live_of(DefinitionKind.REWARD)
            if version.reward_id not in rewards and len(rewards) >= MAX_REWARDS:
                raise LimitExceeded(
                    f"At most {MAX_REWARDS} rewards in a workspace that are not archived; archive one first.", "key"
                )
            others = (other for key, other in revision.live.items() if key != version.reward_id)
            check_comparisons(own, others, "criteria")
            check_rate(own, revision.versions, revision.now, "criteria")
        return replace(
            version, revision=revision.number, version=1 if before is None else before.version + 1, at=revision.at
        )

    await insert_next_version(ctx, build)
