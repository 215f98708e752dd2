"""Rules: create, edit, pause and archive them; what a change of other definitions has to respect."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from app.commands.events.event_types import define_event_type
from app.commands.rules.rules import create_rule, duplicate_rule, set_rule_status, update_rule, warn_about_rule
from app.commands.segments import archive_segment
from app.domain.errors import Code, Refused
from app.domain.events.events import Category
from app.domain.rules.checks import MAX_RULES
from app.domain.rules.effects import RecordEvent
from app.domain.rules.rules import Rule, RuleStatus
from app.domain.rules.writing import rule_to_dict
from app.store.mongo.paging import PageRequest
from tests.business import Business, create_business, purchases
from tests.commands.interleaving import interleave

DOUBLE = {
    "key": "double",
    "name": "Double points",
    "trigger": {"event": {"types": ["purchase"]}},
    "effects": [{"awardPoints": {"perAmount": {"points": 2, "each": 1}}}],
}


async def create(business: Business, **changes: Any) -> Rule:
    return await create_rule(business.ctx, {**DOUBLE, **changes})


async def refusal(call: Any) -> dict[str, Code]:
    with pytest.raises(Refused) as refused:
        await call
    return {".".join(problem.field): problem.code for problem in refused.value.problems}


async def set_status(business: Business, rule: Rule, status: RuleStatus) -> Rule:
    return await set_rule_status(business.ctx, rule.id, status, "test")


async def test_rule_and_its_versions_are_stored_with_revisions_of_the_workspace(business: Business) -> None:
    segment = await business.create_segment("loyal", purchases(2))
    rule = await create(business, conditions={"segment": {"id": segment.id}}, group="bonus")
    assert (rule.latest.version, rule.latest.revision, rule.latest.first_at) == (1, 2, rule.latest.at)
    business.clock.set(await business.clock.now() + timedelta(seconds=60))
    edited = await update_rule(business.ctx, rule.id, {"priority": 5, "group": None, "name": "Twice"})
    assert (edited.name, edited.latest.priority, edited.latest.group) == ("Twice", 5, None)
    assert edited.latest.conditions == rule.latest.conditions
    assert (edited.latest.version, edited.latest.revision, edited.latest.first_at) == (2, 3, rule.latest.at)
    assert await update_rule(business.ctx, rule.id, {"priority": 5, "name": "Twice"}) == edited
    assert (await update_rule(business.ctx, rule.id, {"description": "For all"})).latest.version == 2
    versions = await business.ctx.workspace.rules.versions(rule.id, PageRequest())
    assert [version.version for version in versions.items] == [2, 1]
    assert versions.items[1] == rule.latest
    stored = (await business.ctx.workspace.definitions.versions())[-1]
    assert stored == edited.latest


async def test_rule_announces_no_backfill_and_the_worker_folds_beside_it(business: Business) -> None:
    await business.record({"amount": 1})
    await business.run_worker()
    before = await business.read_pass()
    await create(business)
    stale = {"_id": business.ctx.workspace.id, "stale": {"$exists": True}}
    assert await business.ctx.resources.db["workspaces"].find_one(stale) is None
    await business.run_worker()
    assert await business.read_pass() == before
    await business.record({"amount": 1})
    await business.run_worker()
    assert (await business.read_pass()).revision == 1


async def test_paused_rule_is_resumed_and_archived_rule_stays_archived(business: Business) -> None:
    rule = await create(business, status="PAUSED")
    assert not rule.latest.is_in_force
    assert (await set_status(business, rule, RuleStatus.PAUSED)).latest.version == 1
    resumed = await set_status(business, rule, RuleStatus.ACTIVE)
    assert (resumed.status, resumed.latest.version) == (RuleStatus.ACTIVE, 2)
    archived = await set_status(business, rule, RuleStatus.ARCHIVED)
    assert archived.status is RuleStatus.ARCHIVED
    assert (await set_status(business, rule, RuleStatus.ARCHIVED)).latest.version == 3
    assert await refusal(set_status(business, rule, RuleStatus.ACTIVE)) == {"id": Code.CONFLICT}
    assert await refusal(update_rule(business.ctx, rule.id, {"priority": 1})) == {"id": Code.CONFLICT}
    copy = await duplicate_rule(business.ctx, rule.id, "again")
    assert (copy.name, copy.status) == ("Double points (copy)", RuleStatus.PAUSED)
    assert rule_to_dict(copy.latest) == rule_to_dict(rule.latest)


async def test_key_is_unique_and_an_interrupted_creation_is_finished(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(business.ctx.workspace.definitions, "insert", interrupt)
        with pytest.raises(KeyboardInterrupt):
            await create(business)
    assert await business.ctx.workspace.rules.count() == 0
    created = await create(business)
    assert created.latest.version == 1
    assert await refusal(create(business)) == {"key": Code.TAKEN}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"key": "Not a key"}, {"key": Code.INVALID}),
        ({"name": " "}, {"name": Code.INVALID}),
        ({"status": "ARCHIVED"}, {"status": Code.INVALID}),
        ({"trigger": {"segmentEntered": {"segmentId": "seg_none"}}, "effects": [{"awardPoints": {"points": 1}}]},
         {"trigger.segmentEntered.segmentId": Code.UNKNOWN}),
        ({"conditions": {"segment": {"id": "seg_none"}}}, {"conditions": Code.UNKNOWN}),
        ({"conditions": {"pass": {"field": "status", "operator": "IN", "value": ["NONE"]}}},
         {"conditions.pass.value.0": Code.UNKNOWN}),
        ({"effects": [{"recordEvent": {"type": "purchase"}}]}, {"effects.0": Code.CYCLE}),
        ({"effects": [{"recordEvent": {"type": "customer.created"}}]}, {"effects.0.recordEvent.type": Code.INVALID}),
    ],
)  # fmt: skip
async def test_refused_rule_leaves_nothing_behind(
    business: Business, changes: Mapping[str, object], expected: Mapping[str, Code]
) -> None:
    assert await refusal(create_rule(business.ctx, {**DOUBLE, **changes})) == expected
    assert (await business.ctx.workspace.rules.page(PageRequest())).items == []
    assert await business.ctx.workspace.definitions.versions() == []


async def test_segment_of_another_workspace_is_unknown(business: Business) -> None:
    other = await create_business(business.ctx.resources, business.clock, "Other")
    segment = await other.create_segment("theirs", purchases(1))
    trigger = {"segmentLeft": {"segmentId": segment.id}}
    effects = [{"deductPoints": {"points": 1}}]
    found = await refusal(create(business, trigger=trigger, effects=effects))
    assert found == {"trigger.segmentLeft.segmentId": Code.UNKNOWN}


async def test_segment_that_a_rule_names_is_archived_only_after_the_rule(business: Business) -> None:
    segment = await business.create_segment("loyal", purchases(2))
    rule = await create(business, conditions={"not": {"segment": {"id": segment.id}}})
    await set_status(business, rule, RuleStatus.PAUSED)
    assert await refusal(archive_segment(business.ctx, segment.id)) == {"id": Code.CONFLICT}
    await set_status(business, rule, RuleStatus.ARCHIVED)
    assert (await archive_segment(business.ctx, segment.id)).archived
    found = await refusal(duplicate_rule(business.ctx, rule.id, "copy"))
    assert found == {"conditions": Code.UNKNOWN}


async def test_workspace_has_100_rules_that_are_not_archived(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.commands.rules.rules.MAX_RULES", 3)
    assert MAX_RULES == 100
    rules = [await create(business, key=f"rule-{number}") for number in range(3)]
    await set_status(business, rules[0], RuleStatus.PAUSED)
    assert await refusal(create(business, key="more")) == {"key": Code.LIMIT}
    await update_rule(business.ctx, rules[1].id, {"priority": 2})
    await set_status(business, rules[0], RuleStatus.ARCHIVED)
    assert (await create(business, key="more")).latest.version == 1


async def test_rule_with_an_unknown_type_gets_a_warning(business: Business) -> None:
    rule = await create(business, trigger={"event": {"types": ["purchase", "purhcase"]}})
    [warning] = await warn_about_rule(business.ctx, rule.latest)
    assert (warning.code, warning.field) == (Code.UNKNOWN, ("trigger", "event", "types", "1"))


async def test_event_that_a_rule_records_has_the_category_of_its_type(business: Business) -> None:
    await define_event_type(business.ctx, "stamp", "Stamp", category="ACTIVITY")
    effects = [{"recordEvent": {"type": name}} for name in ("stamp", "visit", "anything")]
    rule = await create(business, effects=effects)
    found = [effect.category for effect in rule.latest.effects if isinstance(effect, RecordEvent)]
    assert found == [Category.ACTIVITY, Category.ACTIVITY, Category.CUSTOM]


async def test_each_change_has_an_audit_entry(business: Business) -> None:
    rule = await create(business)
    await update_rule(business.ctx, rule.id, {"priority": 2})
    await set_rule_status(business.ctx, rule.id, RuleStatus.PAUSED, "pauseRule")
    await duplicate_rule(business.ctx, rule.id, "copy")
    entries = (await business.ctx.workspace.audit.page(PageRequest())).items
    assert [entry.action for entry in entries] == ["duplicateRule", "pauseRule", "updateRule", "createRule"]
    assert {entry.subject for entry in entries[1:]} == {("Rule", rule.id)}


async def test_edit_keeps_a_pause_that_another_call_made_meanwhile(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = await create(business)
    interleave(monkeypatch, lambda: set_status(business, rule, RuleStatus.PAUSED))
    edited = await update_rule(business.ctx, rule.id, {"priority": 5})
    assert (edited.status, edited.latest.priority, edited.latest.version) == (RuleStatus.PAUSED, 5, 3)


async def test_two_edits_at_once_are_both_stored(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = await create(business)
    interleave(monkeypatch, lambda: update_rule(business.ctx, rule.id, {"group": "bonus"}))
    edited = await update_rule(business.ctx, rule.id, {"priority": 5})
    assert (edited.latest.group, edited.latest.priority) == ("bonus", 5)


async def test_rule_that_is_archived_during_an_edit_stays_archived(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = await create(business)
    interleave(monkeypatch, lambda: set_status(business, rule, RuleStatus.ARCHIVED))
    assert await refusal(update_rule(business.ctx, rule.id, {"priority": 5})) == {"id": Code.CONFLICT}


async def test_of_two_rules_that_are_created_at_once_with_one_key_one_is_refused(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    interleave(monkeypatch, lambda: create(business, priority=1))
    assert await refusal(create(business, priority=2)) == {"key": Code.TAKEN}
    [version] = await business.ctx.workspace.definitions.versions()
    assert version.version == 1
