"""Fields of Query and Mutation that belong to rules."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import mutations
from .conversions import MeasureRuleConversionPayload, measure_rule_conversion
from .firings import RuleFiring, list_firings
from .mutations import (
    CreateRulePayload,
    DuplicateRulePayload,
    RuleStatusPayload,
    SimulateRulePayload,
    UpdateRulePayload,
)
from .retries import RetryRuleFiringsPayload, retry_rule_firings
from .rules import Rule, find_rule, list_rules


@strawberry.type
class RuleQueries:
    """Fields of Query that read rules."""

    rule: Rule | None = strawberry.field(resolver=find_rule)
    rules: Connection[Rule] = strawberry.field(resolver=list_rules)
    rule_firings: Connection[RuleFiring] = strawberry.field(resolver=list_firings)


@strawberry.type
class RuleMutations:
    """Fields of Mutation that change rules."""

    create_rule: CreateRulePayload = strawberry.mutation(resolver=mutations.create_rule)
    update_rule: UpdateRulePayload = strawberry.mutation(resolver=mutations.update_rule)
    pause_rule: RuleStatusPayload = strawberry.mutation(resolver=mutations.pause_rule)
    resume_rule: RuleStatusPayload = strawberry.mutation(resolver=mutations.resume_rule)
    archive_rule: RuleStatusPayload = strawberry.mutation(resolver=mutations.archive_rule)
    duplicate_rule: DuplicateRulePayload = strawberry.mutation(resolver=mutations.duplicate_rule)
    retry_rule_firings: RetryRuleFiringsPayload = strawberry.mutation(resolver=retry_rule_firings)
    measure_rule_conversion: MeasureRuleConversionPayload = strawberry.mutation(resolver=measure_rule_conversion)
    simulate_rule: SimulateRulePayload = strawberry.mutation(resolver=mutations.simulate_rule)
