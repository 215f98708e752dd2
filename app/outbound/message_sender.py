"""One attempt to send a message to a customer over the channel's provider."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from app.domain.messages.channels import Channel, Provider
from app.domain.messages.rendering import Rendered

from . import providers
from .addresses import Allowed
from .http_client import Poster, open_poster
from .sending import SendOutcome, SendResult, Stopwatch
from .smtp import SmtpSender, compose, open_smtp

SEND_TIMEOUT_SECONDS = 15.0
"""The longest time that one attempt takes: half a lease on a channel."""


class MessageSender:
    """A sender of messages over one channel, any number at a time. `mailbox` is the file of the provider MAILBOX."""

    def __init__(
        self, channel: Channel, secret: str | None, via: Poster | SmtpSender | None, mailbox: Path | None
    ) -> None:
        self._channel, self._secret, self._via, self._mailbox = channel, secret, via, mailbox

    async def send(self, message: Rendered, now_ms: Callable[[], int], timeout_seconds: float) -> SendResult:
        """Send a message once and return the result. A provider that fails is a result, not an error."""
        if isinstance(self._via, SmtpSender):
            return await self._via.send(message, now_ms, timeout_seconds)
        if isinstance(self._via, Poster):
            return await providers.send(
                self._via, self._channel, self._secret, message, now_ms=now_ms, timeout_seconds=timeout_seconds
            )
        return await self._write(message, Stopwatch(now_ms))

    async def _write(self, message: Rendered, watch: Stopwatch) -> SendResult:
        if self._mailbox is None:
            return SendResult(SendOutcome.FAILED, watch.attempt(None, "This installation has no mailbox file."))
        try:
            await asyncio.to_thread(
                _append, self._mailbox, self._channel.setting("from"), compose(self._channel, message)
            )
        except (OSError, ValueError) as error:
            return SendResult(SendOutcome.FAILED, watch.attempt(None, str(error)))
        return SendResult(SendOutcome.ACCEPTED, watch.attempt(None, None))


@asynccontextmanager
async def open_sender(
    channel: Channel, secret: str | None, allowed: Allowed, mailbox: Path | None = None
) -> AsyncIterator[MessageSender]:
    """Open a sender over a channel for the block, and close its connections afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        via: Poster | SmtpSender | None = None
        if channel.provider is Provider.SMTP:
            via = await stack.enter_async_context(open_smtp(channel, secret, allowed))
        elif channel.provider is not Provider.MAILBOX:
            via = await stack.enter_async_context(open_poster(allowed))
        yield MessageSender(channel, secret, via, mailbox=mailbox)


def _append(path: Path, sender: str, mail: bytes) -> None:
    """Append a mail to a file in the mbox format, which mail programs open. (Source: RFC 4155.)"""
    lines = [b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in mail.splitlines()]
    with path.open("ab") as file:
        file.write(b"\n".join([b"From " + sender.encode(), *lines, b"", b""]))
