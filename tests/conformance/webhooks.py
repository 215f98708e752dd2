"""Webhooks with receivers and senders that verify them with the libraries of Standard Webhooks and Svix."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from app.commands.inbound.hooks import create_inbound_hook
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.errors import Unavailable
from app.local.servers import free_port
from tests.business import Business
from workers.stages.deliver import run_endpoint

EVENTS = 20
SECONDS = 12
"""How long a receiver waits for messages: longer than the first retry takes, which comes after 5 seconds."""
BEHAVIOURS: Mapping[str, int] = {"ok": EVENTS, "fail-first": EVENTS, "gone": 1, "redirect": 1}
"""Behaviours of the receiver, each with the number of messages that it waits for."""
MAPPING = {"fields": {"passExternalId": "data.id", "type": {"value": "visit"}}}
SENT = 5


async def run_receivers(folder: Path, business: Business) -> int:
    """Deliver to the receiver in each of its behaviours; return how many of its runs failed."""
    await business.record(*({"pass_external_id": f"guest-{n % 5}"} for n in range(EVENTS)))
    await business.run_worker()
    failed = 0
    for behaviour, expected in BEHAVIOURS.items():
        port = free_port()
        endpoint, secret = await create_webhook_endpoint(business.ctx, f"http://127.0.0.1:{port}/hook", after=0)
        env = os.environ | {"WEBHOOK_SECRET": secret, "WEBHOOK_BEHAVIOUR": behaviour}
        argv = ("webhook-receiver.mjs", str(port), str(expected), str(SECONDS))
        receiver = await asyncio.create_subprocess_exec("node", *argv, cwd=folder, env=env)
        await _wait_for_port(port)
        delivering = asyncio.create_task(_deliver_until_cancelled(business, endpoint.id))
        failed += bool(await receiver.wait())
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
    return failed


async def run_senders(folder: Path, business: Business, address: str) -> int:
    """Run the sender against an inbound hook and return the number of failed runs, 0 or 1."""
    hook, secret = await create_inbound_hook(business.ctx, "Sender", "sender", MAPPING, create_missing_passes=True)
    python = str(folder / "toolvenv" / "bin" / "python")
    argv = ("webhook_verify.py", f"{address.removesuffix('/graphql')}{hook.path}", str(SENT))
    sender = await asyncio.create_subprocess_exec(
        python, *argv, cwd=folder, env=os.environ | {"WEBHOOK_SECRET": secret}
    )
    return int(bool(await sender.wait()))


async def _deliver_until_cancelled(business: Business, endpoint_id: str) -> None:
    """Deliver in a loop, as the sweep of a worker does."""
    while True:
        with contextlib.suppress(Unavailable):
            await run_endpoint(business.worker, endpoint_id)
        await asyncio.sleep(0.1)


async def _wait_for_port(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
