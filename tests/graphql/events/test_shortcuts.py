"""The shortcuts of recordEvent, such as recordPurchase: the same rules, ids, receipts and errors as recordEvent."""

from __future__ import annotations

from typing import Any

from tests.graphql.serving import Api, list_codes

ANSWER = """status receipt { token } userErrors { code field }
  event { id category type label amount currency points source externalId occurredAt metadata fieldName oldValue newValue
    definitionVersion origin { channel staff actor ipAddress userAgent } correctionOf { id } pass { externalId } }"""
INPUTS = {
    "recordEvent": "RecordEventInput",
    "recordPurchase": "RecordPurchaseInput",
    "recordRefund": "RecordRefundInput",
    "recordCheckIn": "RecordCheckInInput",
    "recordActivity": "RecordActivityInput",
    "recordFieldChange": "RecordFieldChangeInput",
}


async def record(api: Api, mutation: str, **values: Any) -> dict[str, Any]:
    """Record one event with the mutation, and return the payload."""
    fields = {"passExternalId": "ann", **({} if mutation == "recordEvent" else {"createMissingPasses": True}), **values}
    text = f"mutation M($input: {INPUTS[mutation]}!) {{ {mutation}(input: $input) {{ {ANSWER} }} }}"
    payload: dict[str, Any] = (await api.fetch_data(text, input=fields))[mutation]
    return payload


async def read_fields(api: Api) -> dict[str, Any]:
    """Run the worker, and return the fields of the pass `ann`."""
    await api.business.run_worker()
    fields: dict[str, Any] = (await api.fetch_data('{ pass(externalId: "ann") { fields } }'))["pass"]["fields"]
    return fields


async def test_recordPurchase_and_recordRefund_store_the_same_fields_as_recordEvent(api: Api) -> None:
    """WH2-10, WH2-11, WH2-15, WH2-20, WH2-21, WH1-05, WH1-06, V1-03, A1-13."""
    metadata = {"order_id": "ORD-1", "items": [{"product_id": "p1", "quantity": 2, "subtotal": "10.00"}]}
    purchase = await record(
        api, "recordPurchase", amount="29.30", currency="EUR", source="pos-terminal-1", externalId="order-1",
        metadata=metadata, points=29, label="Lunch", occurredAt="2025-12-31T12:00:00+01:00",
    )  # fmt: skip
    event = purchase["event"]
    assert (purchase["status"], purchase["userErrors"], event["category"], event["type"]) == (
        "CREATED", [], "TRANSACTION", "purchase",
    )  # fmt: skip
    assert (event["amount"], event["currency"], event["points"], event["label"]) == ("29.30", "EUR", "29", "Lunch")
    assert (event["source"], event["externalId"], event["metadata"]) == ("pos-terminal-1", "order-1", metadata)
    assert (event["occurredAt"], event["pass"]["externalId"]) == ("2025-12-31T11:00:00.000Z", "ann")
    partial_refund = await record(
        api, "recordRefund", amount="9.30", correctionOf=event["id"], metadata={"reason": "broken"}
    )
    assert (
        partial_refund["status"],
        partial_refund["event"]["currency"],
        partial_refund["event"]["correctionOf"],
    ) == (
        "CREATED", "EUR", {"id": event["id"]},
    )  # fmt: skip
    full_refund = await record(api, "recordRefund", correctionOf=event["id"])
    # What is left of the purchase is known when a worker counts the refund.
    assert full_refund["event"]["amount"] is None
    await api.business.run_worker()
    data = await api.fetch_data(
        '{ pass(externalId: "ann") { pointsBalance statistics { spend { gross refunded net } } } }'
    )
    assert data["pass"]["pointsBalance"] == "29"
    assert data["pass"]["statistics"]["spend"] == [{"gross": "29.30", "refunded": "29.30", "net": "0.00"}]


async def test_shortcut_and_recordEvent_recognise_the_same_event_as_a_duplicate(api: Api) -> None:
    """WH1-21: no event is recorded twice, even if two mutations record it. A1-14: each mutation returns the event."""
    same = {"externalId": "1", "source": "till", "metadata": {"a": 1}}
    shortcuts: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("recordPurchase", {"amount": 5}, {"type": "purchase"}),
        ("recordCheckIn", {}, {"type": "check_in"}),
        ("recordActivity", {"type": "scan"}, {}),
        ("recordFieldChange", {"fieldName": "tier", "newValue": "gold"}, {"type": "field_updated"}),
    ]
    for mutation, own, more in shortcuts:
        values = {**same, **own, "externalId": mutation}
        first = await record(api, mutation, **values)
        repeated = [await record(api, mutation, **values), await record(api, "recordEvent", **values, **more)]
        assert [first["status"], *(each["status"] for each in repeated)] == ["CREATED", "DUPLICATE", "DUPLICATE"]
        assert {each["event"]["id"] for each in repeated} == {first["event"]["id"]}
        other = await record(api, mutation, **{**values, "metadata": {"a": 2}})
        assert (other["status"], list_codes(other["userErrors"])) == ("CONFLICT", [("CONFLICT", ["externalId"])])
        assert first["receipt"]["token"]
    keyed = [await record(api, "recordCheckIn", idempotencyKey="k") for _ in range(2)]
    assert [each["status"] for each in keyed] == ["CREATED", "DUPLICATE"]
    [refused] = (await record(api, "recordCheckIn", idempotencyKey="k", points=1))["userErrors"]
    assert (refused["code"], refused["field"]) == ("CONFLICT", ["idempotencyKey"])


async def test_recordActivity_accepts_built_in_and_custom_types_with_metadata(api: Api) -> None:
    """WH2-12, WH2-13, WH2-22, WH2-23, WH2-17, WH2-25, WH1-02, WH1-04."""
    check_in = await record(api, "recordCheckIn", source="gym-entrance", metadata={"location": "Downtown"})
    assert (check_in["event"]["type"], check_in["event"]["label"]) == ("check_in", "Check-in")
    for kind, source, metadata in (
        ("pass_installed", "wallet-callback", {"platform": "apple_wallet"}),
        ("notification_opened", "push-service", {"campaign_id": "c1", "notification_id": "n1", "channel": "push"}),
        ("pass_registered", "registration-form", {"registration_source": "web", "referral_code": "R1"}),
        ("link_click", "pass-back-link", {"link_url": "https://example.com", "link_label": "Menu"}),
        ("check_out", "store-downtown", {"duration_minutes": 45}),
        ("scan", "mobile-app", {"action": "Lookup", "register": 4, "gate": "A", "facility": "pool", "reward": "cake"}),
        ("yoga_class", "website", {"drink": "tea", "event_name": "Flow"}),
    ):
        recorded = await record(api, "recordActivity", type=kind, source=source, metadata=metadata)
        assert (recorded["status"], recorded["event"]["category"], recorded["event"]["metadata"]) == (
            "CREATED",
            "ACTIVITY",
            metadata,
        )


async def test_each_field_change_counts_once_and_with_exact_decimals(api: Api) -> None:
    """WH2-14, WH2-18, WH2-24: a field is set, incremented and decremented; a late change rebuilds the field."""
    change = "recordFieldChange"
    first = await record(api, change, fieldName="tier", oldValue="bronze", newValue="silver", source="loyalty-engine")
    event = first["event"]
    assert (event["category"], event["type"]) == ("FIELD_CHANGE", "field_updated")
    assert (event["fieldName"], event["oldValue"], event["newValue"]) == ("tier", "bronze", "silver")
    increment = {"fieldName": "stars", "change": "INCREMENT", "amount": "0.1", "externalId": "up-1"}
    for values in (increment, increment, {**increment, "externalId": "up-2", "amount": "0.2"}):
        await record(api, change, **values)
    assert await read_fields(api) == {"tier": "silver", "stars": 0.3}
    await record(api, change, fieldName="stars", change="DECREMENT", oldValue="0.3", newValue="0.05")
    assert await read_fields(api) == {"tier": "silver", "stars": 0.05}
    await record(api, change, fieldName="stars", newValue="10", occurredAt="2025-12-01T00:00:00Z")
    await record(api, change, fieldName="tier", newValue="iron", occurredAt="2025-12-01T00:00:00Z")
    assert await read_fields(api) == {"tier": "silver", "stars": 10.05}
    await record(api, change, fieldName="tier")
    assert await read_fields(api) == {"stars": 10.05}


INVALID: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("recordPurchase", {"amount": "a lot"}, "INVALID", ["amount"]),
    ("recordPurchase", {"amount": -1}, "OUT_OF_RANGE", ["amount"]),
    ("recordPurchase", {"amount": 1, "currency": "XX"}, "UNKNOWN", ["currency"]),
    ("recordPurchase", {"amount": 1, "passExternalId": None}, "REQUIRED", ["passId"]),
    ("recordPurchase", {"amount": 1, "createMissingPasses": False}, "UNKNOWN", ["passExternalId"]),
    ("recordRefund", {}, "REQUIRED", ["amount"]),
    ("recordActivity", {"type": "purchase"}, "INVALID", ["type"]),
    ("recordActivity", {"type": "pass_updated"}, "INVALID", ["type"]),
    ("recordFieldChange", {"fieldName": ""}, "INVALID", ["fieldName"]),
    ("recordFieldChange", {"fieldName": "a", "change": "INCREMENT"}, "REQUIRED", ["amount"]),
    ("recordFieldChange", {"fieldName": "a", "change": "DECREMENT", "newValue": "x"}, "REQUIRED", ["amount"]),
]


async def test_invalid_input_of_a_shortcut_is_rejected_with_the_path_of_the_field(api: Api) -> None:
    for mutation, values, code, field in INVALID:
        payload = await record(api, mutation, **values)
        result = (payload["status"], payload["event"], list_codes(payload["userErrors"]))
        assert result == ("REJECTED", None, [(code, field)]), (mutation, values)


async def test_origin_of_an_event_has_the_channel_the_actor_and_the_member_of_staff(api: Api) -> None:
    """WH1-07, A1-05, A1-06, A1-07, A1-20: the default attributes. Only a key with the scope `staff` may name staff."""
    own_key = (await api.fetch_data("{ viewer { apiKey { id } } }"))["viewer"]["apiKey"]["id"]
    origin = (await record(api, "recordCheckIn", points="-2.5"))["event"]["origin"]
    assert (origin["channel"], origin["staff"], origin["actor"]) == ("API", None, own_key)
    assert origin["ipAddress"] == "127.0.0.1"
    assert origin["userAgent"].startswith("python-httpx")
    batch = """mutation ($staff: String) { recordEvents(input: {events: [{passExternalId: "ann", type: "visit"},
      {passExternalId: "ann", type: "charge", staff: $staff}]})
      { results { status event { label points origin { channel staff } } } } }"""
    results = (await api.fetch_data(batch, staff="Mia"))["recordEvents"]["results"]
    assert [each["event"]["origin"] for each in results] == [
        {"channel": "BATCH", "staff": None},
        {"channel": "MANUAL", "staff": "Mia"},
    ]
    assert [each["event"]["label"] for each in results] == ["Visit", "Charge"]
    api.secret = await api.create_key("read", "write", "staff")
    assert (await record(api, "recordPurchase", amount=1, staff="Bo"))["event"]["origin"]["channel"] == "MANUAL"
    api.secret = await api.create_key("read", "write")
    assert (await api.fetch_error(batch, staff="Mia"))["extensions"]["code"] == "FORBIDDEN"
    assert [each["status"] for each in (await api.fetch_data(batch))["recordEvents"]["results"]] == [
        "CREATED",
        "CREATED",
    ]
