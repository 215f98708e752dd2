"""Criteria on the pass itself: values compare within the kind of the field, and values of another kind are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain.errors import Code, Refused
from app.domain.passes.consents import Consent
from app.domain.passes.passes import Pass, Profile
from app.domain.segments.evaluation import EvaluationContext, evaluate, measured_value
from app.domain.segments.parsing import parse_criteria

CREATED = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC)
PROFILE = Profile(
    holder={"name": "Ann", "email": "ann@example.com"},
    fields={"size": 42, "level": "42", "visits": [1, 5, "x"], "utm.source": "mail", "w": 72.1234567},
    metadata={"items": [{"sku": "a"}, {"sku": "b"}]},
    consents={"news": Consent(True, 1, "e1"), "sms": Consent(False, 2, "e2")},
)


def context(**changes: object) -> EvaluationContext:
    card = Pass(
        id="p", workspace_id="w", external_id="ann", initial_profile=PROFILE, profile=PROFILE, installed_at=None,
        created_at=CREATED, updated_at=CREATED, evaluated_until_ms=0,
    )  # fmt: skip
    values = {"points": Decimal("123456789012345.123456"), **changes}
    return EvaluationContext(
        at_ms=0, states={}, members={}, card=card, profile=PROFILE, joined_ms=0, **values,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("fields.size", "GT", 41.5, True),
        ("fields.size", "EQ", "42", False),
        ("fields.level", "EQ", "42", True),
        ("fields.level", "GT", 41, False),
        ("fields.visits", "GT", 4, True),
        ("fields.visits", "EQ", "x", True),
        ("fields.visits", "NE", "x", False),
        ("fields.visits.1", "EQ", 5, True),
        ("fields.utm.source", "EQ", "mail", True),
        ("fields.w", "EQ", 72.1234567, True),
        ("fields.absent", "NE", 1, True),
        ("fields.absent", "LT", 1, False),
        ("metadata.items.sku", "EQ", "b", True),
        ("metadata.items.0.sku", "EQ", "b", False),
        ("holder.email", "CONTAINS", "@example", True),
        ("holder.phone", "NOT_EXISTS", None, True),
        ("pointsBalance", "EQ", "123456789012345.123456", True),
        ("pointsBalance", "GT", Decimal("123456789012345.123455"), True),
        ("pointsBalance", "IN", [1, "123456789012345.123456"], True),
        ("pointsBalance", "NE", 1, True),
        ("createdAt", "EQ", "2026-01-02T04:04:05.006+01:00", True),
        ("createdAt", "LT", "2026-01-02T03:04:05.006Z", False),
        ("createdAt", "IN", ["2026-01-02T03:04:05.006Z"], True),
        ("installedAt", "GT", "2026-01-02T03:04:05.006Z", False),
        ("installedAt", "NE", "2026-01-02T03:04:05.006Z", True),
        ("installedAt", "NOT_EXISTS", None, True),
        ("status", "IN", ["ACTIVE", "EXPIRED"], True),
        ("externalId", "GTE", "ann", True),
        ("kind", "EQ", "LOYALTY_CARD", True),
        ("kind", "NE", "GIFT_CARD", True),
        ("consent.news", "EQ", True, True),
        ("consent.news", "NE", True, False),
        ("consent.sms", "EQ", False, True),
        ("consent.sms", "EQ", True, False),
        ("consent.sms", "EXISTS", None, True),
        ("consent.push", "EQ", False, False),
        ("consent.push", "NE", True, True),
        ("consent.push", "NOT_EXISTS", None, True),
    ],
)
def test_fields_of_the_pass_compare_within_their_kind(field: str, operator: str, value: object, expected: bool) -> None:
    criteria = parse_criteria({"pass": {"field": field, "operator": operator, "value": value}}, "EUR")
    assert evaluate(criteria, context()) is expected
    assert parse_criteria(criteria.to_dict(), "EUR", stored_meaning=2) == criteria


def test_values_of_a_list_are_reported_together() -> None:
    criteria = parse_criteria({"pass": {"field": "fields.visits", "value": 5}}, "EUR")
    assert measured_value(criteria, context()) == "1, 5, x"


@pytest.mark.parametrize(
    ("field", "operator", "value", "code", "path"),
    [
        ("createdAt", "LTE", "-365d", Code.INVALID, "value"),
        ("createdAt", "EQ", "today", Code.INVALID, "value"),
        ("installedAt", "GT", 1_767_225_600, Code.INVALID, "value"),
        ("updatedAt", "IN", ["2026-01-01T00:00:00Z", "2026-01-02"], Code.INVALID, "value.1"),
        ("createdAt", "CONTAINS", "2026", Code.UNSUPPORTED, "operator"),
        ("pointsBalance", "GT", "many", Code.INVALID, "value"),
        ("pointsBalance", "EQ", True, Code.INVALID, "value"),
        ("pointsBalance", "IN", [1, "x"], Code.INVALID, "value.1"),
        ("pointsBalance", "CONTAINS", "1", Code.UNSUPPORTED, "operator"),
        ("status", "EQ", "GONE", Code.UNKNOWN, "value"),
        ("status", "NE", "active", Code.UNKNOWN, "value"),
        ("status", "IN", ["ACTIVE", 5], Code.UNKNOWN, "value.1"),
        ("externalId", "EQ", 4711, Code.INVALID, "value"),
        ("holder.email", "GT", 5, Code.INVALID, "value"),
        ("holder.address", "EQ", "x", Code.UNKNOWN, "field"),
        ("fields.$where", "EQ", "x", Code.INVALID, "field"),
        ("metadata...", "EQ", "x", Code.INVALID, "field"),
        ("tiers", "EQ", "x", Code.UNKNOWN, "field"),
        ("kind", "EQ", "VOUCHER", Code.UNKNOWN, "value"),
        ("consent.news", "EQ", "GIVEN", Code.INVALID, "value"),
        ("consent.news", "IN", [True, 1], Code.INVALID, "value.1"),
        ("consent.", "EQ", True, Code.UNKNOWN, "field"),
    ],
)
def test_value_that_no_field_can_have_is_refused(
    field: str, operator: str, value: object, code: Code, path: str
) -> None:
    with pytest.raises(Refused) as refused:
        parse_criteria({"pass": {"field": field, "operator": operator, "value": value}}, "EUR", "criteria")
    [problem] = refused.value.problems
    assert (problem.code, ".".join(problem.field)) == (code, f"criteria.pass.{path}")


def test_stored_criterion_that_would_be_refused_today_is_read() -> None:
    stored = {"pass": {"field": "createdAt", "operator": "LTE", "value": "-365d"}}
    assert evaluate(parse_criteria(stored, "EUR", stored_meaning=1), context()) is False
