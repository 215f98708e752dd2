"""Mutations of rules: createRule, updateRule, pauseRule, resumeRule, archiveRule, duplicateRule and simulateRule."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.rules import rules as commands
from app.commands.rules import simulations
from app.domain.errors import Refused
from app.domain.rules.rules import OnCorrection, OnHistorical, RuleStatus
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.segments.criteria import CriteriaInput, FixedWindow, sent_values, to_mapping
from app.graphql.types.filters import MetadataCondition
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import InputWarning, UserError, user_errors, warnings_of
from app.graphql.types.scalars import RawDateTime

from .inputs import NthInput, RuleEffectInput, RuleHoursInput, RuleLimitsInput, RuleTriggerInput
from .rules import Rule, rule_of

WARNINGS = (
    "Remarks about a rule that was accepted and looks like a mistake, such as an event type that is neither defined nor "
    "recorded."
)
ERRORS = "Problems with the input; empty if the call succeeded."


@strawberry.input
class CreateRuleInput:
    """Rule to create."""

    key: str = strawberry.field(
        description="Key of the rule: 1 to 64 lower-case letters, digits, `_` or `-`, beginning with a letter or digit. It "
        "is unique in the workspace and cannot be changed. The key of an archived rule can be used again."
    )
    name: str = strawberry.field(description="Name of the rule for people. At most 255 characters.")
    description: str | None = strawberry.field(
        default=None, description="Purpose of the rule. At most 2,000 characters."
    )
    status: RuleStatus = strawberry.field(
        default=RuleStatus.ACTIVE, description="`ACTIVE` or `PAUSED`. Default: `ACTIVE`."
    )
    trigger: RuleTriggerInput = strawberry.field(description="What the rule waits for.")
    conditions: CriteriaInput | None = strawberry.field(
        default=None, description="Criteria that the pass must match at the instant of the cause. Default: none."
    )
    event_metadata: list[MetadataCondition] | None = strawberry.field(
        default=None,
        description="Conditions on the metadata of the event, all of which it must satisfy. At most 50. Only for rules on "
        "events.",
    )
    nth: NthInput | None = strawberry.field(
        default=None, description="Numbers of the matching event at which the rule fires. Only for rules on events."
    )
    when: RuleHoursInput | None = strawberry.field(default=None, description="Hours of the week. Default: always.")
    limits: RuleLimitsInput | None = strawberry.field(default=None, description="Limits on the firings. Default: none.")
    active: FixedWindow | None = strawberry.field(
        default=None, description="Period in which the rule fires. Default: always."
    )
    timezone: str | None = strawberry.field(
        default=None,
        description='IANA time zone of hours, calendar periods and texts, for example "Europe/Berlin". Default: the time '
        "zone of the workspace.",
    )
    priority: int = strawberry.field(
        default=0, description="Rules with a higher priority are asked first; equal ones in the order of creation."
    )
    group: str | None = strawberry.field(
        default=None,
        description="Name of a group, at most 64 characters. Of the rules of a group, only the first that fires for a cause "
        "does.",
    )
    effects: list[RuleEffectInput] = strawberry.field(description="What the rule does, in this order: 1 to 10 effects.")
    on_correction: OnCorrection = strawberry.field(
        default=OnCorrection.REVERSE,
        description="What happens to points if the cause is corrected or removed. Default: `REVERSE`.",
    )
    historical: OnHistorical = strawberry.field(
        default=OnHistorical.IGNORE,
        description="Whether the rule fires for imported past events and for events before its first version. Default: "
        "`IGNORE`.",
    )
    control_group_percent: int = strawberry.field(
        default=0,
        description="Share of the passes, from 0 to 100 percent, for which firings are recorded without effects. Compare "
        "them in the statistics of the rule.",
    )
    include_members: bool = strawberry.field(
        default=False,
        description="Whether the rule is asked about the present members of the segment that it waits for, too, each "
        "once, as if they entered then. The payload's `job` asks. Only for an active rule on `segmentEntered`. Default: "
        "false.",
    )


@strawberry.input
class UpdateRuleInput:
    """Changes to a rule. Values that are left out stay as they are; a null sets the default of `createRule`."""

    id: strawberry.ID = strawberry.field(description="Id of the rule.")
    name: str | None = strawberry.field(default=strawberry.UNSET, description="New name. At most 255 characters.")
    description: str | None = strawberry.field(
        default=strawberry.UNSET, description="New purpose. At most 2,000 characters."
    )
    trigger: RuleTriggerInput | None = strawberry.field(
        default=strawberry.UNSET, description="New trigger. It replaces the old one as a whole."
    )
    conditions: CriteriaInput | None = strawberry.field(
        default=strawberry.UNSET, description="New conditions. They replace the old ones as a whole."
    )
    event_metadata: list[MetadataCondition] | None = strawberry.field(
        default=strawberry.UNSET, description="New conditions on the metadata of the event."
    )
    nth: NthInput | None = strawberry.field(default=strawberry.UNSET, description="New numbers of the matching event.")
    when: RuleHoursInput | None = strawberry.field(default=strawberry.UNSET, description="New hours of the week.")
    limits: RuleLimitsInput | None = strawberry.field(
        default=strawberry.UNSET, description="New limits on the firings."
    )
    active: FixedWindow | None = strawberry.field(
        default=strawberry.UNSET, description="New period in which the rule fires."
    )
    timezone: str | None = strawberry.field(default=strawberry.UNSET, description="New IANA time zone.")
    priority: int | None = strawberry.field(default=strawberry.UNSET, description="New priority.")
    group: str | None = strawberry.field(default=strawberry.UNSET, description="New name of the group.")
    effects: list[RuleEffectInput] | None = strawberry.field(
        default=strawberry.UNSET, description="New effects. They replace the old ones as a whole; null is refused."
    )
    on_correction: OnCorrection | None = strawberry.field(
        default=strawberry.UNSET, description="What a correction of a later cause does to points."
    )
    historical: OnHistorical | None = strawberry.field(
        default=strawberry.UNSET, description="Whether the rule fires for imported past events."
    )
    control_group_percent: int | None = strawberry.field(
        default=strawberry.UNSET, description="New share of the passes without effects, from 0 to 100 percent."
    )


@strawberry.input
class RuleInput:
    """Rule to pause, resume or archive."""

    id: strawberry.ID = strawberry.field(description="Id of the rule.")


@strawberry.input
class DuplicateRuleInput:
    """Rule to copy."""

    id: strawberry.ID = strawberry.field(description="Id of the rule to copy. It may be archived.")
    key: str = strawberry.field(description="Key of the copy, with the same rules as in `CreateRuleInput`.")
    name: str | None = strawberry.field(
        default=None, description='Name of the copy for people. Default: the name of the rule with " (copy)".'
    )


@strawberry.input
class SimulateRuleInput:
    """Rule to simulate over the past. Give exactly one of `rule` and `ruleId`."""

    rule: CreateRuleInput | None = strawberry.field(
        default=None, description="Rule that does not exist, as for `createRule`. Its status is ignored."
    )
    rule_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of a rule, whose latest version is simulated. Its status is ignored."
    )
    from_: RawDateTime = strawberry.field(
        name="from", description="Start of the period whose firings count, inclusive."
    )
    to: RawDateTime | None = strawberry.field(
        default=None, description="End of the period whose firings count, exclusive. Default: now."
    )


@strawberry.type
class SimulateRulePayload:
    """Result of `simulateRule`."""

    job: Job | None = strawberry.field(default=None, description="Job that simulates. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class CreateRulePayload:
    """Result of `createRule`."""

    rule: Rule | None = strawberry.field(default=None, description="Created rule. Null if the call failed.")
    job: Job | None = strawberry.field(
        default=None,
        description="Job that asks the rule about the members of its segment. Null without `includeMembers`.",
    )
    warnings: list[InputWarning] = strawberry.field(default_factory=list, description=WARNINGS)
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class UpdateRulePayload:
    """Result of `updateRule`."""

    rule: Rule | None = strawberry.field(default=None, description="Changed rule. Null if the call failed.")
    warnings: list[InputWarning] = strawberry.field(default_factory=list, description=WARNINGS)
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class RuleStatusPayload:
    """Result of `pauseRule`, `resumeRule` and `archiveRule`."""

    rule: Rule | None = strawberry.field(default=None, description="Changed rule. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class DuplicateRulePayload:
    """Result of `duplicateRule`."""

    rule: Rule | None = strawberry.field(default=None, description="Copy of the rule. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


async def create_rule(
    info: Info, input: Annotated[CreateRuleInput, strawberry.argument(description="Rule to create.")]
) -> CreateRulePayload:
    """Create a rule. Needs the scope `write`.

    The rule fires for what counts after its instant; existing passes are not evaluated. A workspace has at most 100 rules
    that are not archived. A rule whose effect could trigger the rule again needs limits for each pass. Not safe to repeat:
    if the first call succeeded, a second one fails with `TAKEN`. A retry completes a call that was interrupted.
    """
    try:
        created, job = await commands.create_rule_with_job(info.context.commands, to_mapping(input))
    except Refused as refused:
        return CreateRulePayload(user_errors=user_errors(refused.problems))
    warnings = warnings_of(await commands.warn_about_rule(info.context.commands, created.latest))
    return CreateRulePayload(rule=rule_of(created), job=None if job is None else job_of(job), warnings=warnings)


async def update_rule(
    info: Info, input: Annotated[UpdateRuleInput, strawberry.argument(description="Changes to make.")]
) -> UpdateRulePayload:
    """Change a rule. Needs the scope `write`.

    Every change but that of name and description makes the next version. What the rule did under earlier versions stays, and
    corrections of earlier causes follow the version that fired. An archived rule cannot be changed. Safe to repeat: a call
    that changes nothing makes no version.
    """
    try:
        changed = await commands.update_rule(info.context.commands, _parse_rule_id(input.id), sent_values(input))
    except Refused as refused:
        return UpdateRulePayload(user_errors=user_errors(refused.problems))
    warnings = warnings_of(await commands.warn_about_rule(info.context.commands, changed.latest))
    return UpdateRulePayload(rule=rule_of(changed), warnings=warnings)


RuleArgument = Annotated[RuleInput, strawberry.argument(description="The rule.")]


async def pause_rule(info: Info, input: RuleArgument) -> RuleStatusPayload:
    """Pause a rule: it does not fire until `resumeRule`. Needs the scope `write`. Safe to repeat.

    What happens meanwhile is not made up for.
    """
    return await _set_status(info, input, RuleStatus.PAUSED, "pauseRule")


async def resume_rule(info: Info, input: RuleArgument) -> RuleStatusPayload:
    """Resume a paused rule. Needs the scope `write`. Safe to repeat."""
    return await _set_status(info, input, RuleStatus.ACTIVE, "resumeRule")


async def archive_rule(info: Info, input: RuleArgument) -> RuleStatusPayload:
    """Archive a rule: it never fires again. Needs the scope `write`. Safe to repeat.

    What it did stays. Corrections of its causes still take points back. Archiving cannot be undone; `duplicateRule` makes a
    new rule with the same definition.
    """
    return await _set_status(info, input, RuleStatus.ARCHIVED, "archiveRule")


async def duplicate_rule(
    info: Info,
    input: Annotated[
        DuplicateRuleInput, strawberry.argument(description="Rule to copy, with key and name of the copy.")
    ],
) -> DuplicateRulePayload:
    """Create a paused rule with the definition and description of another. Needs the scope `write`.

    Not safe to repeat: if the first call succeeded, a second one fails with `TAKEN`.
    """
    try:
        copy = await commands.duplicate_rule(info.context.commands, _parse_rule_id(input.id), input.key, input.name)
    except Refused as refused:
        return DuplicateRulePayload(user_errors=user_errors(refused.problems))
    return DuplicateRulePayload(rule=rule_of(copy))


async def simulate_rule(
    info: Info, input: Annotated[SimulateRuleInput, strawberry.argument(description="Rule and period.")]
) -> SimulateRulePayload:
    """Compute what a rule would have done in the past, in a job. Nothing else is written. Needs the scope `write`.

    The job walks a copy of each pass from its first event, under the definitions of today and the rule, as if all of them
    had always been in force. Every event counts when it occurred. The job's `result` has the figures `passes`,
    `passesLeftOut` (those with more than 20,000 events), `matched`, `skipped`, `fired`, `control`, `effectsSucceeded`,
    `effectsFailed` and `pointsAwarded`. Not safe to repeat: each call starts a job.
    """
    try:
        job = await simulations.simulate_rule(
            info.context.commands,
            rule=None if input.rule is None else to_mapping(input.rule),
            rule_id=None if input.rule_id is None else parse_text(given_id(input.rule_id, "Rule"), "ruleId"),
            start=input.from_,
            end=input.to,
        )
    except Refused as refused:
        return SimulateRulePayload(user_errors=user_errors(refused.problems))
    return SimulateRulePayload(job=job_of(job))


async def _set_status(info: Info, input: RuleInput, status: RuleStatus, action: str) -> RuleStatusPayload:
    try:
        changed = await commands.set_rule_status(info.context.commands, _parse_rule_id(input.id), status, action)
    except Refused as refused:
        return RuleStatusPayload(user_errors=user_errors(refused.problems))
    return RuleStatusPayload(rule=rule_of(changed))


def _parse_rule_id(id: strawberry.ID) -> str:
    return parse_text(given_id(id, "Rule"), "id")
