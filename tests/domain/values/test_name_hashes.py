"""Hashes of names: equal for every spelling of a name, and different for other names and other keys."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from app.domain.values.name_hashes import MAX_NAME_HASHES, hash_name, hash_names, spell

KEY = b"k" * 32
NAME = 'erin "é"@x'


@pytest.mark.parametrize(
    "value",
    [
        NAME,
        f"  {NAME} ",
        'erin "e\u0301"@x',
        {"customer": {"ids": [1, NAME]}},
        {NAME: 1},
        json.dumps({"customer": NAME}),
        json.dumps([json.dumps({"customer": NAME})]),
        json.loads('{"a": "erin \\"\\u00e9\\"@x"}'),
    ],
)
def test_name_is_found_in_every_spelling_and_place(value: object) -> None:
    assert hash_name(KEY, NAME) in (hash_names(KEY, value) or ())


def test_name_is_found_as_a_word_of_a_text_and_as_a_number() -> None:
    names = hash_names(KEY, {"note": "Order of <erin@x>, today", "id": 1001, "amount": Decimal("2.50")}) or ()
    for name in ("erin@x", "1001", "2.50", "<erin@x>,", "Order"):
        assert hash_name(KEY, name) in names
    for name in ("erin", "100", "2.5", "Erin@x"):
        assert hash_name(KEY, name) not in names


def test_hash_depends_on_the_key() -> None:
    assert hash_name(KEY, NAME) != hash_name(b"other", NAME)
    assert hash_name(KEY, NAME).startswith("#")


def test_too_many_names_and_too_deep_values_have_no_hashes() -> None:
    assert len(hash_names(KEY, [f"n{n}" for n in range(MAX_NAME_HASHES)]) or ()) == MAX_NAME_HASHES
    assert hash_names(KEY, [f"n{n}" for n in range(MAX_NAME_HASHES + 2)]) is None
    deep: object = NAME
    for _ in range(300):
        deep = [deep]
    assert hash_names(KEY, deep) is None


def test_texts_that_no_encoding_can_write_have_hashes() -> None:
    assert hash_name(KEY, "\ud800") in (hash_names(KEY, ["\ud800", "{", "[", "x" * 300]) or ())


def test_spellings_are_those_of_json_and_csv() -> None:
    assert spell(NAME) == {NAME, 'erin \\"\\u00e9\\"@x', 'erin \\"é\\"@x', 'erin ""é""@x'}
