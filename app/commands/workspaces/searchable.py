"""The searchable fields of a workspace, which updateWorkspace sets."""

from __future__ import annotations

from collections.abc import Sequence

from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.definitions import NextRevision, insert_next_version, repeat_if_changed
from app.domain.passes.searchable import SEARCHABLE_FIELDS, SearchableVersion, parse_searchable
from app.domain.segments.segments import DefinitionKind


async def read_searchable(ctx: Context) -> SearchableVersion | None:
    """Return the latest version of the searchable fields; None before the first. Raises Unavailable; safe to repeat."""
    found = await ctx.workspace.definitions.latest(DefinitionKind.SEARCHABLE, SEARCHABLE_FIELDS)
    return found if isinstance(found, SearchableVersion) else None


async def set_searchable(ctx: Context, sent: Sequence[object], *field: str) -> None:
    """Set the fields under whose values a search finds passes, and wake the backfill, which writes the new tokens.

    Nothing changes if they are set already. Safe to repeat. Raises Refused and Unavailable.
    """
    paths = parse_searchable(sent, *field)

    async def change() -> None:
        before = await read_searchable(ctx)
        if paths == (() if before is None else before.paths):
            return
        await record_audit_entry(
            ctx, "updateWorkspace", "Workspace", ctx.workspace.id, searchableFields=" ".join(paths)
        )

        def build(revision: NextRevision) -> SearchableVersion:
            number = 0 if before is None else before.version
            revision.check_version(SEARCHABLE_FIELDS, number)
            return SearchableVersion(revision.number, number + 1, revision.at, paths=paths)

        await insert_next_version(ctx, build)

    await repeat_if_changed(change)
