"""`punchcard key create`, `list` and `revoke`: API keys, with direct access to the store instead of an API key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

import click

from app.clock import SystemClock
from app.commands.context import Context
from app.commands.workspaces.keys import create_api_key, revoke_api_key
from app.config.settings import Settings
from app.domain.actors import ADMIN, READ, SCOPES, SUBSCRIBE, WRITE, ApiKey
from app.domain.values.instants import format_instant, to_ms
from app.local.folder import is_owned
from app.local.key_file import KeyFile, KeyOrigin
from app.local.servers import Servers, hosts_of
from app.resources import Resources, open_resources
from app.store.mongo.paging import PageRequest

from .database import open_writable, operator_context, require_workspace
from .settings import with_settings

PAGE_SIZE = 250
DEFAULT_SCOPES = ",".join((READ, WRITE, SUBSCRIBE, ADMIN))
T = TypeVar("T")

_of_workspace = click.option(
    "--workspace", "workspace_id", help="The id of the workspace.  [default: the only workspace of the database]"
)


@click.group()
def key() -> None:
    """Create, list and revoke API keys, without an API key: the command uses the store itself.

    Use it if a key is lost. It needs MONGODB_URI and REDIS_URL, or a running `punchcard up`.

    \b
    Examples:
      punchcard key list
      punchcard key create --name till --scopes read,write
      punchcard key revoke key_06d9…
    """


@key.command()
@_of_workspace
@click.option("--name", default="Command line", show_default=True, help="The name of the key, for people.")
@click.option("--scopes", default=DEFAULT_SCOPES, show_default=True, help=f"Some of {', '.join(SCOPES)}, with commas.")
@click.option("--save", is_flag=True, help="Also write the key to the data folder, unless the folder has a key.")
@with_settings
def create(settings: Settings, workspace_id: str | None, name: str, scopes: str, save: bool) -> None:
    """Create an API key of a workspace and print it.

    Keep the key: Punchcard stores only its hash and cannot show it again. With --save, `punchcard demo`, `import` and
    `export` use the key by default.

    \b
    Examples:
      punchcard key create --name till --scopes read,write
      punchcard key create --save
    """
    file = KeyFile(settings.data_dir)
    if save:
        file.require_absence()

    async def make(resources: Resources) -> str:
        ctx = await _open_workspace(resources, workspace_id)
        _, secret = await create_api_key(ctx, name, [each.strip() for each in scopes.split(",")])
        return secret

    secret = _run(settings, make, writes=True)
    if save:
        file.write(secret, _origin_of(settings))
    click.echo(secret)


@key.command(name="list")
@_of_workspace
@with_settings
def list_(settings: Settings, workspace_id: str | None) -> None:
    """List the API keys of a workspace, the newest first: id, state, creation, last use, scopes and name.

    \b
    Example:
      punchcard key list
    """

    async def read(resources: Resources) -> tuple[list[ApiKey], datetime]:
        store = (await _open_workspace(resources, workspace_id)).workspace.keys
        page = await store.page(PageRequest(PAGE_SIZE))
        found = list(page.items)
        while page.has_more:
            last = found[-1]
            page = await store.page(PageRequest(PAGE_SIZE, after=(to_ms(last.created_at), last.id)))
            found += page.items
        return found, await SystemClock().now()

    keys, now = _run(settings, read, writes=False)
    for each in keys:
        state = "valid" if each.is_usable_at(now) else "expired" if each.revoked_at is None else "revoked"
        used = "never used" if each.last_used_at is None else f"used {format_instant(each.last_used_at)}"
        created = format_instant(each.created_at)
        click.echo(f"{each.id}  {state:7}  created {created}  {used}  {','.join(each.scopes)}  {each.name}")


@key.command()
@click.argument("key_id")
@_of_workspace
@with_settings
def revoke(settings: Settings, key_id: str, workspace_id: str | None) -> None:
    """Revoke the API key with the id KEY_ID for good. Every process refuses the key within about a second.

    \b
    Example:
      punchcard key revoke key_06d9…
    """

    async def end(resources: Resources) -> ApiKey:
        return await revoke_api_key(await _open_workspace(resources, workspace_id), key_id)

    click.echo(f"{_run(settings, end, writes=True).id} is revoked.")


def _run(settings: Settings, work: Callable[[Resources], Coroutine[Any, Any, T]], *, writes: bool) -> T:
    async def run() -> T:
        async with open_writable(settings) if writes else open_resources(settings) as resources:
            return await work(resources)

    return asyncio.run(run())


async def _open_workspace(resources: Resources, workspace_id: str | None) -> Context:
    return operator_context(resources, (await require_workspace(resources, workspace_id)).id, "key")


def _origin_of(settings: Settings) -> KeyOrigin:
    uri = settings.mongodb_uri
    if uri is None and is_owned(settings.data_dir):
        return KeyOrigin(Servers.read(settings.data_dir).store, settings.database)
    return KeyOrigin(hosts_of(uri or ""), settings.database)
