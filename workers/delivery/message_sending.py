"""One message to a customer: read what it needs, decide whether it may be sent now, render it, and send it once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from app.domain.messages.channels import Channel
from app.domain.messages.messages import Message, MessageReason
from app.domain.messages.rendering import Obstacle, find_obstacle, render
from app.domain.messages.unsubscribing import Unsubscription, issue_token
from app.domain.passes.passes import Pass
from app.domain.passes.profiles import FIELD_EVENTS, apply_field_event
from app.domain.rules.message_templates import MessageTemplate
from app.domain.values.instants import from_ms
from app.outbound.message_sender import MessageSender
from app.outbound.sending import SendResult
from app.store.workspace.workspace import Workspace
from workers.worker import Worker

from .message_outcomes import after_attempt, end_by, hold

MAX_CACHED_TEMPLATES = 100
"""Templates that one run keeps in memory."""


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a message: an obstacle, the end of quiet hours, or the result of an attempt.

    `pass_id` is the pass that answers for the message's pass now; None if it was erased.
    """

    message: Message
    pass_id: str | None
    obstacle: Obstacle | None = None
    held_until: datetime | None = None
    result: SendResult | None = None

    def finish(self, is_channel_failing: bool, at: datetime, now_ms: int, chance: float) -> Message:
        """Return the message afterwards. `at` is business time."""
        message = replace(self.message, held_until=None)
        if self.obstacle is not None:
            return end_by(message, self.obstacle, from_ms(now_ms))
        if self.held_until is not None:
            return hold(message, self.held_until, at, from_ms(now_ms))
        if self.result is None:
            return message
        return after_attempt(message, self.result, at, now_ms, chance=chance, is_channel_failing=is_channel_failing)


def _without_address(result: SendResult, address: str) -> SendResult:
    """Return the result without the address, which servers like to repeat in their answers."""
    error = result.attempt.error
    if error is None or not address:
        return result
    kept = re.sub(re.escape(address), "…", error, flags=re.IGNORECASE)
    return replace(result, attempt=replace(result.attempt, error=kept))


class MessageHandler:
    """Handler of the messages of one channel. `zone` and `secret` are those of the workspace."""

    def __init__(
        self,
        worker: Worker,
        workspace: Workspace,
        channel: Channel,
        sender: MessageSender,
        *,
        zone: ZoneInfo,
        secret: bytes,
        now_ms: Callable[[], int],
        timeout_seconds: float,
    ) -> None:
        self._worker, self._workspace, self._channel, self._sender = worker, workspace, channel, sender
        self._zone, self._secret, self._now_ms, self._timeout_seconds = zone, secret, now_ms, timeout_seconds
        self._templates: dict[str, MessageTemplate] = {}

    async def handle(self, message: Message) -> Handled:
        """Send a message, or find out why it is not sent now. Raises Unavailable; then nothing was decided."""
        card = await self._read_pass(message.pass_id)
        if card is None:
            return Handled(message, None)
        channel, at = self._channel, await self._worker.resources.clock.now()
        if (obstacle := find_obstacle(message, channel, card, at)) is not None:
            return Handled(message, card.id, obstacle)
        if channel.quiet_hours is not None and (end := channel.quiet_hours.end(at)) is not None:
            return Handled(message, card.id, held_until=end)
        if await self._is_capped(card.id, at):
            sentence = "The pass has had as many messages of this channel as its frequency cap allows."
            return Handled(message, card.id, Obstacle(MessageReason.FREQUENCY_CAP, sentence))
        return await self._render_and_send(message, card)

    async def _read_pass(self, pass_id: str) -> Pass | None:
        """Return the pass that answers, with all changes of its profile that are recorded. A consent counts at once."""
        card = await self._workspace.passes.get(pass_id)
        if card is None:
            return None
        profile = card.profile
        for event in await self._workspace.events.unfolded(card.id):
            if event.type in FIELD_EVENTS:
                profile = apply_field_event(profile, event)
        return replace(card, profile=profile)

    async def _is_capped(self, pass_id: str, at: datetime) -> bool:
        cap = self._channel.frequency_cap
        if cap is None:
            return False
        aliases = (await self._workspace.passes.aliases([pass_id])).get(pass_id, ())
        since = cap.start(at, self._zone)
        return await self._workspace.messages.count_sent([pass_id, *aliases], self._channel.id, since) >= cap.count

    async def _render_and_send(self, message: Message, card: Pass) -> Handled:
        template = await self._read_template(message.template_id)
        if template is None:
            return Handled(message, card.id, Obstacle(MessageReason.TEMPLATE, "The template of the message is gone."))
        event_id = message.cause.event_id
        event = None if event_id is None else (await self._workspace.events.get_many([event_id])).get(event_id)
        rendered = render(
            message,
            template,
            channel=self._channel,
            card=card,
            event=event,
            texts=self._worker.texts,
            zone=self._zone,
            unsubscribe_url=self._unsubscribe_url(card.id),
        )
        if isinstance(rendered, Obstacle):
            return Handled(message, card.id, rendered)
        result = await self._sender.send(rendered, self._now_ms, self._timeout_seconds)
        return Handled(message, card.id, result=_without_address(result, rendered.address))

    async def _read_template(self, template_id: str) -> MessageTemplate | None:
        """Return a template, which never changes. The messages of a broadcast share theirs."""
        if template_id not in self._templates:
            found = await self._workspace.messages.templates.get_many([template_id])
            if len(self._templates) >= MAX_CACHED_TEMPLATES:
                self._templates.clear()
            self._templates |= found
        return self._templates.get(template_id)

    def _unsubscribe_url(self, pass_id: str) -> str | None:
        base = self._worker.resources.settings.public_url
        if base is None or self._channel.consent_key is None:
            return None
        token = issue_token(self._secret, Unsubscription(self._workspace.id, pass_id, self._channel.id))
        return f"{base}/unsubscribe/{token}"
