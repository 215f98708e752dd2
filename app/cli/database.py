"""The database that a command operates on: whether this version may write it, and its workspaces."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import click

from app.commands.context import Context
from app.config.settings import Settings
from app.domain.actors import operator
from app.domain.workspaces import WorkspaceProfile
from app.resources import Resources, open_resources
from app.store.operations.schema_version import require_writable
from app.store.workspace.workspaces import list_profiles


@contextlib.asynccontextmanager
async def open_writable(settings: Settings) -> AsyncIterator[Resources]:
    """Open the resources for a command that writes. Raises SchemaTooNew if this version must not write the database."""
    async with open_resources(settings) as resources:
        await require_writable(resources.db)
        yield resources


async def require_workspaces(resources: Resources) -> list[WorkspaceProfile]:
    """Return the profiles of all workspaces. Raises ClickException for none: the command reads the wrong database."""
    profiles = await list_profiles(resources.db)
    if not profiles:
        raise click.ClickException(
            f"The database {resources.settings.database} has no workspace. Check MONGODB_URI and PUNCHCARD_DATABASE. For a"
            " new database, create a workspace with `punchcard workspace create`."
        )
    return profiles


async def require_workspace(resources: Resources, workspace_id: str | None) -> WorkspaceProfile:
    """Return the profile with the id, or the only one. Raises ClickException with the list of workspaces otherwise."""
    profiles = await require_workspaces(resources)
    chosen = [each for each in profiles if workspace_id in (None, each.id)]
    if len(chosen) == 1:
        return chosen[0]
    listed = "\n".join(f"  {each.id}  {each.name}" for each in profiles)
    problem = "" if workspace_id is None else f"There is no workspace {workspace_id}. "
    raise click.ClickException(f"{problem}Name one of these workspaces with --workspace:\n{listed}")


def operator_context(resources: Resources, workspace_id: str, command: str) -> Context:
    """Return the context in which a command of the command line acts on a workspace. Audit entries then name it."""
    return Context(resources.workspace(workspace_id), operator(workspace_id, command), resources)
