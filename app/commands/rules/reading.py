"""Reading of the definition of a rule from the input of a call, and the checks of what it names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from app.commands.context import Context
from app.commands.definitions import NextRevision, live_tiers
from app.commands.events.event_types import event_types
from app.domain.definitions import criteria_of
from app.domain.errors import NotFound, Refused, refuse_if
from app.domain.events.events import Category
from app.domain.ids import channel_id, reward_id
from app.domain.rewards.rewards import RewardVersion
from app.domain.rules.checks import find_self_trigger, find_too_many_points, iter_named_segments
from app.domain.rules.effects import Effect, IssueReward, RecordEvent, SendMessage
from app.domain.rules.parsing import check_size, parse_rule
from app.domain.rules.rules import RuleVersion
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.satisfiability import find_constants
from app.domain.segments.segments import DefinitionKind
from app.store.mongo.points import charge_points
from app.templates.rendering import LiquidTexts

TEXTS = LiquidTexts()


async def parse_definition(ctx: Context, raw: Mapping[str, object], key: str, *under: str) -> RuleVersion:
    """Return the checked definition of a rule, without its identity.

    Paths of problems begin with `under`. Raises Refused with all problems.
    """
    try:
        return await _parse(ctx, raw, key)
    except Refused as refused:
        raise Refused(*(problem.with_prefix(*under) for problem in refused.problems)) from None


async def check_segments(ctx: Context, version: RuleVersion, *under: str) -> None:
    """Raise NotFound if a rule names a segment that is not live. One round trip if it names any."""
    named = list(iter_named_segments(version))
    if not named:
        return
    live = NextRevision(await ctx.workspace.definitions.summaries(), await ctx.now()).live_of(DefinitionKind.SEGMENT)
    refuse_other_segments(version, live, *under)


def refuse_other_segments(version: RuleVersion, live: Collection[str], *under: str) -> None:
    """Raise NotFound if a rule names a segment that is not among the live ones."""
    for segment_id, path in iter_named_segments(version):
        if segment_id not in live:
            raise NotFound("live segment", *under, *path)


def count_comparisons_of(version: RuleVersion) -> int:
    """Return the number of comparisons that the criteria of a rule take."""
    return sum(map(count_comparisons, criteria_of(version)))


async def _parse(ctx: Context, raw: Mapping[str, object], key: str) -> RuleVersion:
    profile = await ctx.profile()
    version = parse_rule(raw, profile.currency, profile.timezone, texts=TEXTS)
    version = await _with_categories(ctx, version)
    check_size(version)
    await _check_rewards(ctx, version)
    await _check_channels(ctx, version)
    await charge_points(count_comparisons_of(version))
    if version.conditions is not None:
        tiers = await live_tiers(ctx, version.conditions)
        refuse_if(find_constants(version.conditions, "conditions", tiers=tiers))
    refuse_if([*find_too_many_points(version), *find_self_trigger(version, key)])
    return version


async def _check_rewards(ctx: Context, version: RuleVersion) -> None:
    """Raise NotFound if a rule issues a reward that does not exist or is archived. One round trip for each reward."""
    for index, effect in enumerate(version.effects):
        if isinstance(effect, IssueReward):
            subject_id = reward_id(ctx.workspace.id, effect.reward_key)
            found = await ctx.workspace.definitions.latest(DefinitionKind.REWARD, subject_id)
            if not isinstance(found, RewardVersion) or found.archived:
                raise NotFound("reward", "effects", str(index), "issueReward", "rewardKey")


async def _check_channels(ctx: Context, version: RuleVersion) -> None:
    """Raise NotFound if a rule sends over a channel that does not exist or is archived. One round trip if it sends."""
    keys = {
        index: channel_id(ctx.workspace.id, effect.channel_key)
        for index, effect in enumerate(version.effects)
        if isinstance(effect, SendMessage)
    }
    channels = await ctx.workspace.channels.get_many(keys.values()) if keys else {}
    for index, key in keys.items():
        if key not in channels or channels[key].is_archived:
            raise NotFound("channel", "effects", str(index), "sendMessage", "channelKey")


async def _with_categories(ctx: Context, version: RuleVersion) -> RuleVersion:
    """Return the version with the category that each event it records has, as its type is defined now."""
    types = await event_types(ctx)

    def with_category(effect: Effect) -> Effect:
        if not isinstance(effect, RecordEvent):
            return effect
        defined = types.get(effect.type)
        return replace(effect, category=Category.CUSTOM if defined is None else defined.category)

    return replace(version, effects=tuple(map(with_category, version.effects)))
