"""Event types: built-in and defined ones, attributes of every kind, labels and staff."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given

from app.domain.errors import Code, Refused
from app.domain.events.attributes import Attribute, AttributeType, find_violations, parse_attributes
from app.domain.events.event_types import BUILT_IN, Acceptance, EventType, EventTypes
from app.domain.events.events import INTERNAL_TYPES, RECORDED_BY, TYPES, Category, EventInput
from app.domain.events.type_names import parse_type
from app.domain.events.validation import Draft, ValidationRules, fingerprint, validate_event
from tests.store.generated import json_objects

RULES = ValidationRules(datetime(2026, 1, 1, tzinfo=UTC), "USD")
HEADLINES = {"purchase", "visit", "check_in", "check_out", "redemption", "scan"}
ACTIVITIES = {
    "check_in", "check_out", "visit", "scan", "app_open", "link_click", "notification_received", "notification_opened",
    "pass_installed", "pass_uninstalled", "pass_registered", "custom", "login", "opt_in", "opt_out", "share",
    "checkout_update", "checkout_reject",
}  # fmt: skip
TRANSACTIONS = {"purchase", "refund", "payment", "charge", "credit", "checkout"}
POINTS = {"point_add", "point_sub", "gift_balance_added", "gift_balance_spent"}
OF_MUTATIONS = {
    "redemption_rollback", "points_transferred", "points_returned", "pass_confirmed", "pass_referred", "friend_referred",
}  # fmt: skip
NEEDED: dict[str, dict[str, object]] = {
    "gift_balance_added": {"amount": 5},
    "gift_balance_spent": {"amount": 5},
    "checkout_update": {"correction_of": "event_1", "amount": 5},
    "checkout_reject": {"correction_of": "event_1"},
}
FIELD_CHANGES = {"field_updated", "field_increment", "field_decrement"}


def draft(**values: object) -> Draft:
    sent = EventInput(**{"type": "purchase", "pass_id": "pass_1", **values})
    return validate_event(sent, RULES)


def test_built_in_types_have_a_category_a_label_and_a_description() -> None:
    """WH1-01, WH1-02, WH1-03, WH2-16, WH2-17, WH2-18, WH1-21: every type has a label and says what it is for."""
    recorded = HEADLINES | ACTIVITIES | TRANSACTIONS | FIELD_CHANGES | POINTS
    assert set(BUILT_IN) == set(TYPES) == recorded | OF_MUTATIONS
    assert set(RECORDED_BY) == OF_MUTATIONS
    for category, kinds in (
        (Category.TRANSACTION, TRANSACTIONS), (Category.ACTIVITY, ACTIVITIES), (Category.FIELD_CHANGE, FIELD_CHANGES),
        (Category.CUSTOM, POINTS),
    ):  # fmt: skip
        assert {TYPES[kind] for kind in kinds} == {category}
        more = {"field_name": "tier", "amount": 1} if category is Category.FIELD_CHANGE else {}
        assert {draft(type=kind, **{**more, **NEEDED.get(kind, {})}).category for kind in kinds} == {category}
    types = EventTypes("ws_1")
    assert [types.label_of(kind) for kind in ("purchase", "check_in", "lookbook")] == [
        "Purchase",
        "Check-in",
        "lookbook",
    ]
    assert len({label for label, _ in BUILT_IN.values()}) == len(BUILT_IN)
    assert all(description.endswith(".") for _, description in BUILT_IN.values())
    assert [found.key for found in types.all()] == sorted(TYPES)


def test_unknown_type_is_custom_unless_the_workspace_is_strict() -> None:
    """WH1-04: any custom type is accepted. V1-01: in a strict workspace only defined types are."""
    types = EventTypes("ws_1")
    assert draft(type="lookbook").category is Category.CUSTOM
    assert types.check(draft(type="lookbook")) == (draft(type="lookbook"), ())
    strict = replace(types, acceptance=Acceptance.STRICT)
    _, [problem] = strict.check(draft(type="lookbook"))
    assert (problem.code, problem.field) == (Code.UNKNOWN, ("type",))
    assert strict.check(draft()) == (draft(), ())
    lookbook = EventType("etype_1", "lookbook", "Lookbook", category=Category.ACTIVITY, version=3)
    with_lookbook = replace(strict, defined={"lookbook": lookbook})
    checked, problems = with_lookbook.check(draft(type="lookbook"))
    assert (checked.category, with_lookbook.version_of("lookbook"), problems) == (Category.ACTIVITY, 3, ())
    archived = replace(types, defined={"lookbook": replace(lookbook, archived=True)})
    _, [problem] = archived.check(draft(type="lookbook"))
    assert (problem.code, problem.field) == (Code.UNSUPPORTED, ("type",))


@pytest.mark.parametrize("kind", sorted(INTERNAL_TYPES))
def test_internal_types_can_neither_be_recorded_nor_defined_by_callers(kind: str) -> None:
    """A1-22, V1-14, WH1-20: Punchcard records internal events itself."""
    with pytest.raises(Refused) as refused:
        parse_type(kind, "key")
    assert [(problem.code, problem.field) for problem in refused.value.problems] == [(Code.INVALID, ("key",))]
    with pytest.raises(Refused):
        draft(type=kind)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("TEXT", ["", "x"], [1, True, [], {}]),
        ("NUMBER", [1, 1.5, -2, "12.50", "-3"], ["x", "", "1e5", "NaN", True, [], {}, " 1"]),
        ("BOOLEAN", [True, False], [0, "true", []]),
        ("DATE", ["2026-01-31"], ["2026-02-30", "31.01.2026", "2026-01-31T00:00:00Z", 20260131]),
        ("DATETIME", ["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.5+02:00"], ["2026-01-31", "2026-01-31T09:30:00", 1]),
        ("ENUM", ["S", "M"], ["L", "", 1, None, ["S"]]),
        ("OBJECT", [{}, {"a": 1}], [[], "x", 1]),
        ("LIST", [[], [1, "x"]], [{}, "x", 1]),
    ],
)  # fmt: skip
def test_value_must_have_the_type_of_its_attribute(kind: str, good: list[object], bad: list[object]) -> None:
    """A1-04, V1-02."""
    allowed = ["S", "M"] if kind == "ENUM" else []
    raw = {"name": "x", "type": kind, "required": True, "allowedValues": allowed}
    one, many = parse_attributes([raw]), parse_attributes([{**raw, "list": True}])
    for value in good:
        assert find_violations(one, {"x": value}) == ()
        assert find_violations(many, {"x": [value, value]}) == ()
        [problem] = find_violations(many, {"x": value}) if not isinstance(value, list) else [None]
        assert problem is None or problem.field == ("metadata", "x")
    for value in bad:
        [problem] = find_violations(one, {"x": value})
        assert problem.field == ("metadata", "x")
        [problem] = find_violations(many, {"x": [*good[:1], value]})
        assert problem.field == ("metadata", "x", "1")
        assert problem.code is (Code.UNKNOWN if kind == "ENUM" else Code.INVALID)


def test_attribute_names_reach_into_objects_and_lists_and_problems_have_paths() -> None:
    """A1-13: nested items. WH1-06, WH2-25: the usual keys may be defined, and none is required."""
    attributes = parse_attributes(
        [
            {"name": "items", "type": "OBJECT", "list": True},
            {"name": "items.sku", "type": "TEXT", "required": True},
            {"name": "items.quantity", "type": "NUMBER"},
            {"name": "store.city", "type": "TEXT", "required": True},
        ]
    )
    valid = {
        "items": [{"sku": "a", "quantity": 2}, {"sku": "b", "quantity": None}],
        "store": {"city": "Ulm"},
        "drink": 1,
    }
    assert find_violations(attributes, valid) == ()
    invalid = {"items": [{"sku": "a"}, {"quantity": "two"}, 7], "store": "north"}
    assert [(problem.code, ".".join(problem.field)) for problem in find_violations(attributes, invalid)] == [
        (Code.INVALID, "metadata.items.2"),
        (Code.REQUIRED, "metadata.items.1.sku"),
        (Code.REQUIRED, "metadata.items.2.sku"),
        (Code.INVALID, "metadata.items.1.quantity"),
        (Code.REQUIRED, "metadata.store.city"),
    ]
    assert len(find_violations(attributes, {"items": [{}] * 1_000})) == 20
    long = {"store": {"city": "Ulm"}, "items": [{"sku": "a"}] * 2_500}
    assert [(problem.code, problem.field) for problem in find_violations(attributes, long)] == [
        (Code.LIMIT, ("metadata",))
    ]


@given(json_objects)
def test_any_metadata_is_checked_without_an_exception(metadata: dict[str, object]) -> None:
    names = [*metadata, *(f"{name}.{name}" for name in metadata), "x"]
    for kind in AttributeType:
        attributes = [Attribute(name, kind, required=True, list=bool(n % 2)) for n, name in enumerate(names)]
        assert len(find_violations(attributes, metadata)) >= 1


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        ([{"name": "", "type": "TEXT"}], Code.INVALID, "0.name"),
        ([{"name": "a..b", "type": "TEXT"}], Code.INVALID, "0.name"),
        ([{"name": "$a", "type": "TEXT"}], Code.INVALID, "0.name"),
        ([{"name": ".".join("abcdefghijk"), "type": "TEXT"}], Code.INVALID, "0.name"),
        ([{"name": "a" * 201, "type": "TEXT"}], Code.TOO_LONG, "0.name"),
        ([{"name": "a", "type": "MONEY"}], Code.UNKNOWN, "0.type"),
        ([{"name": "a", "type": "TEXT"}, {"name": "a", "type": "NUMBER"}], Code.TAKEN, "1.name"),
        ([{"name": "a.b", "type": "TEXT"}, {"name": "a", "type": "TEXT"}], Code.INVALID, "0.name"),
        ([{"name": "a", "type": "TEXT", "allowedValues": ["x"]}], Code.INVALID, "0.allowedValues"),
        ([{"name": "a", "type": "ENUM"}], Code.REQUIRED, "0.allowedValues"),
        ([{"name": "a", "type": "ENUM", "allowedValues": ["x", ""]}], Code.INVALID, "0.allowedValues.1"),
        ([{"name": "a", "type": "ENUM", "allowedValues": ["x"] * 201}], Code.TOO_MANY, "0.allowedValues"),
        ([{"name": "a", "type": "TEXT", "description": "x" * 501}], Code.TOO_LONG, "0.description"),
        ([{"name": f"a{n}", "type": "TEXT"} for n in range(101)], Code.LIMIT, ""),
        ([{"name": f"a{n}", "type": "ENUM", "allowedValues": [f"{m}" for m in range(200)]} for n in range(6)],
         Code.LIMIT, ""),
    ],
)  # fmt: skip
def test_invalid_attribute_definition_is_rejected_with_its_path(
    raw: list[dict[str, object]], code: Code, field: str
) -> None:
    with pytest.raises(Refused) as refused:
        parse_attributes(raw, "attributes")
    [problem] = refused.value.problems
    assert (problem.code, ".".join(problem.field)) == (code, f"attributes.{field}".rstrip("."))


def test_label_and_staff_belong_to_the_fingerprint_and_leave_older_ones_unchanged() -> None:
    """WH1-05, WH2-15, WH2-19: what an event may carry. The two hashes are those of the first release."""
    full = {
        "amount": "29.30", "points": "2.50", "occurred_at": "2025-12-31T23:00:00+01:00", "external_id": "order-1",
        "source": "till", "metadata": {"b": 1, "a": [2, "x"]},
    }  # fmt: skip
    change = {
        "type": "field_updated", "category": "FIELD_CHANGE", "field_name": "tier", "old_value": "a", "new_value": "b",
        "correction_of": "event_1", "currency": "EUR",
    }  # fmt: skip
    assert fingerprint(b"secret", draft(**full), "pass_1").hex() == "9cb782c5849099cf7397cb52b1c4fc6e"
    assert fingerprint(b"secret", draft(**change), "pass_1").hex() == "e14e11a3f0a4f0e523ad02acdb8a99ff"
    variants: list[dict[str, object]] = [{}, {"label": "x"}, {"staff": "x"}, {"label": "x", "staff": "x"}]
    variants += [{"label": "staff", "staff": "x"}, {"label": "y"}]
    assert len({fingerprint(b"secret", draft(**full, **more), "pass_1") for more in variants}) == len(variants)
    for name in ("label", "staff"):
        for value, code in (("", Code.INVALID), ("x" * 256, Code.TOO_LONG), ("a\x00", Code.INVALID)):
            with pytest.raises(Refused) as refused:
                draft(**{name: value})
            assert [(problem.code, problem.field) for problem in refused.value.problems] == [(code, (name,))]
