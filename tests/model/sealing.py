"""Seals beside the stages, and what must hold for the contents of rollups when all work is done."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.events.events import INTERNAL_TYPES
from app.domain.rollups.levels import Level
from app.domain.rollups.rows import CountedRow, add_rows, row_of
from app.domain.rollups.sealing import AT_ONCE
from app.domain.values.instants import to_ms
from app.store.codecs.events import from_doc
from app.store.codecs.guards import is_declined
from app.store.codecs.rollups import content_ids, rows_from_docs
from workers.seals import Seals
from workers.worker import Worker

from .memory import Doc, MemoryDatabase

LEVELS = (Level.HOUR, Level.DAY, Level.MONTH)


def seal_without_delay(worker: Worker) -> Worker:
    """Let a worker seal whatever is marked, and not depend on real time. Return it."""
    worker.seals = Seals(now_seconds=lambda: 0.0)
    worker.seals.timing = AT_ONCE
    return worker


def check_contents(db: MemoryDatabase, workspace_id: str) -> None:
    """Check that each rollup has the rows of its counted events, when nothing is pending. Raises AssertionError."""
    events = [from_doc(doc) for doc in db["events"].docs.values() if _is_counted(doc)]
    heads = db["rollup_heads"].docs
    for level in LEVELS:
        expected: dict[int, list[CountedRow]] = {}
        for event in events:
            row = row_of(event)
            cell_ms = row.start_ms - row.start_ms % level.cell_ms
            moved = CountedRow(cell_ms, row.type, row.key, totals=row.totals)
            expected.setdefault(level.start_ms(event.occurred_ms), []).append(moved)
        starts = {to_ms(head["start"]): head for head in heads.values() if head["level"] == level}
        assert expected.keys() <= starts.keys(), f"a {level.name} with events was never marked"
        for start_ms, head in starts.items():
            assert "dirty" not in head, f"a {level.name} was not sealed"
            found = _read_rows(db, workspace_id, level, head)
            assert _sorted(found) == _sorted(expected.get(start_ms, ())), f"the rollup of a {level.name} is out of date"


def _is_counted(doc: Doc) -> bool:
    return "removed" not in doc and doc["type"] not in INTERNAL_TYPES and not is_declined(doc)


def _read_rows(db: MemoryDatabase, workspace_id: str, level: Level, head: Doc) -> Iterable[CountedRow]:
    start_ms, token = to_ms(head["start"]), head.get("sealed")
    ids = content_ids(workspace_id, level, start_ms, token=token, kinds=head.get("types", ()))
    return rows_from_docs([db["rollups"].docs[each] for each in ids], level, start_ms)


def _sorted(rows: Iterable[CountedRow]) -> list[CountedRow]:
    return sorted(add_rows(rows), key=lambda row: (row.start_ms, row.type, str(row.key)))
