"""Parsers of JSON objects that callers send."""

from __future__ import annotations

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.values.text import MAX_KEY_POINTS, parse_object


@pytest.mark.parametrize("splits_keys", [False, True])
def test_key_with_more_points_than_mongodb_stores_is_refused_alone(splits_keys: bool) -> None:
    """MongoDB would refuse the document, and the other events of its batch would never be recorded."""
    key = "a" + "." * MAX_KEY_POINTS
    assert parse_object({key: 1}, max_bytes=1_000, splits_keys=splits_keys)[0] == {key: 1}
    with pytest.raises(InvalidInput) as refused:
        parse_object({"deep": [{f"{key}.": 1}]}, "metadata", max_bytes=1_000, splits_keys=splits_keys)
    [problem] = refused.value.problems
    assert (problem.code, problem.field) == (Code.TOO_LONG, ("metadata", "deep", "0"))
