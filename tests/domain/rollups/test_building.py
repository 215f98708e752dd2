"""Contents of rollups: what counts, and that any order and any split of the events give the same content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.events.events import CHECKOUT_INCREASED, PASS_UPDATED, RULE_CHANNEL, Category, Event, Origin
from app.domain.events.guards import Outcome, OutcomeStatus
from app.domain.rollups.building import Content, build_content, content_of, join_days, join_hours, rows_of
from app.domain.rollups.levels import Level
from app.domain.rollups.rows import CountedRow, RowKey, Totals, add_rows, row_of
from app.domain.values.instants import to_ms

FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
MINUTES_OF_FEBRUARY = 29 * 24 * 60
CATEGORIES = {"purchase": Category.TRANSACTION, "visit": Category.ACTIVITY, CHECKOUT_INCREASED: Category.TRANSACTION}

drawn_events = st.lists(
    st.builds(
        lambda minutes, event_type, cents, points, source, channel: Event(
            f"event_{minutes}",
            "pass_1",
            CATEGORIES[event_type],
            type=event_type,
            amount=None if event_type == "visit" else Decimal(cents).scaleb(-2),
            currency=None if event_type == "visit" else ("EUR", "JPY")[cents % 2],
            points=Decimal(points),
            source=source,
            external_id=None,
            metadata={},
            occurred_at=FEBRUARY + timedelta(minutes=minutes),
            recorded_at=FEBRUARY,
            origin=Origin(channel),
        ),
        st.integers(0, MINUTES_OF_FEBRUARY - 1) | st.integers(600, 700),
        st.sampled_from(sorted(CATEGORIES)),
        st.integers(0, 10**21),
        st.integers(-3, 3),
        st.sampled_from(["till", "shop"]),
        st.sampled_from(["API", RULE_CHANNEL]),
    ),
    max_size=30,
)


def by_period(events: Sequence[Event], level: Level) -> dict[int, list[Event]]:
    def start_ms(event: Event) -> int:
        return level.start_ms(event.occurred_ms)

    return {key: list(own) for key, own in groupby(sorted(events, key=start_ms), key=start_ms)}


def hours_of(events: Sequence[Event]) -> dict[int, Content]:
    return {start_ms: content_of(own) for start_ms, own in by_period(events, Level.HOUR).items()}


def days_of(events: Sequence[Event]) -> dict[int, Content]:
    return {start_ms: join_hours(hours_of(own)) for start_ms, own in by_period(events, Level.DAY).items()}


def totals(rows: Sequence[CountedRow]) -> dict[tuple[int, str, RowKey], Totals]:
    return {(row.start_ms, row.type, row.key): row.totals for row in rows}


@given(drawn_events, st.randoms(use_true_random=False), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_contents_equal_the_added_rows_of_events_in_any_order_and_split(
    events: list[Event], random: object, middle: int
) -> None:
    quarters = add_rows(map(row_of, events))
    shuffled = [*events]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for start_ms, content in hours_of(shuffled).items():
        own = [event for event in events if Level.HOUR.start_ms(event.occurred_ms) == start_ms]
        assert totals([*rows_of(content, Level.HOUR, start_ms)]) == totals(add_rows(map(row_of, own)))
        parts = [content_of(own[:middle]), content_of(own[middle:])]
        rows = [row for part in parts for row in rows_of(part, Level.HOUR, start_ms)]
        assert build_content(rows, Level.HOUR) == content
    days = days_of(shuffled)
    in_days = [row for start_ms, content in days.items() for row in rows_of(content, Level.DAY, start_ms)]
    assert totals(in_days) == totals(quarters)
    start_ms = to_ms(FEBRUARY)
    month = totals([*rows_of(join_days(days), Level.MONTH, start_ms)])
    of_days = [replace(row, start_ms=Level.DAY.start_ms(row.start_ms)) for row in quarters]
    assert month == totals(add_rows(of_days))


def test_internal_and_declined_events_have_no_rows() -> None:
    event = Event(
        "event_1",
        "pass_1",
        Category.CUSTOM,
        type="redemption",
        amount=None,
        currency=None,
        points=Decimal(-5),
        source="till",
        external_id=None,
        metadata={},
        occurred_at=FEBRUARY,
        recorded_at=FEBRUARY,
        origin=Origin("API"),
    )
    declined = replace(event, outcome=Outcome(OutcomeStatus.DECLINED))
    assert content_of([declined, replace(event, type=PASS_UPDATED)]) == {}
    assert list(content_of([event, declined])) == ["redemption"]
