"""API keys and the actors that they stand for."""

from __future__ import annotations

import pytest

from app.auth import KEY_TTL_SECONDS, Keyring
from app.clock import FixedClock
from app.commands.workspaces.keys import create_api_key, revoke_api_key
from app.domain.errors import Unauthenticated
from app.resources import Resources
from tests.business import create_business, open_business


async def test_key_gives_actor_of_its_workspace_with_its_scopes(resources: Resources, clock: FixedClock) -> None:
    business = await open_business(resources, clock)
    other = await create_business(resources, clock, "Other")
    keyring = Keyring(resources)
    for each, scopes in ((business, ["read"]), (other, ["admin", "write"])):
        key, secret = await create_api_key(each.ctx, "till", scopes)
        actor = await keyring.actor(f"bearer  {secret} ")
        assert (actor.workspace_id, actor.key_id, actor.scopes) == (each.ctx.workspace.id, key.id, frozenset(scopes))


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic abc", "Bearer \ud800", "x" * 9_999]
)
async def test_missing_or_malformed_key_is_unauthenticated(
    resources: Resources, clock: FixedClock, header: str | None
) -> None:
    await open_business(resources, clock)
    with pytest.raises(Unauthenticated):
        await Keyring(resources).actor(header)


async def test_revoked_key_works_for_a_second_and_no_longer(
    resources: Resources, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    business = await open_business(resources, clock)
    key, secret = await create_api_key(business.ctx, "till", ["read"])
    now = 100.0
    monkeypatch.setattr("app.auth.time.monotonic", lambda: now)
    keyring = Keyring(resources)
    await keyring.actor(f"Bearer {secret}")
    await revoke_api_key(business.ctx, key.id)
    await keyring.actor(f"Bearer {secret}")
    now += KEY_TTL_SECONDS + 0.1
    with pytest.raises(Unauthenticated):
        await keyring.actor(f"Bearer {secret}")


async def test_expired_key_is_unauthenticated(resources: Resources, clock: FixedClock) -> None:
    business = await open_business(resources, clock)
    key, secret = await create_api_key(business.ctx, "till", ["read"], "2199-01-01T00:00:00Z")
    await Keyring(resources).actor(f"Bearer {secret}")
    await business.ctx.workspace.keys.expire(key.id, key.created_at)
    with pytest.raises(Unauthenticated):
        await Keyring(resources).actor(f"Bearer {secret}")


async def test_last_use_of_a_key_is_stored_at_most_once_a_minute(resources: Resources, clock: FixedClock) -> None:
    business = await open_business(resources, clock)
    key, secret = await create_api_key(business.ctx, "till", ["read"])
    keyring = Keyring(resources)
    await keyring.actor(f"Bearer {secret}")
    await keyring.aclose()
    used_at = (await business.ctx.workspace.keys.get_many([key.id]))[key.id].last_used_at
    assert used_at is not None
    await keyring.actor(f"Bearer {secret}")
    await keyring.aclose()
    assert (await business.ctx.workspace.keys.get_many([key.id]))[key.id].last_used_at == used_at
