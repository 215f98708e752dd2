"""The sample file, imported: every purchase counts once, to the cent, although the worker crashes often."""

from __future__ import annotations

import csv
import random
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.commands.jobs.imports import import_events
from app.domain.jobs import JobStatus
from app.store.stages.job_leases import JobLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.passes import PassQueries
from tests.business import Business
from tests.crashes import Crash
from tests.workers.jobs.test_imports import File, import_file, row_counts, run_to_end
from workers.jobs import imports as imports
from workers.stages.run_job import jobs

SAMPLE = Path(__file__).parents[1] / "data" / "cdnow_sample.csv"


def sum_file() -> dict[str, tuple[int, Decimal]]:
    """Return (purchases, amount spent) of each customer, summed from the file."""
    found: dict[str, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    with SAMPLE.open(newline="") as file:
        for row in csv.DictReader(file):
            count, total = found[row["customer_id"]]
            found[row["customer_id"]] = count + 1, total + Decimal(row["dollar_value"])
    return dict(found)


async def sum_store(business: Business) -> dict[str, tuple[int, Decimal]]:
    """Return (purchases, amount spent) of each pass, summed from the stored events."""
    db, found = business.ctx.resources.db, defaultdict[str, tuple[int, Decimal]](lambda: (0, Decimal(0)))
    names = {doc["_id"]: doc["external_id"] async for doc in db["passes"].find({}, {"external_id": 1})}
    async for doc in db["events"].find({"type": "purchase", "currency": "USD"}, {"pass": 1, "amount": 1}):
        count, total = found[names[doc["pass"]]]
        found[names[doc["pass"]]] = count + 1, total + doc["amount"].to_decimal()
    assert found.keys() == set(names.values())
    return dict(found)


async def test_import_with_crashes_is_exact_and_a_second_one_creates_nothing(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await import_events(business.ctx, File(SAMPLE.read_bytes(), SAMPLE.name))
    chance = random.Random(1)
    crashes: Counter[str] = Counter()

    def add_crashes(owner: type, step: str) -> None:
        original = getattr(owner, step)

        async def crash_at_random(*args: Any, **kwargs: Any) -> Any:
            before, after = chance.random() < 0.15, chance.random() < 0.15
            if before:
                crashes[step] += 1
                raise Crash
            answer = await original(*args, **kwargs)
            if after:
                crashes[step] += 1
                raise Crash
            return answer

        monkeypatch.setattr(owner, step, crash_at_random)

    with monkeypatch.context() as monkeypatch:
        monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 500)
        for owner, step in ((EventQueries, "insert"), (PassQueries, "insert"), (JobLeases, "commit")):
            add_crashes(owner, step)
        while (found := await business.ctx.workspace.jobs.get(job.id)) is not None and found.finished_at is None:
            try:
                await jobs(business.worker, job.id)
            except Crash:
                await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
    assert sum(crashes.values()) > 5
    done = await run_to_end(business, job)
    assert (done.status, row_counts(done)) == (JobStatus.SUCCEEDED, (6_919, 0, 0))
    stored = await sum_store(business)
    assert stored == sum_file()
    assert (len(stored), sum(total for _, total in stored.values())) == (2_357, Decimal("244091.94"))
    second = await import_file(business, SAMPLE.read_bytes(), SAMPLE.name)
    assert row_counts(second) == (0, 6_919, 0)
