"""Contents of rollups as documents: they keep every number exactly, in few bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from random import Random

from bson import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.events.events import Category
from app.domain.rollups.building import Content, rows_of
from app.domain.rollups.levels import Level
from app.domain.rollups.rows import QUARTER_HOUR_MS, CountedRow, RowKey, Totals, add_rows
from app.domain.values.decimals import ZERO
from app.store.codecs.rollups import ROWS_PER_PART, ContentSum, content_id, content_to_docs, parts_of, rows_from_docs

START_MS = 1_706_745_600_000

amounts = st.decimals(allow_nan=False, allow_infinity=False, places=6) | st.integers(-(10**40), 10**40).map(Decimal)
drawn_totals = st.builds(
    lambda count, amount, extremes, points: Totals(
        count,
        amount,
        min=extremes and min(extremes),
        max=extremes and max(extremes),
        points_count=len(points),
        points_sum=Decimal(sum(points)).scaleb(-1),
        points_min=Decimal(min(points)).scaleb(-1) if points else None,
        points_max=Decimal(max(points)).scaleb(-1) if points else None,
    ),
    st.integers(1, 2**70),
    amounts,
    st.none() | st.tuples(amounts, amounts),
    st.lists(st.integers(-(2**40), 2**40), max_size=3),
)
drawn_keys = st.builds(
    RowKey,
    st.none() | st.text(max_size=5),
    st.sampled_from(list(Category)),
    st.sampled_from([None, "EUR", "JPY"]),
    st.booleans(),
    st.none() | st.just("size"),
    st.none() | st.text(max_size=3),
).map(lambda key: key if key.dimension else key._replace(value=None))
drawn_contents = st.dictionaries(
    st.sampled_from(["purchase", "visit", "a|b"]),
    st.dictionaries(drawn_keys, st.dictionaries(st.integers(0, 95), drawn_totals, min_size=1, max_size=5), min_size=1),
    max_size=3,
)


def by_place(rows: Iterable[CountedRow]) -> dict[tuple[int, str, RowKey], Totals]:
    found = list(rows)
    totals = {(row.start_ms, row.type, row.key): row.totals for row in found}
    assert len(totals) == len(found)
    return totals


@given(drawn_contents)
@settings(max_examples=60, deadline=None)
def test_content_is_the_same_after_it_was_stored(content: Content) -> None:
    docs = content_to_docs(content, "ws_1", Level.DAY, START_MS, token=7)
    for doc in docs:
        encode(doc)
    assert by_place(rows_from_docs(docs, Level.DAY, START_MS)) == by_place(rows_of(content, Level.DAY, START_MS))


@given(drawn_contents, st.lists(st.integers(0, 96), unique=True, min_size=2).map(sorted))
@settings(max_examples=60, deadline=None)
def test_cells_between_two_cuts_add_up_to_one_row(content: Content, cuts: list[int]) -> None:
    docs = content_to_docs(content, "ws_1", Level.DAY, START_MS, token=7)
    expected = []
    for row in rows_of(content, Level.DAY, START_MS):
        number = (row.start_ms - START_MS) // QUARTER_HOUR_MS
        begins = [cut for cut in cuts if cut <= number]
        if begins and number < cuts[-1]:
            expected.append(CountedRow(START_MS + begins[-1] * QUARTER_HOUR_MS, row.type, row.key, totals=row.totals))
    assert by_place(rows_from_docs(docs, Level.DAY, START_MS, cuts=cuts)) == by_place(add_rows(expected))


@given(
    st.lists(drawn_contents, min_size=1, max_size=3),
    st.lists(st.integers(0, 96), unique=True, min_size=2).map(sorted),
)
@settings(max_examples=60, deadline=None)
def test_contents_that_are_added_up_have_the_rows_of_all_of_them(contents: list[Content], cuts: list[int]) -> None:
    added, rows = ContentSum(), list[CountedRow]()
    for content in contents:
        docs = content_to_docs(content, "ws_1", Level.DAY, START_MS, token=7)
        rows += rows_from_docs(docs, Level.DAY, START_MS, cuts=cuts)
        cells = sum(map(added.add, docs))
        assert cells == sum(len(own) for of_type in content.values() for own in of_type.values())
    assert by_place(add_rows(added.rows(Level.DAY, START_MS, cuts))) == by_place(add_rows(rows))


def test_type_with_many_rows_has_numbered_parts_that_the_head_names() -> None:
    keys = [RowKey(f"till_{number}", Category.ACTIVITY, None, made=False) for number in range(2 * ROWS_PER_PART + 1)]
    content = {"visit": {key: {0: Totals(1)} for key in keys}, "scan": {keys[0]: {3: Totals(2)}}}
    docs = content_to_docs(content, "ws_1", Level.HOUR, START_MS, token=7)
    named = [
        content_id("ws_1", Level.HOUR, START_MS, token=7, event_type=event_type, part=part)
        for event_type, parts in parts_of(content)
        for part in range(parts)
    ]
    assert [doc["_id"] for doc in docs] == named
    assert Counter(doc["type"] for doc in docs) == {"scan": 1, "visit": 3}
    assert len(by_place(rows_from_docs(docs, Level.HOUR, START_MS))) == len(keys) + 1


def test_day_with_thirty_full_rows_takes_at_most_40_kilobytes() -> None:
    """Five types, three sources and two currencies, with events in each quarter of an hour."""
    random = Random(1)
    content: dict[str, dict[RowKey, dict[int, Totals]]] = {}
    for number in range(30):
        key = RowKey(f"source_{number % 3}", Category.TRANSACTION, ("EUR", "USD")[number // 3 % 2], made=False)
        cells = {}
        for cell in range(96):
            cents = [random.randrange(1, 20_000) for _ in range(random.randrange(1, 20))]
            total, low, high = (Decimal(value).scaleb(-2) for value in (sum(cents), min(cents), max(cents)))
            cells[cell] = Totals(len(cents), total, min=low, max=high, points_count=1, points_sum=ZERO + 5)
        content.setdefault(f"type_{number // 6}", {})[key] = cells
    docs = content_to_docs(content, "ws_1", Level.DAY, START_MS, token=7)
    assert len(docs) == 5
    assert sum(len(encode(doc)) for doc in docs) < 40_000
