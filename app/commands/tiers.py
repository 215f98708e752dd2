"""setTierProgram: a change is one insert of a version with the next revision, as for segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.domain.definitions import criteria_of
from app.domain.errors import STORE_FAILURES, NotFound, Problem
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.criteria import Criteria, iter_types
from app.domain.segments.limits import check_comparisons, check_rate
from app.domain.segments.segments import TIER_PROGRAM, DefinitionKind, find_references, sort_by_references
from app.domain.segments.warnings import find_warnings
from app.domain.tiers.parsing import parse_program
from app.domain.tiers.programs import TierProgramVersion
from app.store.mongo.points import charge_points

from .audit import record_audit_entry
from .context import Context
from .definitions import NextRevision, find_tier_program, insert_next_version
from .events.event_types import event_types
from .events.vocabulary import recorded_types


async def set_tier_program(ctx: Context, sent: Mapping[str, object]) -> TierProgramVersion | None:
    """Make the tier program of the workspace what the input says, and return it as stored.

    A program without tiers ends all tiers; None if there never was one. Safe to repeat: an equal program makes no version.
    Raises Refused with all problems. Raises Unavailable.
    """
    profile = await ctx.profile()
    program = parse_program(sent, profile.currency, profile.timezone)
    comparisons = sum(map(count_comparisons, criteria_of(program)))
    trees = _trees_of(program)
    await charge_points(comparisons)
    before = await find_tier_program(ctx)
    if before is None or not _is_equal(program, before):
        await record_audit_entry(ctx, "setTierProgram", "Workspace", ctx.workspace.id, tiers=str(len(program.tiers)))

    def build(revision: NextRevision) -> TierProgramVersion | None:
        live = {key: other for key, other in revision.live.items() if key != TIER_PROGRAM}
        segments = revision.live_of(DefinitionKind.SEGMENT)
        for tree, path in trees:
            if find_references(tree) - segments.keys() - {TIER_PROGRAM}:
                raise NotFound("live segment", *path)
        nodes = {key: other.references for key, other in live.items() if other.kind is DefinitionKind.SEGMENT}
        # Each tree is added in turn, so that a circle is reported where it closes.
        named: set[str] = set()
        for tree, path in trees:
            named |= find_references(tree)
            sort_by_references({**nodes, TIER_PROGRAM: named}, *path)
        previous = revision.latest.get(TIER_PROGRAM)
        if before is not None and previous is not None and previous.version == before.version:
            if _is_equal(program, before):
                return None
        elif previous is None and not program.tiers:
            return None
        check_comparisons(comparisons, live.values(), "tiers")
        check_rate(comparisons, revision.versions, revision.now, "tiers")
        number = 1 if previous is None else previous.version + 1
        return replace(program, revision=revision.number, version=number, at=revision.at)

    await insert_next_version(ctx, build)
    return await find_tier_program(ctx)


async def warn_about_tiers(ctx: Context, program: TierProgramVersion) -> list[Problem]:
    """Return warnings about a program that is valid and looks like a mistake. If the store does not answer, none."""
    trees = _trees_of(program)
    try:
        recorded = await recorded_types(ctx, {name for tree, _ in trees for name in iter_types(tree)})
        types = await event_types(ctx)
        return [problem for tree, path in trees for problem in find_warnings(tree, types, recorded, *path)]
    except STORE_FAILURES:
        return []


def _trees_of(program: TierProgramVersion) -> list[tuple[Criteria, tuple[str, ...]]]:
    """Return the criteria of a program, each with its path in the input."""
    return [
        (tree, ("tiers", str(index), name))
        for index, tier in enumerate(program.tiers)
        for tree, name in ((tier.reach, "reach"), (tier.keep, "keep"))
        if tree is not None
    ]


def _is_equal(program: TierProgramVersion, stored: TierProgramVersion) -> bool:
    """Return whether two versions say the same. How a change is shown is no part of it."""
    identity = {"revision": stored.revision, "version": stored.version, "at": stored.at, "notify": stored.notify}
    return replace(program, **identity) == stored  # type: ignore[arg-type]
