"""A duplicate key beside a failure of the write concern: the document that exists may be rolled back, so nothing counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from app.commands.events.event_types import update_event_type
from app.commands.segments import create_segment
from app.domain.errors import Unavailable
from app.store.workspace.exports import Part
from tests.business import Business, purchases
from tests.store_proxy import Fault, StoreProxy
from tests.wire.framing import Command

AT = datetime(2026, 1, 1, tzinfo=UTC)


def answer_duplicate_without_majority(_: Command) -> dict[str, object]:
    return {
        "ok": 1.0,
        "n": 0,
        "writeErrors": [{"index": 0, "code": 11000, "errmsg": "duplicate key"}],
        "writeConcernError": {"code": 64, "errmsg": "waiting timed out"},
    }


async def put_part(business: Business) -> object:
    return await business.ctx.workspace.exports.put("job_1", 0, b"", Part(1, "b"), AT)


async def define_type(business: Business) -> object:
    attribute = {"name": "till", "type": "TEXT"}
    return await update_event_type(business.ctx, "visit", attributes=[attribute])


async def define_segment(business: Business) -> object:
    return await create_segment(business.ctx, "two", "Two", purchases(2))


@pytest.mark.parametrize(
    ("collection", "act"),
    [
        ("job_files", put_part),
        ("event_types", define_type),
        ("segments", define_segment),
        ("definitions", define_segment),
    ],
)
async def test_duplicate_that_no_majority_has_is_unavailable_and_safe_to_repeat(
    proxied: Business, proxy: StoreProxy, collection: str, act: Callable[[Business], Awaitable[object]]
) -> None:
    proxy.add(Fault("insert", collection, reply=answer_duplicate_without_majority, takes_effect=False))
    with pytest.raises(Unavailable):
        await act(proxied)
    assert await act(proxied)


async def test_part_of_an_export_that_exists_but_is_not_found_is_unavailable(
    proxied: Business, proxy: StoreProxy
) -> None:
    """The part was inserted by another worker and deleted since. The caller must not take its own part as the stored one."""
    proxy.fail_writes("insert", "job_files", code=11000)
    with pytest.raises(Unavailable):
        await put_part(proxied)
    assert await put_part(proxied) == Part(1, "b")
