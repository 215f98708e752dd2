"""Schedule: make the edits of segments whose time has come."""

from __future__ import annotations

from app.commands.scheduled_edits import make_scheduled_edit
from workers.worker import Worker


async def schedule(worker: Worker, key: str) -> None:
    """Make the edit of a segment, of the key "workspace/segment", if its time has come. Safe to repeat.

    Several workers may do so at once: the edit becomes one version.
    """
    await worker.run_alone("schedule", key, lambda: _schedule_once(worker, key))


async def _schedule_once(worker: Worker, key: str) -> bool:
    workspace_id, _, segment_id = key.partition("/")
    await make_scheduled_edit(worker.resources, workspace_id, segment_id)
    return False
