"""`punchcard report` asks a running API for a month, and writes it as text or as one HTML page (WH2-30)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main
from app.clock import FixedClock
from app.resources import Resources
from tests.business import open_business, spent
from tests.graphql.serving import Api, run_api

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data.strip())


@pytest.fixture
async def api(resources: Resources, clock: FixedClock) -> AsyncIterator[Api]:
    """Run the API of a shop with events in December and January."""
    clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    business = await open_business(resources, clock, "Corner <b>Shop</b>")
    await business.create_segment("rich", spent(100))
    await business.record(
        {"pass_external_id": "ann", "amount": 100, "occurred_at": "2025-12-05T10:00:00Z"},
        {"pass_external_id": "ann", "amount": 150, "occurred_at": "2026-01-02T10:00:00Z"},
        {"pass_external_id": "bob", "amount": 1200, "occurred_at": "2026-01-02T12:00:00Z"},
        {"pass_external_id": "bob", "type": "refund", "amount": "0.5", "occurred_at": "2026-01-03T12:00:00Z"},
        {"pass_external_id": "bob", "amount": 7, "currency": "JPY", "occurred_at": "2026-01-03T12:00:00Z"},
        {"pass_external_id": HOSTILE, "amount": 1, "occurred_at": "2026-01-03T12:00:00Z"},
        {"pass_external_id": "bob", "type": "visit", "occurred_at": "2026-01-03T12:00:00Z"},
    )
    await business.run_worker()
    async with run_api(business) as running:
        yield running


async def report(api: Api, *arguments: str) -> Result:
    """Run the command against the API. It waits for answers, so it runs in a thread."""
    options = ["report", "--endpoint", api.url, "--key", api.secret, *arguments]
    return await asyncio.to_thread(CliRunner().invoke, main, options)


async def test_a_month_is_text_with_its_figures_beside_those_of_the_month_before(api: Api) -> None:
    found = await report(api, "--month", "2026-01")
    assert found.exit_code == 0, found.output
    lines = [re.sub(r" {2,}", " | ", line.strip()) for line in found.output.splitlines()]
    assert lines[0] == "Corner <b>Shop</b>: January 2026, compared with December 2025"
    for line in (
        "Revenue | 1,350.50 USD | 100.00 USD | +1,250 %",
        "Revenue | 7 JPY | 0 JPY | –",
        "Orders in USD | 3 | 1 | +200 %",
        "Average order | 450.17 USD | 100.00 USD | +350 %",
        "Visits | 1 | 0 | –",
        "Active customers | 3 | 1 | +200 %",
        "New customers | 2 | 1 | +100 %",
        "Returning customers | 1 | 0 | –",
        "new in | customers | +0 | +1",
        "December 2025 | 1 | 100 % | 100 %",
        "January 2026 | 2 | 100 %",
        "purchase | 4 | 1 | +300 %",
        "visit | 1 | 0 | –",
        "bob | 1,199.50 USD",
        "ann | 150.00 USD",
        "rich | 2 | 0 | 0 | 0",
    ):
        assert line in lines
    # Of the busiest hour, the cell is full.
    assert f"Friday     {2 * 10 * ' '}░░  ░░" in found.output.splitlines()
    assert f"Saturday   {2 * 12 * ' '}██" in found.output.splitlines()
    assert any(line.startswith("Fri | 2 | ████") and line.endswith("1,350.00 USD") for line in lines)


async def test_the_page_loads_nothing_runs_no_script_and_escapes_every_text(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "january.html"
    found = await report(api, "--month", "2026-01", "--html", str(file))
    assert (found.exit_code, found.output) == (0, f"January 2026 of Corner <b>Shop</b> in {file}\n")
    text = file.read_text()
    page = Page(text)
    assert {"script", "link", "img", "iframe", "b", "a", "object"} & set(page.tags) == set()
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "href", "xlink:href", "srcset"})
    assert "url(" not in text
    assert "@import" not in text
    policies = [value for name, value in page.attributes if name == "content" and value and "default-src" in value]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    for shown in ("Corner <b>Shop</b>", "January 2026", "1,350.50 USD", HOSTILE, "bob", "rich"):
        assert shown in page.texts
    # The tooltips of the charts have the exact values.
    assert "Friday, 2 January: 1,350.00 USD" in page.texts
    again = tmp_path / "again.html"
    await report(api, "--month", "2026-01", "--html", str(again))
    assert again.read_text() == text


async def test_a_month_without_events_says_so(api: Api, tmp_path: Path) -> None:
    text = (await report(api, "--month", "2020-06")).output
    assert "Nothing happened in June 2020.\n" in text
    assert re.search(r"Orders +0 +0 +±0 %", text), "there is no currency but one"
    assert re.search(r"Average order +– +– +–", text)
    file = tmp_path / "june.html"
    assert (await report(api, "--month", "2020-06", "--html", str(file))).exit_code == 0
    assert "Nothing happened in June 2020." in Page(file.read_text()).texts


async def test_a_month_that_has_not_ended_says_so(api: Api, clock: FixedClock) -> None:
    sentence = "The month has not ended: its figures are those so far, and the month before is whole.\n"
    clock.set(datetime(2026, 2, 28, 23, 59, tzinfo=UTC))
    assert sentence in (await report(api, "--month", "2026-02")).output
    clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    assert sentence not in (await report(api, "--month", "2026-02")).output


async def test_days_that_have_not_begun_have_no_revenue(api: Api, clock: FixedClock, tmp_path: Path) -> None:
    clock.set(datetime(2026, 1, 30, 12, tzinfo=UTC))
    lines = [line.split() for line in (await report(api, "--month", "2026-01")).output.splitlines()]
    assert ["Fri", "30", "0.00", "USD"] in lines
    assert ["Sat", "31"] in lines
    file = tmp_path / "month.html"
    assert (await report(api, "--month", "2026-01", "--html", str(file))).exit_code == 0
    assert "31" in Page(file.read_text()).texts, "the label stays"


async def test_a_month_or_a_currency_that_is_none_is_refused(api: Api) -> None:
    for month in ("2026-13", "January", "1899-01", "2199-12", "2026-1", "2026-01-01"):
        refused = await report(api, "--month", month)
        assert refused.exit_code == 2
        assert "Write it like 2025-01." in refused.output
    refused = await report(api, "--month", "2026-01", "--currency", "ABC")
    assert (refused.exit_code, "is no currency" in refused.output) == (2, True)


async def test_months_begin_at_the_local_midnight(resources: Resources, clock: FixedClock) -> None:
    clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    business = await open_business(resources, clock, currency="EUR", timezone="Europe/Berlin")
    await business.record(
        {"amount": 3, "occurred_at": "2025-12-31T22:59:59Z"}, {"amount": 5, "occurred_at": "2025-12-31T23:00:00Z"}
    )
    await business.run_worker()
    async with run_api(business) as api:
        text = (await report(api, "--month", "2026-01")).output
    assert re.search(r"Revenue +5\.00 EUR +3\.00 EUR", text)
    assert re.search(r"Thu  1 .* 5\.00 EUR", text)
