"""What tokens for one pass may reach: an allow-list of fields, arguments and inputs of the schema.

What is not listed is forbidden. For each type that a token can reach, `FORBIDDEN` names the other fields. So the contract
test fails for a new field until its author decides (tests/contracts/test_token_access.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.pass_tokens import PassTokenScope


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALLOWED: Mapping[str, frozenset[str]] = {
    "Query": _names("pass node nodes event rateLimit"),
    "Mutation": _names("recordEvent redeemReward"),
    "Subscription": _names("activity"),
    "Pass": _names(
        "id externalId holder fields status pointsBalance kind currency giftBalance tier installedAt createdAt updatedAt"
        " events activity statistics consents tierStatus points rewards redemptions pointsExpiring memberships"
    ),
    "PassHolder": _names("name email phone"),
    "PassStatistics": _names("eventCount firstEventAt lastEventAt byType spend"),
    "TypeStatistics": _names("type category currency count sum average min max firstAt lastAt"),
    "Spend": _names("currency gross refunded net orders"),
    "Consent": _names("key given since"),
    "PassTier": _names("key name since until progress"),
    "TierProgress": _names("nextTier remaining"),
    "TierRemaining": _names("measure needed"),
    "PassPoints": _names("balance pending earnedTotal spentTotal transferredTotal expiredTotal expiring"),
    "PointsExpiring": _names("points expiresAt"),
    "PassReward": _names("reward available reasons"),
    "Reward": _names("id key name description pointsCost status active"),
    "FixedWindowCriteria": _names("from to"),
    "Redemption": _names("id rewardKey quantity status reasons pointsSpent balanceAfter code event reward"),
    "RedemptionReason": _names("code message"),
    "Membership": _names("id since pass segment"),
    "Segment": _names("id key name"),
    "Event": _names(
        "id category type amount currency points pointsExpireAt pointsExpireAfterDays fieldName oldValue newValue externalId"
        " metadata occurredAt recordedAt performedAt outcome label pass correctionOf pointsEarned"
    ),
    "EventOutcome": _names("status reasons amount returned"),
    "DeclineReason": _names("code message"),
    "Activity": _names("id type category occurredAt recordedAt passSequence cursor data pass"),
    "Heartbeat": _names("cursor"),
    "Lagged": _names("cursor"),
    "CursorExpired": _names("oldestCursor"),
    **{f"{name}Connection": _names("edges pageInfo nodes totalCount") for name in ("Event", "Activity")},
    **{f"{name}Connection": _names("edges pageInfo nodes totalCount") for name in ("Membership", "Redemption")},
    **{f"{name}Edge": _names("cursor node") for name in ("Event", "Activity", "Membership", "Redemption")},
    "PageInfo": _names("hasNextPage hasPreviousPage startCursor endCursor"),
    "RecordEventPayload": _names("event status folded userErrors pass late warnings"),
    "RedeemRewardPayload": _names("redemption userErrors"),
    "UserError": _names("code message field"),
    "Warning": _names("code message field"),
    "RateLimit": _names("limit remaining resetAt cost"),
}
"""Fields that a token may select, by type."""

FORBIDDEN: Mapping[str, frozenset[str]] = {
    "Pass": _names("metadata fieldProblems membershipHistory"),
    "Consent": _names("source eventId"),
    "Reward": _names(
        "version criteria limits timezone codePattern metadata createdAt updatedAt versions unitsLeft warnings"
    ),
    "Membership": _names("cause explanation until heldSince"),
    "MembershipConnection": _names("computedThrough freshness"),
    "PassStatistics": _names("freshness"),
    "Event": _names("source origin definitionVersion effects activities"),
    "Activity": _names("sequence cause correctionOf"),
    "Lagged": _names("behind"),
    "RecordEventPayload": _names("receipt"),
    "RedeemRewardPayload": _names("receipt"),
}
"""Fields that were considered and that no token may select, by type."""

CLOSED = frozenset({"Query", "Mutation", "Subscription", "Segment"})
"""Types of which no further field will be allowed, so that `FORBIDDEN` does not name their other fields."""

_PAGING = "first after last before"
ARGUMENTS: Mapping[str, frozenset[str]] = {
    "Query.pass": _names("id externalId"),
    "Query.node": _names("id"),
    "Query.nodes": _names("ids"),
    "Query.event": _names("id"),
    "Mutation.recordEvent": _names("input"),
    "Mutation.redeemReward": _names("input"),
    "Subscription.activity": _names("filter after first"),
    "Pass.events": _names(f"filter orderBy {_PAGING}"),
    "Pass.activity": _names(f"filter orderBy {_PAGING}"),
    "Pass.statistics": _names("types timeWindow timezone from to"),
    "Pass.redemptions": _names(_PAGING),
    "Pass.memberships": _names(_PAGING),
    "Pass.pointsExpiring": _names("first"),
    "PassPoints.expiring": _names("first"),
}
"""Arguments that a token may give, by field. Any other argument must be left out, or have its default."""

INPUTS: Mapping[str, frozenset[str]] = {
    "EventFilter": _names(
        "passId categories types currency occurredAfter occurredBefore recordedAfter recordedBefore amountMin amountMax"
    ),
    "ActivityFilter": _names("passId types category occurredAfter occurredBefore eventTypes includeHistorical"),
    "TimeWindow": _names("calendar rolling allTime"),
    "RollingTimeWindow": _names("days hours"),
    "RecordEventInput": _names("passId type metadata externalId label"),
    "RedeemRewardInput": _names("passId rewardKey quantity externalId metadata validateOnly waitSeconds"),
}
"""Fields of inputs that a token may give, by input type. `passId` must name the pass of the token.

Conditions on metadata are not among them: a count would reveal the metadata that Punchcard itself writes.
"""

NEEDED_SCOPES: Mapping[str, PassTokenScope] = {
    "Mutation.recordEvent": PassTokenScope.RECORD,
    "Mutation.redeemReward": PassTokenScope.REDEEM,
}
"""Scope of the token that a field needs beside that of the kind of operation."""


def is_allowed(type_name: str, field_name: str) -> bool:
    """Return whether tokens may select a field. Fields of introspection are allowed."""
    return (
        field_name.startswith("__") or type_name.startswith("__") or field_name in ALLOWED.get(type_name, frozenset())
    )
