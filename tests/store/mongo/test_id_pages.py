"""Pages in order of random ids: each item once, in both directions, and no query examines much more than a page."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from app.store.mongo.id_pages import read_id_page
from app.store.mongo.id_ranges import PASS_IDS
from app.store.mongo.paging import Page, PageRequest


class Listed:
    """A list of ids in a store that examines all of a range before it applies the limit."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids, self.examined = sorted(ids), list[int]()

    async def read(self, span: PageRequest) -> Page[str]:
        """Return the page of one range."""
        assert span.after is not None
        assert span.before is not None
        matching = [each for each in self.ids if span.after[0] < each < span.before[0]]
        self.examined.append(len(matching))
        return span.cut(matching)

    async def page(self, limit: int, **keys: str | None) -> Page[str]:
        """Return a page as a list of members does."""
        after, before = ((key,) if (key := keys.get(name)) else None for name in ("after", "before"))
        span = PageRequest(limit, after=after, before=before, backward=before is not None)
        return await read_id_page(self.read, span, PASS_IDS)


def random_ids(count: int) -> list[str]:
    numbers = random.Random(count)
    return [f"pass_{numbers.getrandbits(96):024x}" for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 20, 3_000])
async def test_pages_hold_each_item_once_in_both_directions(count: int) -> None:
    # Ids that are no hexadecimal digits, as tests and imports of early versions have them.
    listed = Listed([*random_ids(count), "pass_ann", "pass_f", "p", "zed"])
    for key, forward in (("after", True), ("before", False)):
        found, position = list[str](), None if forward else "\uffff"
        while True:
            page = await listed.page(50, **{key: position})
            found = [*found, *page.items] if forward else [*page.items, *found]
            if not page.has_more:
                break
            position = page.items[-1 if forward else 0]
        assert found == listed.ids
    assert (await listed.page(0)).has_more
    assert (await listed.page(10, after="zed")) == Page([], has_more=False)
    assert (await listed.page(10, after="pass_f")).items == [each for each in listed.ids if each > "pass_f"][:10]


@pytest.mark.parametrize("count", [500, 5_000, 100_000])
async def test_page_examines_about_as_much_however_long_the_list_is(count: int) -> None:
    listed = Listed(random_ids(count))
    for after in (None, listed.ids[count // 2]):
        listed.examined = []
        page = await listed.page(50, after=after)
        assert (len(page.items), page.has_more) == (50, True)
        assert sum(listed.examined) <= 600
        assert len(listed.examined) <= 5
