"""Rules: the type with its versions, and the queries that find and list rules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from app.commands.rules.rules import warn_about_rule
from app.domain.actors import READ
from app.domain.rules import rules as domain
from app.domain.rules.statistics import FiringQuery
from app.domain.values.instants import to_ms
from app.graphql.context import Info, RequestContext
from app.graphql.types.consistency import Consistency, ConsistencyArgument, TokenArgument
from app.graphql.types.ids import to_global_id
from app.graphql.types.named import find_named_id, list_objects
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.payloads import InputWarning, warnings_of

from .content import RuleContent
from .conversion import content_of
from .firings import RuleFiring, firings_page
from .statistics import FromArgument, RuleStatistics, ToArgument, statistics_of


@strawberry.type
class RuleVersion(RuleContent):
    """Version of a rule. It holds from its instant until the next version."""

    created_at: datetime = strawberry.field(description="Instant from which the version holds.")


@strawberry.type
class Rule(RuleContent, Node):
    """Something that happens to a pass, and what Punchcard does then.

    A rule fires where its cause counts: at the exact instant, whenever a worker runs. Each firing is an event of the type
    `rule_fired`.
    """

    key: str = strawberry.field(
        description="Key of the rule, unique among the rules that are not archived. It is permanent, but another rule may "
        "take the key of an archived one."
    )
    name: str = strawberry.field(description="Name of the rule for people.")
    description: str | None = strawberry.field(description="Purpose of the rule. Null if none was given.")
    created_at: datetime = strawberry.field(description="Instant at which the rule was created.")
    updated_at: datetime = strawberry.field(description="Instant of the last change of the rule.")
    stored: strawberry.Private[domain.Rule]

    @strawberry.field
    async def versions(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[RuleVersion]:
        """Versions of the rule, newest first. Needs the scope `read`."""
        info.context.actor.require(READ)
        span = versions_listing.span(first, after, last, before)
        store, rule_id = info.context.workspace.rules, self.stored.id
        page = await store.versions(rule_id, span)
        return versions_listing.connection(page, span, _version_of, lambda: store.count_versions(rule_id))

    @strawberry.field
    async def firings(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[RuleFiring]:
        """Firings of the rule, newest first; `ruleFirings` filters them. Needs the scope `read`."""
        info.context.actor.require(READ)
        return await firings_page(info, FiringQuery(rule_id=self.stored.id), first, after, last, before)

    @strawberry.field
    def statistics(self, info: Info, from_: FromArgument = None, to: ToArgument = None) -> RuleStatistics:
        """What the rule did in a period. Needs the scope `read`.

        A period with more than 100,000 firings is refused with `TOO_MANY`; give a shorter one.
        """
        return statistics_of(info, self.stored.id, from_, to)

    @strawberry.field
    async def warnings(self, info: Info) -> list[InputWarning]:
        """Remarks about a rule that looks like a mistake, as `createRule` returns them."""
        context = info.context

        async def read_types() -> list[str]:
            return await context.read_once(info, "event types", context.workspace.vocabulary.types)

        return warnings_of(await warn_about_rule(context.commands, self.stored.latest, read_types))


listing = Pagination[domain.Rule]("rule", (int, str), lambda rule: (to_ms(rule.created_at), rule.id))
versions_listing = Pagination[domain.RuleVersion]("rule_version", (int,), lambda version: (version.revision,))


def _version_of(version: domain.RuleVersion) -> RuleVersion:
    return RuleVersion(**content_of(version), created_at=version.at)


def rule_of(rule: domain.Rule) -> Rule:
    """Return the GraphQL object of a rule."""
    return Rule(
        **content_of(rule.latest),
        id=strawberry.ID(to_global_id("Rule", rule.id)),
        key=rule.key,
        name=rule.name,
        description=rule.description,
        created_at=rule.created_at,
        updated_at=rule.updated_at,
        stored=rule,
    )


@fetcher("Rule")
async def fetch_rule(context: RequestContext, rule_id: str) -> Rule | None:
    """Return the rule with this database id, or None."""
    rule = await context.load.rules.load(rule_id)
    return None if rule is None else rule_of(rule)


async def find_rule(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="Id of the rule.")] = None,
    key: Annotated[str | None, strawberry.argument(description="Key of the rule.")] = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Rule | None:
    """Return the rule with this id or key.

    Give exactly one of them. Null if no rule matches. Needs the scope `read`.
    """
    by_key = info.context.workspace.rules.by_key
    rule_id = await find_named_id(info, "Rule", id, key, by_key=by_key, consistency=consistency, token=token)
    return None if rule_id is None else await fetch_rule(info.context, rule_id)


async def list_rules(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    consistency: ConsistencyArgument = Consistency.EVENTUAL,
    token: TokenArgument = None,
) -> Connection[Rule]:
    """List the rules of the workspace, newest first, archived ones included. Needs the scope `read`."""
    return await list_objects(
        info,
        listing,
        listing.span(first, after, last, before),
        store=info.context.workspace.rules,
        loader=info.context.load.rules,
        object_of=rule_of,
        consistency=consistency,
        token=token,
    )
