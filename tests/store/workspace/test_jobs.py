"""Jobs as documents, and their files in parts."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.domain.files.columns import ColumnMapping
from app.domain.files.csv_table import Layout
from app.domain.files.csv_values import DateOrder
from app.domain.files.import_plan import ImportOrder
from app.domain.files.imports import TablePlan
from app.domain.files.jsonl import LinePlan
from app.domain.jobs import JobKind
from app.store.codecs.jobs import order_from_doc, order_to_doc
from app.store.workspace.jobs import PART_BYTES
from tests.business import Business

NOW = datetime(2199, 1, 1, tzinfo=UTC)
"""Far in the future, so that nothing expires during a test."""


MAPPINGS = st.lists(st.builds(ColumnMapping, st.text(), st.none() | st.text(), st.none() | st.text())).map(tuple)
COMMON = {
    "mappings": MAPPINGS,
    "source": st.text(),
    "timezone": st.text(),
    "currency": st.text(),
    "date_order": st.none() | st.sampled_from(DateOrder),
}
LAYOUTS = st.builds(Layout, st.text(), st.text(), st.lists(st.text()).map(tuple), st.integers(0, 2**40))
PLANS = st.builds(TablePlan, layout=LAYOUTS, **COMMON) | st.builds(
    LinePlan, first_line_at=st.integers(0, 3), required_fields=st.lists(st.text()).map(tuple), **COMMON
)


@given(st.builds(ImportOrder, PLANS, st.booleans(), st.integers(0, 2**40)))
def test_decoded_order_of_an_import_equals_the_encoded_one(order: ImportOrder) -> None:
    assert order_from_doc(JobKind.IMPORT, order_to_doc(order)) == order


async def test_upload_is_read_from_any_position(business: Business) -> None:
    jobs = business.ctx.workspace.jobs
    data = bytes(range(256)) * (PART_BYTES // 256) + b"the end"
    for n in range(2):
        await jobs.put_input("job_1", n, data[n * PART_BYTES : (n + 1) * PART_BYTES], NOW)
    for position in (0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 3, len(data)):
        assert b"".join([part async for part in jobs.input("job_1", position)]) == data[position:]
    await jobs.drop_input("job_1")
    assert [part async for part in jobs.input("job_1", 0)] == []


async def test_report_lines_that_are_written_again_are_stored_once(business: Business) -> None:
    jobs = business.ctx.workspace.jobs
    for first in (1, 2_001, 1, 1_001, 2_001):
        await jobs.put_report("job_1", first, [(str(first + index), "x") for index in range(1_000)], NOW)
    lines = [line for some in [part async for part in jobs.report("job_1")] for line in some]
    assert [int(line[0]) for line in lines] == list(range(1, 3_001))
