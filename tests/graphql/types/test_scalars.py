"""Scalars: they accept several notations, and return exact values in one notation."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import format_instant
from app.graphql.execution.requests import decode_json, encode_json
from app.graphql.types.scalars import plain_json
from tests.graphql.serving import Api
from tests.processor_time import spending_at_most

RECORD = """mutation Record($events: [RecordEventInput!]!) { recordEvents(input: {events: $events}) {
  results { status event { amount points metadata occurredAt } userErrors { code field } } } }"""


@pytest.mark.parametrize("digits", ["29.30", "123456789012345.123456", "0.1", "1e3", "1E-6"])
def test_number_in_a_request_body_keeps_each_digit(digits: str) -> None:
    assert str(parse_decimal(decode_json(f"[{digits}]")[0])) == str(parse_decimal(digits))


@pytest.mark.parametrize("number", ["1.1", "1e5", "-0.0000001", "12345678901234567890.123"])
def test_body_full_of_numbers_is_decoded_without_python_code_for_each(number: str) -> None:
    """A call in Python for each number took 1.2 s for 4 MB."""
    text = "[" + ",".join([number] * (4_000_000 // (len(number) + 1))) + "]"
    with spending_at_most(0.5):
        decoded = decode_json(text)
    assert decoded[0] == Decimal(number)


@pytest.mark.parametrize("number", ["1e9999999999999999999", "1" + "0" * 5_000, "[" * 100_000 + "]" * 100_000])
def test_number_or_value_beyond_python_is_no_json(number: str) -> None:
    with pytest.raises(ValueError):
        decode_json(f"[{number}]")


async def test_message_for_a_number_of_the_wrong_type_shows_its_digits(api: Api) -> None:
    for declared, shown in (("String", "a non string value: 1.50"), ("Int", "non-integer value: 1.50")):
        argument = "after" if declared == "String" else "first"
        query = f"query ($v: {declared}) {{ passes({argument}: $v) {{ nodes {{ id }} }} }}"
        body = json.dumps({"query": query, "variables": {"v": 0}}).replace('"v": 0', '"v": 1.50')
        assert shown in (await api.post(body)).json()["errors"][0]["message"]


def test_plain_json_turns_numbers_into_python_numbers() -> None:
    value = plain_json(decode_json('{"a": [1.50, {"b": 2.5}], "c": 1}'))
    assert value == {"a": [1.5, {"b": 2.5}], "c": 1}
    assert type(value["a"][0]) is float


def test_unpaired_surrogate_is_encoded_as_an_escape_sequence() -> None:
    assert encode_json({"a": "\ud800"}) == b'{"a": "\\ud800"}'


def test_instant_is_formatted_in_utc_with_milliseconds() -> None:
    assert format_instant(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000Z"
    assert format_instant(datetime(2026, 1, 1, 0, 0, 0, 5_000, tzinfo=UTC)) == "2026-01-01T00:00:00.005Z"


async def test_decimal_keeps_each_digit_as_a_literal_and_as_a_variable(api: Api) -> None:
    await api.fetch_data('mutation { createPass(input: {externalId: "a"}) { userErrors { code } } }')
    text = "123456789012345.123456"
    literal = await api.fetch_data(
        f'mutation {{ recordEvent(input: {{passExternalId: "a", type: "purchase", amount: {text}, metadata: {{n: 1.5}}}})'
        " { event { amount metadata } } }"
    )
    assert literal["recordEvent"]["event"] == {"amount": text, "metadata": {"n": 1.5}}
    for notation in (text, f'"{text}"'):
        body = '{"query": %s, "variables": {"events": [{"passExternalId": "a", "type": "purchase", "amount": %s}]}}'
        answer = (await api.post(body % (json.dumps(RECORD), notation))).json()
        assert answer["data"]["recordEvents"]["results"][0]["event"]["amount"] == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", "NaN"), ("amount", "Infinity"), ("amount", "-0.0"), ("amount", "true"), ("amount", "{}"),
        ("amount", '"1_0"'), ("amount", "1" * 30), ("points", "1e400"), ("occurredAt", "5"), ("occurredAt", '"soon"'),
        ("occurredAt", '"9999-12-31T23:59:59Z"'), ("metadata", "5"), ("metadata", '{"a": NaN}'),
        ("metadata", '{"$a": 1}'), ("metadata", '{"a": "\\ud800"}'), ("metadata", "[" * 50 + "]" * 50),
        ("metadata", '{"a": %s}' % ("9" * 30)), ("externalId", '"\\ud800"'), ("externalId", '""'),
        ("passId", '"\\ud800"'),
    ],
)  # fmt: skip
async def test_invalid_value_rejects_its_item_but_not_the_next_item(api: Api, name: str, value: str) -> None:
    await api.fetch_data('mutation { createPass(input: {externalId: "a"}) { userErrors { code } } }')
    pass_field = "" if name == "passId" else '"passExternalId": "a", '
    body = (
        '{"query": %s, "variables": {"events": [{%s"type": "visit", "%s": %s},'
        ' {"passExternalId": "a", "type": "visit"}]}}'
    )
    answer = (await api.post(body % (json.dumps(RECORD), pass_field, name, value))).json()
    invalid, valid = answer["data"]["recordEvents"]["results"]
    assert (invalid["status"], valid["status"]) == ("REJECTED", "CREATED")
    assert invalid["userErrors"][0]["field"][:3] == ["events", "0", name]
