"""createRule, updateRule, pauseRule, resumeRule, archiveRule and duplicateRule.

A change of anything but the labels is one insert of a version with the next revision. It needs no backfill: a pass meets
a rule when it is next walked, at the instant of the version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
    parse_labels,
    read_tiers,
    repeat_if_changed,
)
from app.commands.events.event_types import event_types
from app.commands.events.vocabulary import recorded_types
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
from app.domain.jobs import Job
from app.domain.rules.checks import (
    MAX_RULES,
    find_rule_warnings,
    iter_named_types,
)
from app.domain.rules.effects import SendMessage
from app.domain.rules.rules import Rule, RuleStatus, RuleVersion
from app.domain.rules.triggers import TierTrigger
from app.domain.rules.writing import digest_of_rule, rule_to_dict
from app.domain.segments.limits import check_comparisons, check_rate
from app.domain.segments.segments import DefinitionKind, parse_key
from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id

from .inclusions import check_includes_members, start_inclusion
from .reading import count_comparisons_of, parse_definition, refuse_other_segments

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
    labels = parse_labels(new_id("rule"), key, sent, await ctx.now())
    definition = await parse_definition(ctx, sent, key)
    if definition.status is RuleStatus.ARCHIVED:
        refuse_if([Problem(Code.INVALID, "A new rule is ACTIVE or PAUSED.", ("status",))])
    includes_members = bool(sent.get("includeMembers"))
    if includes_members:
        check_includes_members(definition)
    store = ctx.workspace.rules
    labels = await claim_labels(store, labels, "rule")
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
    labels = change_labels(before, sent, await ctx.now())
    changes = {name: value for name, value in sent.items() if name not in LABELS}
    definition = await parse_definition(ctx, {**rule_to_dict(before.latest), **changes}, before.key)
    is_redefined = digest_of_rule(definition) != digest_of_rule(before.latest)
    if is_redefined or is_renamed(before, labels):
        await record_audit_entry(ctx, "updateRule", "Rule", before.id, key=before.key)
    if is_redefined:
        await _insert_version(ctx, _as_next(definition, before), read=before.latest.version)
    if is_renamed(before, labels):
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


async def _store_templates(ctx: Context, version: RuleVersion) -> None:
    """Store the templates of the messages that a rule sends, by which its firings name them. Safe to repeat."""
    templates = [effect.template for effect in version.effects if isinstance(effect, SendMessage)]
    if templates:
        await ctx.workspace.messages.templates.insert(
            {each.id_in(ctx.workspace.id): (each, None) for each in templates}
        )


def _as_next(definition: RuleVersion, before: Rule) -> RuleVersion:
    return replace(definition, rule_id=before.id, key=before.key, first_at=before.latest.first_at)


def _refuse_archived(rule: Rule) -> None:
    if rule.status is RuleStatus.ARCHIVED:
        raise Conflict("This rule is archived; duplicate it to use its definition again.", "id")


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
    own = count_comparisons_of(version)

    def build(revision: NextRevision) -> RuleVersion | None:
        before = revision.latest.get(version.rule_id)
        if before is not None and before.digest == digest_of_rule(version):
            return None
        revision.check_version(version.rule_id, read)
        if is_live:
            refuse_other_segments(version, revision.live_of(DefinitionKind.SEGMENT))
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
