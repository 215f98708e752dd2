"""Lists of passes: for any filter and order, each page equals the same part of the sorted scan of all passes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import InvalidInput
from app.domain.events.events import Category
from app.domain.passes.consents import Consent
from app.domain.passes.pass_queries import PassOrder, PassOrderField, PassQuery, sort_key
from app.domain.passes.passes import Membership, Pass, PassTier, Profile
from app.domain.passes.search_tokens import build_tokens, parse_search
from app.domain.state.aggregates import Aggregate
from app.domain.values.conditions import Condition, Operator
from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import Doc
from app.store.workspace import finding, name_ranges
from app.store.workspace.finding import FindQueries
from tests.business import Business

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
NOW_MS = to_ms(BEGIN + timedelta(days=400))
FIRST = ("Ann", "Änne", "Bob", "Jürgen", "Zoë", "Anna-Lena", "田中", "O'Neil")
LAST = ("Smith", "Schmidt", "Müller", "Łukasz", "of.*", "Smith-Jones")
SEARCHES = ("an", "a", "ann smith", "0170 1", "smith-jo", "c12", "z")
DAY = timedelta(days=1)


def seen(card: Pass) -> datetime | None:
    return None if card.last_event_ms is None else BEGIN + timedelta(milliseconds=card.last_event_ms - to_ms(BEGIN))


def search(text: str) -> tuple[Any, Callable[[Pass], bool]]:
    wanted = parse_search(text)
    return wanted, lambda card: wanted.matches(build_tokens(card.profile, card.external_id))


PARTS: dict[str, tuple[Any, Callable[[Pass], bool]]] = {
    **{f"search{' ' * n}": search(text) for n, text in enumerate(SEARCHES)},
    "segment_ids": (("seg_a",), lambda c: "seg_a" in c.memberships),
    "segment_ids ": (("seg_a", "seg_b"), lambda c: bool({"seg_a", "seg_b"} & set(c.memberships))),
    "not_in_segment_ids": (("seg_b",), lambda c: "seg_b" not in c.memberships),
    "statuses": (("ACTIVE", "REVOKED"), lambda c: c.profile.status in ("ACTIVE", "REVOKED")),
    "tier_keys": (("gold",), lambda c: c.tier_key == "gold"),
    "fields": ((Condition("city", Operator.EQ, "Bern"),), lambda c: c.profile.fields.get("city") == "Bern"),
    "fields ": ((Condition("a.b", Operator.GTE, 2),), lambda c: int(str(c.profile.fields.get("a.b", 0))) >= 2),
    "fields  ": ((Condition("city", Operator.NOT_EXISTS),), lambda c: "city" not in c.profile.fields),
    "created_after": (BEGIN + 20 * DAY, lambda c: c.created_at >= BEGIN + 20 * DAY),
    "created_before": (BEGIN + 300 * DAY, lambda c: c.created_at < BEGIN + 300 * DAY),
    "last_event_after": (BEGIN + 5 * DAY, lambda c: (at := seen(c)) is not None and at >= BEGIN + 5 * DAY),
    "last_event_before": (BEGIN + 200 * DAY, lambda c: (at := seen(c)) is not None and at < BEGIN + 200 * DAY),
    "points_min": (Decimal("2.5"), lambda c: c.points >= Decimal("2.5")),
    "points_max": (Decimal(7), lambda c: c.points <= Decimal(7)),
    "points_max ": (Decimal(0), lambda c: c.points <= 0),
    "consent": ("news", lambda c: "news" in c.profile.consents and c.profile.consents["news"].given),
}
"""The parts of a query and what each selects. A part that the store serves in several ways is listed several times."""


def random_pass(chance: random.Random, workspace_id: str, index: int) -> Pass:
    name = f"{chance.choice(FIRST)} {chance.choice(LAST)}"
    holder = {"name": name, "phone": chance.choice(["+49 170 1234567", "0170/1299999", "+1 555 1234567"])}
    fields: dict[str, object] = chance.choice([{}, {"city": "Bern"}, {"city": "Basel", "a.b": index % 5}])
    consents = chance.choice([{}, {"news": Consent(True, 1, "event_a")}, {"news": Consent(False, 1, "event_a")}])
    profile = Profile(
        holder={} if chance.random() < 0.2 else holder,
        fields=fields,
        status=chance.choice(["ACTIVE", "INACTIVE", "REVOKED"]),
        consents=consents,
    )
    # Some passes share an instant, most lie within weeks, and some were created much later.
    created = BEGIN + chance.choice([timedelta(0), 390 * DAY, chance.random() * 40 * DAY])
    last_ms = to_ms(BEGIN + chance.choice([timedelta(0), chance.random() * 390 * DAY]))
    row = Aggregate(Category.ACTIVITY, 1, Decimal(0), min=None, max=None, first_ms=last_ms, last_ms=last_ms)
    return Pass(
        id=new_id("pass"),
        workspace_id=workspace_id,
        external_id=f"C-{index}",
        initial_profile=profile,
        profile=profile,
        installed_at=None,
        created_at=datetime.fromtimestamp(int(created.timestamp()), UTC),
        updated_at=created,
        evaluated_until_ms=0,
        points=chance.choice([Decimal(0), Decimal(7), Decimal("2.50"), Decimal(index), Decimal(-index)]),
        aggregates={} if chance.random() < 0.2 else {("visit", None): row},
        memberships={s: Membership(s, 1, 1, {}) for s in ("seg_a", "seg_b") if chance.random() < 0.4},
        tier=chance.choice([None, PassTier("gold", 1, None), PassTier("silver", 1, None)]),
        write_id="w",
        searchable=(),
    )


async def store_passes(business: Business, chance: random.Random, number: int) -> list[Pass]:
    cards = [random_pass(chance, business.ctx.workspace.id, index) for index in range(number)]
    await business.ctx.workspace.passes.insert(cards)
    return cards


async def test_each_page_equals_its_part_of_the_sorted_scan(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(15)
    cards = await store_passes(business, chance, 100)
    store, served = business.ctx.workspace.finding, 0
    for _ in range(40):
        # With small limits, all ways to read a page are taken.
        monkeypatch.setattr(finding, "SMALL_SET", chance.choice([0, 20, 1_000]))
        monkeypatch.setattr(finding, "SORTED_SET", chance.choice([0, 20, 1_000]))
        monkeypatch.setattr(finding, "FIRST_LOOK", chance.choice([1, 20, 1_000]))
        monkeypatch.setattr(store, "max_examined", chance.choice([60, 20_000]))
        names = [name for name in PARTS if chance.random() < 2 / len(PARTS)]
        parts = {name.strip(): PARTS[name] for name in names}
        query = PassQuery(**{name: value for name, (value, _) in parts.items()})
        order = PassOrder(chance.choice(list(PassOrderField)), chance.random() < 0.5)
        matching = [card for card in cards if all(is_met(card) for _, is_met in parts.values())]
        expected = sorted(matching, key=lambda c: sort_key(c, order.field), reverse=not order.ascending)
        assert await store.count(query) == len(expected), names
        backward = chance.random() < 0.4
        found, has_more = await read_pages(store, query, order, chance.choice([1, 3, 20, 60, 200]), backward=backward)
        if found is None:
            assert store.max_examined == 60, names
            continue
        part = expected[max(0, len(expected) - len(found)) :] if backward else expected[: len(found)]
        assert [card.external_id for card in found] == [card.external_id for card in part], (names, order)
        assert has_more == (len(found) < len(expected))
        served += 1
    assert served > 25


async def read_pages(
    store: FindQueries, query: PassQuery, order: PassOrder, size: int, *, backward: bool
) -> tuple[list[Pass] | None, bool]:
    """Return the passes of up to four pages, and whether more follow; None if too many passes would be examined."""
    found: list[Pass] = []
    span, has_more = PageRequest(size, backward=backward), True
    while has_more and len(found) < 4 * size:
        try:
            page = await store.page(query, span, order, NOW_MS)
        except InvalidInput:
            return None, True
        found = [*page.items, *found] if backward else [*found, *page.items]
        has_more = page.has_more
        if page.items:
            key = sort_key(page.items[0 if backward else -1], order.field)
            span = PageRequest(size, None if backward else key, key if backward else None, backward)
    return found, has_more


async def test_named_passes_are_filtered_ordered_and_paged_as_well(business: Business) -> None:
    cards = await store_passes(business, random.Random(3), 30)
    store, order = business.ctx.workspace.finding, PassOrder(PassOrderField.POINTS, ascending=True)
    query = PassQuery(ids=[card.id for card in cards[:20]], statuses=("ACTIVE",))
    expected = sorted((c for c in cards[:20] if c.profile.status == "ACTIVE"), key=lambda c: (c.points, c.id))
    first = await store.page(query, PageRequest(2), order, NOW_MS)
    rest = await store.page(query, PageRequest(50, after=(expected[1].points, expected[1].id)), order, NOW_MS)
    assert [card.id for card in (*first.items, *rest.items)] == [card.id for card in expected]
    assert (first.has_more, rest.has_more, await store.count(query)) == (True, False, len(expected))


async def test_contradictory_conditions_select_nothing(business: Business) -> None:
    await store_passes(business, random.Random(4), 20)
    store = business.ctx.workspace.finding
    for query in (
        PassQuery(created_after=BEGIN + 9 * DAY, created_before=BEGIN),
        PassQuery(last_event_after=BEGIN + 9 * DAY, last_event_before=BEGIN),
        PassQuery(points_min=Decimal(9), points_max=Decimal(1)),
        PassQuery(segment_ids=["seg_a"], not_in_segment_ids=["seg_a"]),
        PassQuery(search=parse_search("ann"), ids=["pass_none"]),
    ):
        for field in PassOrderField:
            page = await store.page(query, PageRequest(5), PassOrder(field), NOW_MS)
            assert (page.items, page.has_more) == ([], False)
        assert await store.count(query) == 0


async def test_rare_word_of_a_search_decides_how_many_passes_are_examined(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search examines the passes of its rarest word, whatever the number of passes and the frequency of other words."""
    cards = await store_passes(business, random.Random(5), 40)
    rare = [replace(card, id=new_id("pass"), external_id=f"rare-{n}") for n, card in enumerate(cards[:3])]
    await business.ctx.workspace.passes.insert(rare)
    examined: list[int] = []

    async def note(documents: int) -> None:
        examined.append(documents)

    monkeypatch.setattr(finding, "charge", note)
    query = PassQuery(search=parse_search("rare-"))
    page = await business.ctx.workspace.finding.page(query, PageRequest(50), PassOrder(), NOW_MS)
    assert (len(page.items), examined) == (3, [3])


async def test_page_of_one_word_or_segment_is_read_without_counting(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded servers count all passes of a condition. So only a rare word is counted, and one of two conditions."""
    cards = await store_passes(business, random.Random(5), 40)
    older = [replace(card, id=new_id("pass"), external_id=f"older-{n}") for n, card in enumerate(cards)]
    older = [replace(card, created_at=card.created_at - 800 * DAY) for card in older]
    await business.ctx.workspace.passes.insert(older)
    counted: list[object] = []
    count = FindQueries._count_set

    async def note(store: FindQueries, most: int, part: Doc) -> int:
        counted.append(part)
        return await count(store, most, part)

    monkeypatch.setattr(FindQueries, "_count_set", note)
    monkeypatch.setattr(finding, "FIRST_LOOK", 10)
    segment = {"memberships.s": "seg_a"}
    for query, field, parts in (
        (PassQuery(search=parse_search("old")), PassOrderField.CREATED, []),
        (PassQuery(search=parse_search("olde")), PassOrderField.CREATED, [{"tokens": "olde"}]),
        (PassQuery(search=parse_search("olde")), PassOrderField.NAME, []),
        (PassQuery(segment_ids=["seg_a"]), PassOrderField.POINTS, []),
        (PassQuery(segment_ids=["seg_a"], search=parse_search("old")), PassOrderField.POINTS, [{"tokens": "old"}]),
        (PassQuery(segment_ids=["seg_a"], statuses=("ACTIVE",)), PassOrderField.POINTS, [segment]),
    ):
        counted.clear()
        page = await business.ctx.workspace.finding.page(query, PageRequest(5), PassOrder(field), NOW_MS)
        assert (len(page.items), page.has_more) == (5, True)
        assert counted == parts


@pytest.mark.parametrize("search", ["", "an"])
async def test_page_by_name_examines_few_passes(
    business: Business, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    """Of 300 passes, a third has the word of the search. Without ranges, the embedded servers would sort all passes."""
    await store_passes(business, random.Random(9), 300)
    examined: list[int] = []
    count = name_ranges._count

    async def note(collection: Any, indexed: Doc, most: int) -> int:
        examined.append(await count(collection, indexed, most))
        return examined[-1]

    monkeypatch.setattr(name_ranges, "_count", note)
    query = PassQuery(search=parse_search(search))
    order = PassOrder(PassOrderField.NAME, ascending=True)
    page = await business.ctx.workspace.finding.page(query, PageRequest(5), order, NOW_MS)
    assert (len(page.items), page.has_more) == (5, True)
    assert 5 < sum(examined) < 200


async def test_page_by_name_is_whole_if_many_passes_have_one_name(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = await store_passes(business, random.Random(9), 40)
    same = [
        replace(card, id=new_id("pass"), external_id=f"same-{n}", profile=Profile()) for n, card in enumerate(cards)
    ]
    await business.ctx.workspace.passes.insert(same)
    store = business.ctx.workspace.finding
    monkeypatch.setattr(store, "max_examined", 30)
    order = PassOrder(PassOrderField.NAME, ascending=True)
    found, has_more = await read_pages(store, PassQuery(), order, 20, backward=True)
    assert found is not None
    expected = sorted([*cards, *same], key=lambda card: sort_key(card, order.field))
    assert [card.external_id for card in found] == [card.external_id for card in expected]
    assert not has_more
    # The first 30 passes are examined in the order of the list. A range would have all passes of a name.
    filtered = PassQuery(not_in_segment_ids=["seg_none"])
    page = await store.page(filtered, PageRequest(5), PassOrder(order.field, ascending=False), NOW_MS)
    assert [card.external_id for card in page.items] == [card.external_id for card in expected[:-6:-1]]


async def test_page_by_points_keeps_exactly_the_bounds_of_the_filter(business: Business) -> None:
    cards = await store_passes(business, random.Random(8), 40)
    points = sorted({card.points for card in cards if "seg_a" in card.memberships})
    query = PassQuery(segment_ids=["seg_a"], points_min=points[1], points_max=points[-2])
    page = await business.ctx.workspace.finding.page(query, PageRequest(50), PassOrder(PassOrderField.POINTS), NOW_MS)
    assert {card.points for card in page.items} == set(points[1:-1])


async def test_too_many_passes_to_examine_are_refused_with_advice(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_passes(business, random.Random(6), 60)
    store = business.ctx.workspace.finding
    monkeypatch.setattr(store, "max_examined", 20)
    monkeypatch.setattr(finding, "MAX_COUNTED_PASSES", 20)
    query = PassQuery(fields=(Condition("city", Operator.EQ, "Rome"),))
    for field in PassOrderField:
        with pytest.raises(InvalidInput, match="segmentIds"):
            await store.page(query, PageRequest(5), PassOrder(field), NOW_MS)
        empty = await store.page(query, PageRequest(0), PassOrder(field), NOW_MS)
        assert (empty.items, empty.has_more) == ([], True)
    with pytest.raises(InvalidInput, match="Counting these"):
        await store.count(query)
