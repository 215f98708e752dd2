"""importSegmentMembers: a file puts passes on a list of a segment, once, whatever crashes; a bad row fails alone."""

from __future__ import annotations

from typing import Any

import pytest

from app.commands.passes.list_imports import import_segment_members
from app.commands.segments import archive_segment
from app.domain.errors import Code, Refused
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import LIST_ADDED
from app.domain.files.imports import ImportFormat
from app.domain.jobs import Job, JobStatus
from app.domain.passes.lists import EXCLUDE, INCLUDE
from app.graphql.types.ids import to_global_id
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases
from workers.jobs import imports
from workers.stages.run_job import jobs

from .test_imports import File, read_report, run_to_end


async def import_members(
    business: Business, segment_id: str, text: str, *, list_name: str = INCLUDE, kind: ImportFormat = ImportFormat.CSV
) -> Job:
    file = File(text.encode(), "members.csv")
    return await import_segment_members(business.ctx, segment_id, list_name, file, kind=kind)


async def members(business: Business, segment_id: str) -> list[str]:
    await business.run_worker()
    page = await business.ctx.workspace.segments.members(segment_id, PageRequest(100))
    return sorted(card.external_id or "" for card in page.items)


async def test_file_names_passes_by_external_id_or_id_and_a_bad_row_fails_alone(business: Business) -> None:
    ann, bob, _ = await business.create_passes("ann", "bob", "cleo")
    segment = await business.create_segment("friends", {"list": True})
    text = (
        f"passExternalId,note,passId\nann,x,\n,,{to_global_id('Pass', bob.id)}\nnobody,,\n,,\nann,again,\n"
        f"cleo,,{ann.id}\ncleo\n"
    )
    done = await run_to_end(business, await import_members(business, segment.id, text))
    assert (done.status, done.result) == (
        JobStatus.SUCCEEDED,
        {"added": 2, "duplicate": 1, "failed": 3, "warnings": []},
    )
    assert await members(business, segment.id) == ["ann", "bob"]
    assert [line[:3] for line in await read_report(business, done)] == [
        ["3", "UNKNOWN", "passExternalId"],
        ["5", "INVALID", "passExternalId"],
        ["6", "INVALID", ""],
    ]


async def test_lines_of_json_exclude_members(business: Business) -> None:
    await business.record({"pass_external_id": "ann"}, {"pass_external_id": "bob"})
    segment = await business.create_segment("buyers", purchases(1))
    assert await members(business, segment.id) == ["ann", "bob"]
    text = '{"passExternalId": "bob"}\n{"passExternalId": 7}\n[1]\n'
    job = await import_members(business, segment.id, text, list_name=EXCLUDE, kind=ImportFormat.JSONL)
    assert (await run_to_end(business, job)).result | {"warnings": []} == {
        "added": 1, "duplicate": 0, "failed": 2, "warnings": [],
    }  # fmt: skip
    assert await members(business, segment.id) == ["ann"]


async def test_repeat_after_a_crash_records_each_pass_once_and_counts_it_once(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"guest-{number}" for number in range(5)]
    await business.create_passes(*names)
    segment = await business.create_segment("friends", {"list": True})
    job = await import_members(business, segment.id, "\n".join(["passExternalId", *names, names[0]]))
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 2)
    leases = business.worker.job_leases

    async def crash(*_: Any) -> None:
        raise ConnectionError("crashed")

    with monkeypatch.context() as patch:
        patch.setattr(leases, "commit", crash)
        with pytest.raises(ConnectionError):
            await jobs(business.worker, job.id)
    await business.ctx.resources.db["jobs"].update_one({"_id": job.id}, {"$set": {"lease": 0}})
    done = await run_to_end(business, job)
    assert (done.result["added"], done.result["duplicate"], done.total) == (5, 1, 6)
    assert await members(business, segment.id) == names
    page = await business.ctx.workspace.events.page(EventQuery(types=[LIST_ADDED]), PageRequest(10))
    assert len(page.items) == 5


@pytest.mark.parametrize(
    ("text", "list_name", "code", "path"),
    [
        ("name\nann\n", INCLUDE, Code.REQUIRED, ("file",)),
        ("", INCLUDE, Code.REQUIRED, ("file",)),
        ("passExternalId\nann\n", EXCLUDE, Code.INVALID, ("list",)),
    ],
)
async def test_file_without_names_and_wrong_list_are_refused_at_once(
    business: Business, text: str, list_name: str, code: Code, path: tuple[str, ...]
) -> None:
    segment = await business.create_segment("friends", {"list": True})
    with pytest.raises(Refused) as refused:
        await import_members(business, segment.id, text, list_name=list_name)
    assert [(each.code, each.field) for each in refused.value.problems] == [(code, path)]
    assert await business.ctx.workspace.jobs.count_open() == 0


async def test_segment_that_is_unknown_or_archived_is_refused(business: Business) -> None:
    segment = await business.create_segment("friends", {"list": True})
    await archive_segment(business.ctx, segment.id)
    for segment_id, code in ((segment.id, Code.CONFLICT), ("seg_none", Code.UNKNOWN)):
        with pytest.raises(Refused) as refused:
            await import_members(business, segment_id, "passExternalId\nann\n")
        assert [(each.code, each.field) for each in refused.value.problems] == [(code, ("segmentId",))]
