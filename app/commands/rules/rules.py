"""createRule, updateRule, pauseRule, resumeRule, archiveRule and duplicateRule.

A change of anything but the labels is one insert of a version with the next revision. It needs no backfill: a pass meets
a rule when it is next walked, at the instant of the version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.definitions import (
    DefinitionChanged,
    NextRevision,
    claim_labels,
    insert_next_version,
    key_taken,
    live_tiers,
    read_tiers,
    repeat_if_changed,
)
from app.commands.events.event_types import event_types
from app.commands.events.vocabulary import recorded_types
from app.domain.definitions import criteria_of
from app.domain.errors import (
    STORE_FAILURES,
    Code,
    Conflict,
    LimitExceeded,
    NotFound,
    Problem,
    Refused,
    refuse_if,
)
from app.domain.events.events import Category
from app.domain.ids import channel_id, reward_id
from app.domain.jobs import Job
from app.domain.rewards.rewards import RewardVersion
from app.domain.rules.checks import (
    MAX_RULES,
    find_rule_warnings,
    find_self_trigger,
    find_too_many_points,
    iter_named_segments,
    iter_named_types,
)
from app.domain.rules.effects import Effect, IssueReward, RecordEvent, SendMessage
from app.domain.rules.parsing import check_size, parse_rule
from app.domain.rules.rules import Rule, RuleStatus, RuleVersion
from app.domain.rules.triggers import TierTrigger
from app.domain.rules.writing import digest_of_rule, rule_to_dict
from app.domain.segments.comparisons import count_comparisons
from app.domain.segments.limits import check_comparisons, check_rate
from app.domain.segments.satisfiability import find_constants
from app.domain.segments.segments import DefinitionKind, parse_key
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_optional, parse_text
from app.store.mongo.ids import new_id
from app.store.mongo.points import charge_points
from app.store.workspace.labels import Labels
from app.templates.rendering import LiquidTexts

from .inclusions import check_includes_members, start_inclusion

TEXTS = LiquidTexts()
MAX_REPLACED_VERSIONS = 100
"""Replaced versions of definitions after which a change of a rule lets the backfill evaluate all passes."""
LABELS = frozenset({"key", "name", "description"})
"""Names in the input that are no part of the definition."""


async def create_rule(ctx: Context, sent: Mapping[str, object], action: str = "createRule") -> Rule:
    """Create a rule as `create_rule_with_job` does, and return it."""
    return (await create_rule_with_job(ctx, sent, action))[0]


async def create_rule_with_job(
    ctx: Context, sent: Mapping[str, object], action: str = "createRule"
) -> tuple[Rule, Job | None]:
    """Create a rule from an input with key, name and definition. A repeated call raises Conflict: TAKEN at `key`.

    With `includeMembers`, return the job, too, that asks the rule about the members of its segment. `action` is the name
    of the mutation for the audit log. Raises Refused with all problems of the definition. Raises Unavailable; safe to
    repeat.
    """
    key = parse_key(sent.get("key"), "key")
    now = await ctx.now()
    labels = Labels(
        id=new_id("rule"),
        key=key,
        name=parse_text(sent.get("name"), "name"),
        description=parse_optional(sent.get("description"), "description", max_length=2000),
        created_at=now,
        updated_at=now,
    )
    definition = await parse_definition(ctx, sent, key)
    if definition.status is RuleStatus.ARCHIVED:
        refuse_if([Problem(Code.INVALID, "A new rule is ACTIVE or PAUSED.", ("status",))])
    includes_members = bool(sent.get("includeMembers"))
    if includes_members:
        check_includes_members(definition)
    store = ctx.workspace.rules

    async def is_defined(existing_id: str) -> bool:
        return await store.get(existing_id) is not None

    labels = await claim_labels(store, labels, "rule", is_defined)
    await record_audit_entry(ctx, action, "Rule", labels.id, key=key)
    job = await start_inclusion(ctx, labels.id) if includes_members else None
    try:
        await _insert_version(ctx, replace(definition, rule_id=labels.id, key=key), read=0)
    except (DefinitionChanged, Refused) as error:
        if job is not None:
            await ctx.workspace.jobs.cancel(job.id)
        if isinstance(error, Refused):
            raise
        # Another call has completed the same labels with another definition.
        raise key_taken("rule") from None
    await store.set_labels(labels)
    if job is not None:
        ctx.resources.bus.wake("jobs", job.id)
    return await find_rule(ctx, labels.id), job


async def update_rule(ctx: Context, rule_id: str, sent: Mapping[str, object]) -> Rule:
    """Change a rule and return it. Values that are not in `sent` stay, and None sets the default. Safe to repeat.

    Raises NotFound, Refused and Unavailable.
    """
    return await repeat_if_changed(lambda: _update_rule(ctx, rule_id, sent))


async def _update_rule(ctx: Context, rule_id: str, sent: Mapping[str, object]) -> Rule:
    before = await find_rule(ctx, rule_id)
    _refuse_archived(before)
    labels = Labels(
        id=before.id,
        key=before.key,
        name=before.name if sent.get("name") is None else parse_text(sent["name"], "name"),
        description=parse_optional(sent["description"], "description", max_length=2000)
        if "description" in sent
        else before.description,
        created_at=before.created_at,
        updated_at=await ctx.now(),
    )
    changes = {name: value for name, value in sent.items() if name not in LABELS}
    definition = await parse_definition(ctx, {**rule_to_dict(before.latest), **changes}, before.key)
    is_redefined = digest_of_rule(definition) != digest_of_rule(before.latest)
    is_renamed = (labels.name, labels.description) != (before.name, before.description)
    if is_redefined or is_renamed:
        await record_audit_entry(ctx, "updateRule", "Rule", before.id, key=before.key)
    if is_redefined:
        await _insert_version(ctx, _as_next(definition, before), read=before.latest.version)
    if is_renamed:
        await ctx.workspace.rules.set_labels(labels)
    return await find_rule(ctx, rule_id)


async def set_rule_status(ctx: Context, rule_id: str, status: RuleStatus, action: str) -> Rule:
    """Pause, resume or archive a rule, and return it. An archived rule stays archived. Safe to repeat.

    `action` is the name of the mutation. Raises NotFound, Refused and Unavailable.
    """
    return await repeat_if_changed(lambda: _set_rule_status(ctx, rule_id, status, action))


async def _set_rule_status(ctx: Context, rule_id: str, status: RuleStatus, action: str) -> Rule:
    before = await find_rule(ctx, rule_id)
    if before.status is not status:
        _refuse_archived(before)
        await record_audit_entry(ctx, action, "Rule", before.id, key=before.key)
        await _insert_version(ctx, replace(before.latest, status=status), read=before.latest.version)
    return await find_rule(ctx, rule_id)


async def duplicate_rule(ctx: Context, rule_id: str, key: object, name: object = None) -> Rule:
    """Create a paused rule with the definition of another one. Raises as `create_rule` does."""
    source = await find_rule(ctx, rule_id)
    labels = {"key": key, "name": f"{source.name} (copy)" if name is None else name, "description": source.description}
    copied = {**rule_to_dict(source.latest), "status": RuleStatus.PAUSED.value}
    return await create_rule(ctx, {**copied, **labels}, "duplicateRule")


async def find_rule(ctx: Context, rule_id: str, *path: str) -> Rule:
    """Return a rule. Raises NotFound, at `id` unless another path is given, and Unavailable."""
    rule = await ctx.workspace.rules.get(rule_id)
    if rule is None:
        raise NotFound("rule", *(path or ("id",)))
    return rule


async def warn_about_rule(
    ctx: Context, version: RuleVersion, read_types: Callable[[], Awaitable[list[str]]] | None = None
) -> list[Problem]:
    """Return warnings about a rule that is valid and looks like a mistake.

    At most three round trips. One is only for types that are not built in: `read_types` then returns the types of the
    events so far. Another one is only for rules on tiers. If the store does not answer, there are no warnings: the rule is
    stored already.
    """
    try:
        recorded = await recorded_types(ctx, set(iter_named_types(version)), read_types)
        tiers = await read_tiers(ctx) if isinstance(version.trigger, TierTrigger) else ()
        types, now_ms = await event_types(ctx), to_ms(await ctx.now())
        return list(find_rule_warnings(version, types, recorded, tiers=tiers, now_ms=now_ms))
    except STORE_FAILURES:
        return []


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
    _check_segments(version, live, *under)


def _check_segments(version: RuleVersion, live: Collection[str], *under: str) -> None:
    for segment_id, path in iter_named_segments(version):
        if segment_id not in live:
            raise NotFound("live segment", *under, *path)


async def _parse(ctx: Context, raw: Mapping[str, object], key: str) -> RuleVersion:
    profile = await ctx.profile()
    version = parse_rule(raw, profile.currency, profile.timezone, texts=TEXTS)
    version = await _with_categories(ctx, version)
    check_size(version)
    await _check_rewards(ctx, version)
    await _check_channels(ctx, version)
    await charge_points(_count_comparisons(version))
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


async def _store_templates(ctx: Context, version: RuleVersion) -> None:
    """Store the templates of the messages that a rule sends, by which its firings name them. Safe to repeat."""
    templates = [effect.template for effect in version.effects if isinstance(effect, SendMessage)]
    if templates:
        await ctx.workspace.messages.templates.insert(
            {each.id_in(ctx.workspace.id): (each, None) for each in templates}
        )


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


def _as_next(definition: RuleVersion, before: Rule) -> RuleVersion:
    return replace(definition, rule_id=before.id, key=before.key, first_at=before.latest.first_at)


def _refuse_archived(rule: Rule) -> None:
    if rule.status is RuleStatus.ARCHIVED:
        raise Conflict("This rule is archived; duplicate it to use its definition again.", "id")


def _count_comparisons(version: RuleVersion) -> int:
    return sum(map(count_comparisons, criteria_of(version)))


def _must_announce(revision: NextRevision) -> bool:
    """Return whether all passes are to be evaluated under the version that takes the revision.

    Versions that others replaced are kept as long as a pass was last evaluated before them. A change of a segment lets
    the backfill evaluate every pass. If only rules change, a pass that nothing happens to would keep all versions.
    """
    replaced = len(revision.versions) - len(revision.latest)
    return replaced >= MAX_REPLACED_VERSIONS and revision.number % MAX_REPLACED_VERSIONS == 0


async def _insert_version(ctx: Context, version: RuleVersion, *, read: int) -> None:
    """Insert the next version of a rule. Nothing changes if the latest version has the same content.

    `read` is the number of the version from which this one was made, 0 for a new rule. Raises DefinitionChanged if it is
    not the latest one any more.
    """
    is_live = version.status is not RuleStatus.ARCHIVED
    await _store_templates(ctx, version)
    own = _count_comparisons(version)

    def build(revision: NextRevision) -> RuleVersion | None:
        before = revision.latest.get(version.rule_id)
        if before is not None and before.digest == digest_of_rule(version):
            return None
        revision.check_version(version.rule_id, read)
        if is_live:
            _check_segments(version, revision.live_of(DefinitionKind.SEGMENT))
            rules = revision.live_of(DefinitionKind.RULE)
            if version.rule_id not in rules and len(rules) >= MAX_RULES:
                raise LimitExceeded(
                    f"At most {MAX_RULES} rules in a workspace that are not archived; archive one first.", "key"
                )
            others = (other for key, other in revision.live.items() if key != version.rule_id)
            check_comparisons(own, others, "conditions")
            check_rate(own, revision.versions, revision.now, "conditions")
        return replace(
            version,
            announces=_must_announce(revision),
            revision=revision.number,
            version=1 if before is None else before.version + 1,
            at=revision.at,
            first_at=revision.at if before is None else version.first_at,
        )

    await insert_next_version(ctx, build)
