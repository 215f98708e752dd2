"""The sample, imported: every purchase once, to the cent, also by a worker that is killed again and again."""

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
from tests.workers.jobs.test_imports import File, Killed, counts, finished, imported
from workers.jobs import imports as stage
from workers.stages.run_job import jobs

SAMPLE = Path(__file__).parents[1] / "data" / "cdnow_sample.csv"


def spent_in_file() -> dict[str, tuple[int, Decimal]]:
    """(purchases, spent) of each customer, by adding up the file."""
    found: dict[str, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    with SAMPLE.open(newline="") as file:
        for row in csv.DictReader(file):
            count, total = found[row["customer_id"]]
            found[row["customer_id"]] = count + 1, total + Decimal(row["dollar_value"])
    return dict(found)


async def spent_in_store(business: Business) -> dict[str, tuple[int, Decimal]]:
    """(purchases, spent) of each pass, from the events as stored."""
    db, found = business.ctx.resources.db, defaultdict[str, tuple[int, Decimal]](lambda: (0, Decimal(0)))
    names = {doc["_id"]: doc["external_id"] async for doc in db["passes"].find({}, {"external_id": 1})}
    async for doc in db["events"].find({"type": "purchase", "currency": "USD"}, {"pass": 1, "amount": 1}):
        count, total = found[names[doc["pass"]]]
        found[names[doc["pass"]]] = count + 1, total + doc["amount"].to_decimal()
    assert found.keys() == set(names.values())
    return dict(found)


async def test_the_sample_is_imported_to_the_cent_and_again_creates_nothing(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await import_events(business.ctx, File(SAMPLE.read_bytes(), SAMPLE.name))
    chance = random.Random(1)
    deaths: Counter[str] = Counter()

    def mortal(owner: type, step: str) -> None:
        real = getattr(owner, step)

        async def dying(*args: Any, **kwargs: Any) -> Any:
            early, late = chance.random() < 0.15, chance.random() < 0.15
            if early:
                deaths[step] += 1
                raise Killed
            answer = await real(*args, **kwargs)
            if late:
                deaths[step] += 1
                raise Killed
            return answer

        monkeypatch.setattr(owner, step, dying)

    with monkeypatch.context() as monkeypatch:
        monkeypatch.setattr(stage, "IMPORT_BATCH_SIZE", 500)
        for owner, step in ((EventQueries, "insert"), (PassQueries, "insert"), (JobLeases, "commit")):
            mortal(owner, step)
        while (found := await business.ctx.workspace.jobs.get(job.id)) is not None and found.finished_at is None:
            try:
                await jobs(business.worker, job.id)
            except Killed:
                await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
    assert sum(deaths.values()) > 5
    done = await finished(business, job)
    assert (done.status, counts(done)) == (JobStatus.SUCCEEDED, (6_919, 0, 0))
    stored = await spent_in_store(business)
    assert stored == spent_in_file()
    assert (len(stored), sum(total for _, total in stored.values())) == (2_357, Decimal("244091.94"))
    again = await imported(business, SAMPLE.read_bytes(), SAMPLE.name)
    assert counts(again) == (0, 6_919, 0)
