"""The development key of a data folder: `punchcard up` creates it once, and never replaces it."""

from __future__ import annotations

from app.clock import SystemClock
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import ConfigError
from app.domain.actors import secret_hash
from app.local.key_file import KeyFile, KeyOrigin
from app.resources import Resources
from app.store.workspace.keys import find_key_by_hash
from app.store.workspace.workspaces import list_profiles


async def describe_key(resources: Resources, file: KeyFile, origin: KeyOrigin) -> str:
    """Return what `punchcard up` says about the key of its folder. Create workspace and key in an empty database.

    Raises ConfigError for a key that the database does not have: its data is elsewhere. Raises Unavailable.
    """
    secret = file.read()
    if secret is None:
        return await _create_first_key(resources, file, origin)
    key = await find_key_by_hash(resources.db, secret_hash(secret))
    if key is None:
        raise ConfigError([_explain_unknown_key(file, origin)])
    if file.read_origin() != origin:
        file.write_origin(origin)
    if not key.is_usable_at(await SystemClock().now()):
        return f"that in {file.path} is revoked or expired; `punchcard key create` makes another"
    return f"in {file.path}   (send it as Authorization: Bearer <key>)"


async def _create_first_key(resources: Resources, file: KeyFile, origin: KeyOrigin) -> str:
    if await list_profiles(resources.db, limit=1):
        return f"none in {file.path}; `punchcard key create --save` makes one for a workspace that exists"
    _, secret = await create_workspace(resources, "Development", command="up")
    file.write(secret, origin)
    return f"{secret}   (shown only now; stored in {file.path}; send it as Authorization: Bearer <key>)"


def _explain_unknown_key(file: KeyFile, origin: KeyOrigin) -> str:
    written = file.read_origin()
    if written is None or written == origin:
        reason = "The data of the key is in another database, or it was deleted."
    else:
        reason = f"The key was made for {written}. Use that database again, or another folder with --data-dir."
    return (
        f"The key in {file.path} does not exist in {origin}. {reason} To start without the key, rename the file; then"
        " `punchcard key create` makes another one."
    )
