"""The store of the model computes what the reader of rows may ask of it in a rare interleaving."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.state.statistics import Period
from app.domain.values.zones import UTC as ZONE
from app.store.workspace.local_periods import cell_start, local_period_start

from .pipelines import evaluate

QUARTER_HOUR_MS = 900_000


def test_day_and_quarter_of_an_hour_of_an_event_are_computed() -> None:
    event = {"occurred_at": datetime(2026, 3, 4, 17, 44, 59, 999_000, UTC)}
    assert evaluate(local_period_start(Period.DAY, ZONE, 0, 2**42), event) == datetime(2026, 3, 4, tzinfo=UTC)
    assert evaluate(cell_start(QUARTER_HOUR_MS), event) == datetime(2026, 3, 4, 17, 30, tzinfo=UTC)


def test_instants_are_subtracted_by_no_store_of_the_model() -> None:
    event = {"occurred_at": datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)}
    assert evaluate(cell_start(QUARTER_HOUR_MS), event) == datetime(1969, 12, 31, 23, 45, tzinfo=UTC)
    with pytest.raises(KeyError, match="instants"):
        evaluate({"$subtract": ["$occurred_at", event["occurred_at"]]}, event)
