"""A business that sends mails to a local mail server, at the instants of a clock of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from app.clock import FixedClock, system_ms
from app.commands.messages.channels import create_channel
from app.commands.messages.messages import send_message
from app.commands.passes.passes import update_pass
from app.domain.activities import Activity
from app.domain.messages.channels import Channel
from app.domain.messages.messages import Message
from app.domain.passes.passes import Pass
from app.resources import Resources
from tests.business import Business, open_business
from tests.mail_server import MailServer, run_mail_server
from workers.stages.react import run_workspace
from workers.stages.send import run_channel
from workers.worker import Worker

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


class Harness:
    """A business with a channel over SMTP. It sends when a test asks, at the instant of the harness's own clock."""

    def __init__(self, business: Business, mail: MailServer) -> None:
        self.business, self.mail = business, mail
        self.channel: Channel
        # One hour ahead, so that messages that are due in system time are always due.
        self.now_ms = system_ms() + HOUR

    async def create_channel(self, **options: Any) -> Channel:
        """Create the channel `mail`, or another one."""
        settings = {"host": "127.0.0.1", "port": self.mail.port, "security": "NONE", "from": "shop@shop.test"}
        sent = {"key": "mail", "name": "Mail", "kind": "EMAIL", "provider": "SMTP", "settings": settings, **options}
        channel, _ = await create_channel(self.business.ctx, sent)
        self.channel = channel
        return channel

    async def customer(self, name: str = "ann", **holder: str) -> Pass:
        """Create a pass with an e-mail address."""
        [card] = await self.business.create_passes(name)
        await update_pass(self.business.ctx, card.id, holder={"email": f"{name}@home.test", "name": name, **holder})
        await self.business.run_worker()
        return card

    async def queue(self, card: Pass, **content: Any) -> Message:
        """Call sendMessage."""
        content = {"channelKey": "mail", "template": "Hello {{ pass.holder.name }}", "subject": "Hi", **content}
        key = content.pop("key", None)
        return await send_message(self.business.ctx, content, pass_id=card.id, external_id=None, idempotency_key=key)

    async def send_only(self, worker: Worker) -> None:
        """Send until there is nothing to do, in a worker, at the present instant of the harness's clock."""
        await run_channel(worker, self.channel.id, now_ms=lambda: self.now_ms, chance=lambda: 0.0)

    async def send(self, later_ms: int = 0, **options: Any) -> None:
        """Send until there is nothing to do, so many milliseconds after the last time, and count the outcomes."""
        self.now_ms += later_ms
        options = {"worker": self.business.worker, "chance": lambda: 0.0, **options}
        await run_channel(channel_id=self.channel.id, now_ms=lambda: self.now_ms, **options)
        await self.business.run_worker()

    async def read(self, message: Message) -> Message:
        """Return a message as stored."""
        return (await self.business.ctx.workspace.messages.get_many([message.id]))[message.id]

    async def outcomes(self) -> list[Activity]:
        """Return the activities that report outcomes of messages."""
        return [each for each in await self.business.read_log() if each.type.startswith("customer.email.")]

    async def react(self) -> None:
        """Let the firings of rules queue their messages, and send them."""
        await self.business.run_worker()
        await run_workspace(self.business.worker, self.business.ctx.workspace.id, now_ms=lambda: self.now_ms)
        await self.send()


@asynccontextmanager
async def open_harness(resources: Resources, clock: FixedClock) -> AsyncIterator[Harness]:
    """Open a business with a channel to a local mail server for the block."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",), public_url="https://loyalty.test/punchcard")
    async with run_mail_server() as mail:
        harness = Harness(await open_business(replace(resources, settings=settings), clock), mail)
        await harness.create_channel()
        yield harness
