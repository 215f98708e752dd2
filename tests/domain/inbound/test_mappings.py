"""Mappings from JSON messages of other systems to events (A1-17), and the problems they report."""

from __future__ import annotations

import contextlib
import json
import random
import tracemalloc
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import InvalidInput, Refused
from app.domain.events.events import EventInput
from app.domain.events.validation import ValidationRules, validate_event
from app.domain.inbound.mappings import FIELDS, EventMapping, decode_body, mapping_from_json, parse_mapping
from app.domain.inbound.metadata_room import MAX_METADATA_CHARACTERS
from tests.processor_time import spending_at_most

SHOP_ORDER = {
    "items": "line_items",
    "when": [{"path": "$body.financial_status", "operator": "IN", "value": ["paid", "partially_refunded"]}],
    "fields": {
        "passExternalId": {"path": ["$body.customer.id", "$body.email"]},
        "type": {"value": "purchase"},
        "amount": "price",
        "currency": "$body.currency",
        "occurredAt": "$body.processed_at",
        "externalId": {"template": "{$body.id}/{id}"},
    },
    "metadata": {"sku": "sku", "shop": "$headers.x-shopify-shop-domain", "tag": "$body.tags.0"},
}
GOOGLE_WALLET = {
    "items": "signedMessage",
    "fields": {
        "passExternalId": "objectId",
        "type": {"path": "eventType", "map": {"save": "pass_installed", "del": "pass_uninstalled"}},
        "externalId": "nonce",
        "occurredAt": {"path": "$body.receivedTimeMillis", "format": "UNIX_MILLISECONDS"},
    },
    "metadata": {"classId": "classId"},
}
CRM_CHANGE = {
    "items": "$body",
    "when": [{"path": "subscriptionType", "operator": "EQ", "value": "contact.propertyChange"}],
    "fields": {
        "passExternalId": "objectId",
        "type": {"value": "field_updated"},
        "fieldName": "propertyName",
        "newValue": "propertyValue",
        "externalId": "eventId",
        "occurredAt": {"path": "occurredAt", "format": "UNIX_MILLISECONDS"},
    },
}
CARD_PAYMENT = {
    "when": [{"path": "type", "operator": "IN", "value": ["charge.succeeded", "charge.refunded"]}],
    "fields": {
        "passExternalId": "data.object.customer",
        "type": {"path": "type", "map": {"charge.succeeded": "payment", "charge.refunded": "refund"}},
        "amount": {"path": "data.object.amount", "scale": 2},
        "currency": "data.object.currency",
        "occurredAt": {"path": "created", "format": "UNIX_SECONDS"},
        "externalId": "id",
    },
    "metadata": "data.object.metadata",
}


SALE_LINES: dict[str, object] = {"items": "l", "fields": {"passExternalId": "who", "type": {"value": "visit"}}}


def map_body(mapping: object, body: object, **headers: str) -> list[Any]:
    """Return for each item its event, its problems as (code, field), or None if the mapping ignores the item."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    items = parse_mapping(mapping).map_items(decode_body(raw), sent, "message")
    return [item.event or [(p.code.value, p.field) for p in item.problems] or None for item in items]


def map_fields(fields: Mapping[str, object], body: object, **more: object) -> Any:
    """Map one body with these fields and the required ones, and return the event or its problems."""
    mapping = {"fields": {"passExternalId": "who", "type": {"value": "visit"}, **fields}, **more}
    [found] = map_body(mapping, body if isinstance(body, bytes) else {"who": "ann", **body})  # type: ignore[dict-item]
    return found


def problems_of(mapping: object) -> list[tuple[str, str]]:
    """Return (code, path) of each problem of a mapping."""
    with pytest.raises(Refused) as caught:
        parse_mapping(mapping, "mapping")
    return [(problem.code.value, ".".join(problem.field)) for problem in caught.value.problems]


def test_items_of_a_shop_order_become_purchases() -> None:
    order = b"""{"id": 820982911946154508, "email": "jo@example.com", "currency": "eur", "financial_status": "paid",
      "processed_at": "2026-01-05T11:00:00+01:00", "customer": {"id": 115310627314723954}, "tags": ["spring"],
      "line_items": [{"id": 1, "price": "29.30", "sku": "A"}, {"id": 2, "price": 12.10, "sku": ""}]}"""
    first, second = map_body(SHOP_ORDER, order, x_shopify_shop_domain="kiosk.example")
    assert first == EventInput(
        type="purchase",
        pass_external_id="115310627314723954",
        amount=Decimal("29.30"),
        currency="EUR",
        occurred_at="2026-01-05T11:00:00+01:00",
        external_id="820982911946154508/1",
        metadata={"sku": "A", "shop": "kiosk.example", "tag": "spring"},
    )
    # The amount keeps its digits although it was sent as a number, and an empty text counts as absent.
    assert second.amount == Decimal("12.10")
    assert str(second.amount) == "12.10"
    assert second.metadata == {"shop": "kiosk.example", "tag": "spring"}
    assert map_body(SHOP_ORDER, order.replace(b'"paid"', b'"pending"')) == [None, None]
    [guest] = map_body(SHOP_ORDER, {**json.loads(order), "customer": None, "line_items": [{"id": 3, "price": "1"}]})
    assert guest.pass_external_id == "jo@example.com"


def test_callback_of_google_wallet_is_identified_by_its_nonce() -> None:
    """The message is JSON inside a text, as Google signs it."""
    message = {"classId": "issuer.gold", "objectId": "issuer.ann", "eventType": "save", "nonce": "f0a1"}
    body = {"signedMessage": json.dumps(message), "receivedTimeMillis": 1_767_225_600_123}
    assert map_body(GOOGLE_WALLET, body) == [
        EventInput(
            type="pass_installed",
            pass_external_id="issuer.ann",
            external_id="f0a1",
            occurred_at=datetime(2026, 1, 1, 0, 0, 0, 123_000, UTC),
            metadata={"classId": "issuer.gold"},
        )
    ]
    [removed] = map_body(GOOGLE_WALLET, {**body, "signedMessage": json.dumps({**message, "eventType": "del"})})
    assert removed.type == "pass_uninstalled"
    other = {**body, "signedMessage": json.dumps({**message, "eventType": "peek", "nonce": ""})}
    assert map_body(GOOGLE_WALLET, other) == [[("REQUIRED", ("externalId",)), ("UNKNOWN", ("type",))]]


def test_changes_reported_by_a_crm_become_field_changes() -> None:
    """A1-19: the messages of a CRM about its contacts become events without a program in between."""
    change = {
        "subscriptionType": "contact.propertyChange", "objectId": 1246965, "eventId": 3816279340,
        "propertyName": "city", "propertyValue": "Bern", "occurredAt": 1_767_225_600_000,
    }  # fmt: skip
    created = {**change, "subscriptionType": "contact.creation", "eventId": 3816279341}
    event, ignored = map_body(CRM_CHANGE, [change, created])
    assert ignored is None
    assert (event.type, event.pass_external_id, event.field_name, event.new_value) == (
        "field_updated", "1246965", "city", "Bern",
    )  # fmt: skip
    assert (event.external_id, event.occurred_at) == ("3816279340", datetime(2026, 1, 1, tzinfo=UTC))


def test_amounts_in_minor_units_and_unix_times_are_exact() -> None:
    charge = {"customer": "ann", "amount": 2930, "currency": "usd", "metadata": {"order": 7, "rate": 0.5}}
    body = {"id": "evt_1", "type": "charge.refunded", "created": 1_767_225_600, "data": {"object": charge}}
    [event] = map_body(CARD_PAYMENT, body)
    assert (event.type, event.amount, event.currency) == ("refund", Decimal("29.30"), "USD")
    assert event.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert event.metadata == {"order": 7, "rate": 0.5}
    assert map_body(CARD_PAYMENT, {**body, "type": "customer.created"}) == [None]


def test_event_without_mapped_external_id_is_identified_by_message_and_index() -> None:
    mapping = {"items": "$body", "fields": {"passExternalId": "who", "type": {"value": "visit"}}}
    first, second = map_body(mapping, [{"who": "ann"}, {"who": 7}])
    assert (first.external_id, second.external_id) == ("message.0", "message.1")
    assert second.pass_external_id == "7"
    parsed = parse_mapping(mapping)
    [only] = parsed.map_items([{"who": "ann"}, {"who": "bob"}], {}, "message", only=[1, 9])
    assert (only.index, only.event and only.event.external_id) == (1, "message.1")


@pytest.mark.parametrize(
    ("fields", "body", "problems"),
    [
        ({"amount": "x"}, {"x": "a lot"}, [("INVALID", ("amount",))]),
        ({"amount": "x"}, {"x": True}, [("INVALID", ("amount",))]),
        ({"amount": "x"}, b'{"who": "ann", "x": 1e999999}', [("OUT_OF_RANGE", ("amount",))]),
        ({"externalId": "x"}, b'{"who": "ann", "x": 1e999999}', [("OUT_OF_RANGE", ("externalId",))]),
        ({"externalId": "x"}, {}, [("REQUIRED", ("externalId",))]),
        ({"externalId": "x"}, {"x": [1]}, [("INVALID", ("externalId",))]),
        ({"occurredAt": "x"}, {"x": ""}, [("REQUIRED", ("occurredAt",))]),
        ({"occurredAt": {"path": "x", "format": "UNIX_SECONDS"}}, {"x": 10**14}, [("OUT_OF_RANGE", ("occurredAt",))]),
        ({"occurredAt": {"path": "x", "format": "UNIX_SECONDS"}}, {"x": "now"}, [("INVALID", ("occurredAt",))]),
        ({"type": {"path": "x", "map": {"a": "visit"}}}, {"x": "b"}, [("UNKNOWN", ("type",))]),
        ({"type": "x", "passExternalId": "y"}, {"x": {}}, [("REQUIRED", ("passExternalId",)), ("INVALID", ("type",))]),
    ],
)
def test_value_that_cannot_be_mapped_is_reported_with_its_field(
    fields: dict[str, object], body: object, problems: list[object]
) -> None:
    assert map_fields(fields, body) == problems


def test_absent_values_take_defaults_or_stay_absent() -> None:
    event = map_fields({"amount": "none", "points": {"path": "none", "default": 5}, "label": "none"}, {})
    assert (event.amount, event.points) == (None, Decimal(5))
    assert map_fields({"type": {"path": "x", "map": {"a": "scan"}, "default": "custom"}}, {"x": "b"}).type == "custom"
    assert map_fields({"type": {"template": "shop_{x}.{y}"}}, {"x": True, "y": 2}).type == "shop_true.2"
    assert map_fields({}, {"x": 1}, metadata="$item").metadata == {"who": "ann", "x": 1}


@pytest.mark.parametrize(("currency", "amount"), [
    ("usd", "29.30"), ("JPY", "2930"), ("bhd", "2.930"), ("CLF", "0.2930"), ("KRW", "2930"), ("HUF", "29.30"),
])  # fmt: skip
def test_amount_in_minor_units_follows_its_currency(currency: str, amount: str) -> None:
    fields = {"amount": {"path": "cents", "scale": "currency"}, "currency": {"path": "code", "default": "EUR"}}
    found = map_fields(fields, {"cents": 2930, "code": currency})
    assert (str(found.amount), found.currency) == (amount, currency.upper())
    assert str(map_fields(fields, {"cents": 2930}).amount) == "29.30"
    # `default` and `map` of the amount are in minor units, too.
    assert str(map_fields(fields | {"amount": {"path": "x", "default": 80, "scale": "currency"}}, {}).amount) == "0.80"


@pytest.mark.parametrize(("code", "problem"), [
    ("XAU", ("UNSUPPORTED", ("amount",))), ("euro", ("UNKNOWN", ("currency",))), (None, ("REQUIRED", ("amount",))),
])  # fmt: skip
def test_amount_in_minor_units_of_no_known_currency_fails(
    code: str | None, problem: tuple[str, tuple[str, ...]]
) -> None:
    fields = {"amount": {"path": "cents", "scale": "currency"}, "currency": "code"}
    assert map_fields(fields, {"cents": 2930, "code": code}) == [problem]


@pytest.mark.parametrize(("sent", "places", "amount"), [
    (b"0.30000000000000004", b"2", "0.30"),
    (b'"12.345"', b"2", "12.34"),
    (b"12.355", b"2", "12.36"),
    (b"-0.001", b"2", "0.00"),
    (b"7", b"0", "7"),
    (b"1e-9", b"6", "0.000000"),
    (b"80.4", b'"currency"', "80"),
])  # fmt: skip
def test_amount_of_a_binary_float_is_rounded_if_the_mapping_says_so(sent: bytes, places: bytes, amount: str) -> None:
    fields = {"amount": {"path": "paid", "round": json.loads(places)}, "currency": {"value": "JPY"}}
    assert str(map_fields(fields, b'{"who": "ann", "paid": %s}' % sent).amount) == amount


def test_amount_that_is_not_rounded_keeps_its_problem() -> None:
    rounded = {"amount": {"path": "paid", "round": 2, "scale": 2}}
    for sent, code in ((b'"a lot"', "INVALID"), (b"1e40", "OUT_OF_RANGE"), (b"true", "INVALID"), (b"[1]", "INVALID")):
        assert map_fields(rounded, b'{"who": "ann", "paid": %s}' % sent) == [(code, ("amount",))]
    assert map_fields({"amount": "paid"}, b'{"who": "ann", "paid": 0.30000000000000004}') == [("TOO_LONG", ("amount",))]


def test_numbers_of_the_metadata_that_would_lose_digits_become_texts() -> None:
    numbers = b"[9007199254740992, 1.5, 0.12345678901234567890]"
    body = b'{"who": "ann", "extra": {"order_id": 1152921506151679042, "n": %s}}' % numbers
    kept = {"order_id": "1152921506151679042", "n": [9_007_199_254_740_992, 1.5, "0.12345678901234567890"]}
    assert map_fields({}, body, metadata="extra").metadata == kept
    assert map_fields({}, body, metadata={"id": "extra.order_id"}).metadata == {"id": "1152921506151679042"}
    assert map_fields({}, b'{"who": "ann", "extra": {"a": 1e999999}}', metadata="extra").metadata == {"a": "1E+999999"}


LONG_NUMBERS = {"d": Decimal("0." + "9" * 50_000), "i": 10**4_200, "ds": [Decimal("0.1234567890123456789")] * 1_600}
BOMB = {"b": "x" * 50_000, "n": [[0] * 100] * 160, **LONG_NUMBERS, "l": [{"who": "ann"}] * 1_000}


@pytest.mark.parametrize("more", [
    {"metadata": {f"m{number}": {"template": "{$body.b}" * 28} for number in range(50)}},
    {"metadata": {f"m{number}": "$body.b" for number in range(50)}},
    {"metadata": {f"m{number}": "$body.n" for number in range(50)}},
    {"metadata": {f"m{number}": "$body.d" for number in range(50)}},
    {"metadata": {f"m{number}": "$body.i" for number in range(50)}},
    {"metadata": {f"m{number}": "$body.ds" for number in range(50)}},
    {"metadata": "$body"},
    {"fields": {"label": {"template": "{$body.b}" * 28}}},
    {"fields": {"currency": "$body.b"}},
    {"fields": {"newValue": {"template": "{$body.b}{$body.b}"}}},
])  # fmt: skip
def test_mapping_that_multiplies_a_value_of_the_body_costs_little(more: dict[str, Any]) -> None:
    fields = {"passExternalId": "who", "type": {"value": "visit"}, **more.get("fields", {})}
    mapping = parse_mapping({"items": "l", **more, "fields": fields})
    # While memory is traced, the mapping takes five times as long.
    with spending_at_most(0.5):
        mapping.map_items(BOMB, {}, "message")
    tracemalloc.start()
    items = mapping.map_items(BOMB, {}, "message")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {problem.code.value for item in items for problem in item.problems} == {"TOO_LONG"}
    assert all(item.problems for item in items)
    assert peak_bytes < 5_000_000


def test_conditions_on_the_body_are_tested_once_for_all_items() -> None:
    when = [{"path": "$body.many.x", "operator": "NE", "value": n} for n in range(2, 22)]
    mapping = parse_mapping({"items": "l", "when": when, "fields": {"passExternalId": "p", "type": "t"}})
    body: dict[str, list[Any]] = {"many": [{"x": 1}] * 50_000, "l": [{"p": "ann", "t": "visit"}] * 1_000}
    with spending_at_most(5):
        assert len([item for item in mapping.map_items(body, {}, "m") if item.event]) == 1_000
    body["many"].append({"x": 5})
    assert not any(item.event or item.problems for item in mapping.map_items(body, {}, "m"))


def test_metadata_of_all_items_of_a_message_is_bounded() -> None:
    mapping = parse_mapping({**SALE_LINES, "metadata": "$body.order"})
    body = {"order": {"note": "x" * 30_000}, "l": [{"who": "ann"}] * 1_000}
    items = mapping.map_items(body, {}, "message")
    mapped = [item.index for item in items if item.event is not None]
    assert mapped == list(range(len(mapped)))
    assert len(mapped) * 30_000 < MAX_METADATA_CHARACTERS < (len(mapped) + 2) * 30_100
    # A rerun goes on with the items that are left.
    rest = mapping.map_items(body, {}, "message", only=range(len(mapped), 1_000))
    assert rest[0].event is not None


def test_metadata_of_an_item_may_be_as_large_as_the_workspace_accepts() -> None:
    mapping = parse_mapping({**SALE_LINES, "metadata": {"a": "$body.b", "c": "$body.b"}})
    body = {"b": "x" * 20_000, "l": [{"who": "ann"}]}
    assert mapping.map_items(body, {}, "message")[0].problems[0].code.value == "TOO_LONG"
    [item] = mapping.map_items(body, {}, "message", metadata_bytes=50_000)
    assert item.event is not None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"1e99999999999999999999"])
def test_body_that_is_not_json_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_body(body)


@pytest.mark.parametrize("body", [{}, {"lines": 7}, {"lines": "not json"}, {"lines": [0] * 1_001}])
def test_body_without_items_is_rejected_at_items(body: object) -> None:
    mapping = parse_mapping({"items": "lines", "fields": {"passExternalId": "a", "type": "b"}})
    with pytest.raises(InvalidInput) as caught:
        mapping.map_items(body, {}, "message")
    assert caught.value.problems[0].field == ("items",)


def test_invalid_part_of_a_mapping_is_reported_with_its_path() -> None:
    assert problems_of("x") == [("INVALID", "mapping")]
    assert problems_of({}) == [("REQUIRED", "mapping.fields")]
    fields = {"passExternalId": "a", "type": {"value": "visit"}}
    assert problems_of({"field": {}, "fields": fields}) == [("UNKNOWN", "mapping.field")]
    assert problems_of({"fields": {"type": "a"}}) == [("REQUIRED", "mapping.fields.passExternalId")]
    for part, code, path in (
        ({"nothing": "a"}, "UNKNOWN", "nothing"),
        ({"amount": 7}, "INVALID", "amount"),
        ({"amount": {"path": "a", "value": 1}}, "REQUIRED", "amount"),
        ({"amount": {"path": "a", "code": "1"}}, "UNKNOWN", "amount.code"),
        ({"amount": {"path": "a", "scale": 7}}, "OUT_OF_RANGE", "amount.scale"),
        ({"amount": {"path": "a", "scale": "euro"}}, "OUT_OF_RANGE", "amount.scale"),
        ({"points": {"path": "a", "scale": "currency"}}, "OUT_OF_RANGE", "points.scale"),
        ({"amount": {"path": "a", "scale": "currency"}}, "REQUIRED", "currency"),
        ({"amount": {"path": "a", "round": "currency"}}, "REQUIRED", "currency"),
        ({"amount": {"path": "a", "round": True}}, "OUT_OF_RANGE", "amount.round"),
        ({"label": {"path": "a", "round": 2}}, "UNSUPPORTED", "label.round"),
        ({"externalId": {"path": "a", "scale": 2}}, "UNSUPPORTED", "externalId.scale"),
        ({"amount": {"path": "a", "format": "RFC3339"}}, "UNSUPPORTED", "amount.format"),
        ({"occurredAt": {"path": "a", "format": "dd.mm"}}, "UNKNOWN", "occurredAt.format"),
        ({"type": {"path": "a", "map": {}}}, "INVALID", "type.map"),
        ({"type": {"path": "a", "map": {"b": []}}}, "INVALID", "type.map.b"),
        ({"type": {"template": "plain"}}, "INVALID", "type.template"),
        ({"type": {"template": "{a}}"}}, "INVALID", "type.template"),
        ({"type": {"template": "{a..b}"}}, "INVALID", "type.template"),
        ({"type": "a..b"}, "INVALID", "type"),
        ({"type": "$where.b"}, "UNKNOWN", "type"),
        ({"type": {"path": ["a"] * 7}}, "TOO_MANY", "type.path"),
        ({"type": ".".join("a" * 21)}, "TOO_MANY", "type"),
        # Otherwise a sender could repeat a signed body with another header and create another event.
        ({"externalId": "$headers.x-id"}, "UNSUPPORTED", "externalId"),
        ({"externalId": {"template": "{$headers.x-id}-{a}"}}, "UNSUPPORTED", "externalId.template"),
    ):
        assert problems_of({"fields": {**fields, **part}}) == [(code, f"mapping.fields.{path}")]
    for more, code, path in (
        ({"items": "$headers"}, "INVALID", "items"),
        ({"when": {}}, "INVALID", "when"),
        ({"when": [{"path": "a", "operator": "LIKE"}]}, "UNKNOWN", "when.0.operator"),
        ({"when": [{"path": "a..b", "value": 1}]}, "INVALID", "when.0.path"),
        ({"when": [{"path": "$headers.x-version", "operator": "GTE", "value": 2}]}, "INVALID", "when.0.value"),
        ({"when": [{"path": "a", "operator": "CONTAINS", "value": "x" * 1_001}]}, "TOO_LONG", "when.0.value"),
        ({"metadata": 7}, "INVALID", "metadata"),
        ({"metadata": {"x": {"value": []}}}, "INVALID", "metadata.x.value"),
    ):
        assert problems_of({"fields": fields, **more}) == [(code, f"mapping.{path}")]


@pytest.mark.parametrize("mapping", [SHOP_ORDER, GOOGLE_WALLET, CARD_PAYMENT])
def test_stored_mapping_equals_the_parsed_one(mapping: dict[str, object]) -> None:
    parsed: EventMapping = parse_mapping(mapping)
    assert mapping_from_json(parsed.text) == parsed
    assert json.loads(parsed.text) == mapping


WORDS = """path value template map default scale round format passExternalId type amount currency occurredAt externalId
    points a b a.b $item $body.a $headers.x {a}-{b.0} UNIX_SECONDS EQ operator items when fields metadata""".split()
ODD = ("", "\ud800", "\x00", "x" * 300, None, True, 0, 2, -1, 10**40, 1.5, Decimal("1E+999999"), "29.30", "-0", "NaN")


def test_random_mappings_and_bodies_are_mapped_or_rejected_without_an_exception() -> None:
    """4,000 mappings consist of valid words at random paths; each meets a random body."""
    chance = random.Random(20_260_101)

    def random_value(depth: int, words: Sequence[str] = WORDS) -> Any:
        match chance.randrange(6 if depth else 3):
            case 0 | 1:
                return chance.choice(words)
            case 2:
                return chance.choice(ODD)
            case 3:
                return [random_value(depth - 1, words) for _ in range(chance.randrange(3))]
        return {chance.choice(words): random_value(depth - 1, words) for _ in range(chance.randrange(4))}

    def random_source() -> Any:
        kind = chance.choice(("path", "value", "template", "path"))
        options = {name: random_value(1) for name in chance.sample(("map", "default", "scale", "round", "format"), 1)}
        return chance.choice(("a", "b", "$body.a.b", {kind: random_value(1)}, {kind: "a", **options}, random_value(2)))

    accepted = 0
    for _ in range(4_000):
        names = ("passExternalId", "type", *chance.sample(list(FIELDS), 3))
        mapping = {"fields": {name: random_source() for name in names}}
        mapping |= {
            name: random_value(2) for name in chance.sample(("items", "when", "metadata", "x"), chance.randrange(2))
        }
        try:
            parsed = parse_mapping(mapping)
        except Refused:
            continue
        accepted += 1
        with contextlib.suppress(Refused):
            body = random_value(3, ("a", "b", "7", "29.30"))
            parsed.find_pass_external_ids(body, {})
            for item in parsed.map_items(body, {"x": "y"}, "message"):
                with contextlib.suppress(Refused):
                    if item.event is not None:
                        validate_event(item.event, ValidationRules(datetime(2026, 1, 1, tzinfo=UTC), "EUR"))
    assert accepted > 300


@pytest.mark.parametrize(
    ("condition", "body", "is_mapped"),
    [
        ({"path": "n", "value": 0.1}, {"n": Decimal("0.10")}, True),
        ({"path": "n", "operator": "GT", "value": 9}, {"n": "10"}, False),
        ({"path": "n", "value": "10"}, {"n": 10}, False),
        ({"path": "n", "value": "1152921506151679042"}, {"n": 1152921506151679042}, True),
        ({"path": "n", "operator": "EXISTS"}, {"n": ""}, True),
        ({"path": "n", "operator": "NOT_EXISTS"}, {"n": None}, True),
        ({"path": "lines.sku", "value": "b"}, {"lines": [{"sku": "a"}, {"sku": "b"}]}, True),
        ({"path": "lines.0.sku", "value": "b"}, {"lines": [{"sku": "a"}, {"sku": "b"}]}, False),
        ({"path": "$body.lines.sku", "operator": "NE", "value": "b"}, {"lines": [{"sku": "a"}, {"sku": "b"}]}, False),
        ({"path": "utm.source", "value": "mail"}, {"utm.source": "mail"}, True),
        ({"path": "$body.utm.source", "value": "mail"}, {"utm": {"source": "mail"}}, True),
        ({"path": "$headers.x-topic", "operator": "CONTAINS", "value": "paid"}, {}, True),
        ({"path": "$headers.x-other", "operator": "EXISTS"}, {}, False),
    ],
)
def test_conditions_mean_the_same_as_those_of_segments(
    condition: dict[str, object], body: dict[str, object], is_mapped: bool
) -> None:
    mapping = {"when": [condition], "fields": {"passExternalId": {"value": "ann"}, "type": {"value": "visit"}}}
    [item] = parse_mapping(mapping).map_items(body, {"x-topic": "order.paid"}, "id")
    assert (item.event is not None, item.problems) == (is_mapped, ())


def test_stored_condition_is_read_whatever_the_limits_became() -> None:
    when = {"path": "$headers.x-version", "operator": "IN", "value": ["x" * 1_001, 2]}
    fields = {"passExternalId": {"value": "ann"}, "type": {"value": "visit"}}
    [item] = mapping_from_json(json.dumps({"when": [when], "fields": fields})).map_items({}, {}, "id")
    assert item.event is None


def test_number_of_any_places_becomes_part_of_a_text() -> None:
    fields = {"passExternalId": {"template": "kwh-{kwh}"}, "type": {"value": "visit"}, "label": "kwh"}
    [item] = parse_mapping({"fields": fields}).map_items({"kwh": Decimal("12345678.1234567")}, {}, "id")
    assert item.event is not None
    assert (item.event.pass_external_id, item.event.label) == ("kwh-12345678.1234567", "12345678.1234567")
