"""Runs of a stage that take too long for arq, which would log a traceback."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from arq.worker import Function

from app.telemetry import metrics
from workers import main
from workers.worker import Worker


async def test_run_that_takes_too_long_is_one_line_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = list[str]()

    async def run_long(worker: Worker, key: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(key)

    monkeypatch.setattr(main, "STAGE_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setitem(main.GUARDED, "publish", run_long)
    worker = SimpleNamespace(id="own", sharing=SimpleNamespace(owners=lambda stage, key: {"own"}))
    before = metrics.STAGE_FAILURES.labels("publish", "timeout")._value.get()
    job = main._arq_function("publish")
    assert isinstance(job, Function)
    await job.coroutine({"worker": worker}, "w_1")
    assert ended == ["w_1"]
    assert [record.getMessage() for record in caplog.records] == [
        "publish w_1 stopped after 0.01 s, the next sweep continues it; if this line repeats, look for a large backlog or a"
        " slow store"
    ]
    assert caplog.records[0].exc_info is None
    assert metrics.STAGE_FAILURES.labels("publish", "timeout")._value.get() == before + 1


def test_worker_cancels_a_run_before_arq_does() -> None:
    job = main._arq_function("publish")
    assert job.timeout_s is not None
    assert job.timeout_s > main.STAGE_TIMEOUT_SECONDS
