"""Scalars: exact out, lenient in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.domain.values.decimals import parse_decimal
from app.domain.values.instants import format_instant
from app.graphql.execution.requests import decode_json, encode_json
from app.graphql.types.scalars import plain_json
from tests.graphql.serving import Api

RECORD = """mutation Record($events: [RecordEventInput!]!) { recordEvents(input: {events: $events}) {
  results { status event { amount points metadata occurredAt } userErrors { code field } } } }"""


@pytest.mark.parametrize("digits", ["29.30", "123456789012345.123456", "0.1", "1e3", "1E-6"])
def test_a_number_in_a_body_keeps_every_digit(digits: str) -> None:
    assert str(parse_decimal(decode_json(f"[{digits}]")[0])) == str(parse_decimal(digits))


def test_json_for_storage_has_ordinary_numbers() -> None:
    value = plain_json(decode_json('{"a": [1.50, {"b": 2.5}], "c": 1}'))
    assert value == {"a": [1.5, {"b": 2.5}], "c": 1}
    assert type(value["a"][0]) is float


def test_unpaired_surrogates_are_spelt_out_and_not_a_crash() -> None:
    assert encode_json({"a": "\ud800"}) == b'{"a": "\\ud800"}'


def test_instants_are_answered_in_utc_with_milliseconds_where_they_have_them() -> None:
    assert format_instant(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000Z"
    assert format_instant(datetime(2026, 1, 1, 0, 0, 0, 5_000, tzinfo=UTC)) == "2026-01-01T00:00:00.005Z"


async def test_literals_and_variables_of_a_decimal_are_equally_exact(api: Api) -> None:
    await api.data('mutation { createPass(input: {externalId: "a"}) { userErrors { code } } }')
    text = "123456789012345.123456"
    literal = await api.data(
        f'mutation {{ recordEvent(input: {{passExternalId: "a", type: "purchase", amount: {text}, metadata: {{n: 1.5}}}})'
        " { event { amount metadata } } }"
    )
    assert literal["recordEvent"]["event"] == {"amount": text, "metadata": {"n": 1.5}}
    for spelt in (text, f'"{text}"'):
        body = '{"query": %s, "variables": {"events": [{"passExternalId": "a", "type": "purchase", "amount": %s}]}}'
        answer = (await api.post(body % (json.dumps(RECORD), spelt))).json()
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
async def test_a_bad_value_rejects_its_item_and_nothing_beside_it(api: Api, name: str, value: str) -> None:
    await api.data('mutation { createPass(input: {externalId: "a"}) { userErrors { code } } }')
    named = "" if name == "passId" else '"passExternalId": "a", '
    body = (
        '{"query": %s, "variables": {"events": [{%s"type": "visit", "%s": %s},'
        ' {"passExternalId": "a", "type": "visit"}]}}'
    )
    answer = (await api.post(body % (json.dumps(RECORD), named, name, value))).json()
    bad, good = answer["data"]["recordEvents"]["results"]
    assert (bad["status"], good["status"]) == ("REJECTED", "CREATED")
    assert bad["userErrors"][0]["field"][:3] == ["events", "0", name]
