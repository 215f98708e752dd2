"""The pass that a walk leaves, to be stored in one write."""

from __future__ import annotations

from dataclasses import replace

from app.domain.passes.passes import Pass, Profile
from app.domain.state.firings import without_rules
from app.domain.values.decimals import ZERO

from .walk import Walk


def build_pass(walk: Walk, folded_ids: tuple[str, ...], next_due_ms: int | None) -> Pass:
    """Return the pass as it is after the walk, which folded these events. It is due at `next_due_ms`."""
    derived, card = walk.derived, walk.card
    # A walk without events keeps what the last fold has written: its events may not be cleared yet.
    last_folded_ids, decisions = (folded_ids, walk.decisions) if folded_ids else (card.last_folded_ids, card.decisions)
    if walk.is_over:
        ended = replace(
            card,
            last_folded_ids=last_folded_ids,
            decisions=decisions,
            evaluated_until_ms=walk.at_ms,
            last_activity=walk.new_entries.last_number,
            points=ZERO,
            aggregates={},
            made_aggregates={},
            pending_points={},
            measures={},
            memberships={},
            redeemed={},
            lots=None,
            next_due_ms=None,
            tier=None,
        )
        if walk.erased is None:
            return replace(
                ended,
                alias_of=walk.merged_into,
                tier=walk.tier_for_survivor,
                had_families=walk.has_checkouts or bool(derived.made_aggregates),
            )
        nothing = Profile()
        return replace(
            ended, initial_profile=nothing, profile=nothing, installed_at=None, erased=walk.erased, firings={}
        )
    return replace(
        card,
        last_folded_ids=last_folded_ids,
        decisions=decisions,
        evaluated_until_ms=walk.at_ms,
        revision=walk.revision,
        last_activity=walk.new_entries.last_number,
        profile=derived.profile,
        installed_at=derived.installed_at,
        installed_by_event=derived.installed_by_event,
        tier=walk.tier.present,
        points=derived.points_account.balance,
        lots=derived.points_account.lots,
        aggregates=derived.aggregates,
        made_aggregates=derived.made_aggregates,
        # No version of an archived rule asks for its firings again.
        firings=without_rules(derived.firings, walk.active.archived_rules),
        redeemed=derived.redeemed,
        pending_points=derived.points_account.pending,
        measures=derived.states,
        memberships=walk.members,
        next_due_ms=next_due_ms,
        updated_at=derived.updated_at,
        searchable=walk.active.searchable,
        dirty_months=derived.dirty_months,
    )
