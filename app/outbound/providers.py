"""Requests by which messages reach a URL, Braze, Mailchimp, Intercom and ActiveCampaign, and what their answers mean.

Sources: the public references of the four services. Braze: `/campaigns/trigger/send`. Mailchimp: events of a list member.
Intercom: search for contacts, create a message. ActiveCampaign: event tracking.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import md5
from urllib.parse import quote, urlencode

from app.domain.messages.channels import Channel, ChannelKind, Provider
from app.domain.messages.rendering import Rendered
from app.domain.signatures import standard_signatures
from app.domain.values.instants import format_instant, to_ms
from app.domain.webhooks.deliveries import parse_retry_after

from .http_client import Poster, PostResponse, RequestFailed
from .sending import SendOutcome, SendResult, Stopwatch

TRANSIENT_STATUSES = frozenset({401, 403, 407, 408, 421, 423, 425, 429})
"""Statuses below 500 that say nothing about the message: a key that is wrong can be corrected, a limit passes."""
INTERCOM_VERSION = "2.11"
JSON_TYPE = {"Content-Type": "application/json"}

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[PostResponse]]


class MessageRefused(Exception):
    """A provider refuses a message for good, although its status says otherwise."""


async def send(
    poster: Poster,
    channel: Channel,
    secret: str | None,
    message: Rendered,
    *,
    now_ms: Callable[[], int],
    timeout_seconds: float,
) -> SendResult:
    """Send a message once over HTTP and return the result. A server that fails is a result, not an error.

    Statuses from 400 on that speak of the message are REFUSED: a repeat would get the same answer. Redirects are not
    followed. `now_ms` is the system clock.
    """
    watch = Stopwatch(now_ms)

    async def post(url: str, headers: Mapping[str, str], body: bytes) -> PostResponse:
        return await poster.post(url, headers, body, timeout_seconds, keeps_body=True)

    try:
        answer = await _SENDERS[channel.provider](post, channel, secret or "", message, watch)
    except RequestFailed as failed:
        return SendResult(SendOutcome.FAILED, watch.attempt(None, failed.message))
    except MessageRefused as refused:
        return SendResult(SendOutcome.REFUSED, watch.attempt(None, str(refused)))
    outcome = outcome_of(answer.status)
    error = None if outcome is SendOutcome.ACCEPTED else f"The server answered {answer.status}."
    return SendResult(
        outcome, watch.attempt(answer.status, error), parse_retry_after(answer.retry_after, watch.at)
    )  # fmt: skip


def outcome_of(status: int) -> SendOutcome:
    """Return what an HTTP status says about a message."""
    if 200 <= status < 300:
        return SendOutcome.ACCEPTED
    is_of_message = 400 <= status < 500 and status not in TRANSIENT_STATUSES
    return SendOutcome.REFUSED if is_of_message else SendOutcome.FAILED


async def _send_http(post: Post, channel: Channel, secret: str, message: Rendered, watch: Stopwatch) -> PostResponse:
    """Send to a URL: JSON, signed as webhooks are by the Standard Webhooks specification, or with a bearer token."""
    body = _encode({
        "id": message.message_id,
        "timestamp": format_instant(message.sent_for),
        "channel": channel.key,
        "kind": channel.kind.value,
        "to": message.address,
        "passExternalId": message.external_id,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "unsubscribeUrl": message.unsubscribe_url,
    })  # fmt: skip
    headers = {**JSON_TYPE, "Idempotency-Key": message.message_id}
    if channel.setting("authentication") == "BEARER":
        headers["Authorization"] = f"Bearer {secret}"
    elif channel.setting("authentication") == "SIGNATURE":
        seconds = to_ms(watch.at) // 1000
        headers |= {
            "webhook-id": message.message_id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": standard_signatures([secret], message.message_id, seconds, body),
        }
    return await post(channel.setting("url"), headers, body)


async def _send_braze(post: Post, channel: Channel, secret: str, message: Rendered, watch: Stopwatch) -> PostResponse:
    """Trigger a campaign of Braze for the user whose external id is that of the pass."""
    recipient = {"external_user_id": message.external_id, "trigger_properties": _properties(message)}
    body = _encode({"campaign_id": channel.setting("campaignId"), "recipients": [recipient]})
    headers = {**JSON_TYPE, "Authorization": f"Bearer {secret}"}
    answer = await post(f"{channel.setting('url').rstrip('/')}/campaigns/trigger/send", headers, body)
    content = _decode(answer)
    if 200 <= answer.status < 300 and content.get("errors"):
        raise MessageRefused(f"Braze did not send the message: {_encode(content['errors']).decode()}")
    return answer


async def _send_mailchimp(
    post: Post, channel: Channel, secret: str, message: Rendered, watch: Stopwatch
) -> PostResponse:
    """Add an event to the member of the list who has the e-mail address; an automation of Mailchimp sends the mail."""
    data_center = secret.rpartition("-")[2]
    url = channel.setting("url", f"https://{quote(data_center, safe='')}.api.mailchimp.com").rstrip("/")
    member = md5(message.address.lower().encode(), usedforsecurity=False).hexdigest()
    path = f"/3.0/lists/{quote(channel.setting('listId'), safe='')}/members/{member}/events"
    body = _encode({"name": channel.setting("event"), "properties": _properties(message)})
    headers = {**JSON_TYPE, "Authorization": f"Basic {b64encode(f'punchcard:{secret}'.encode()).decode()}"}
    return await post(url + path, headers, body)


async def _send_intercom(
    post: Post, channel: Channel, secret: str, message: Rendered, watch: Stopwatch
) -> PostResponse:
    """Create a message of an admin to the contact who has the e-mail address."""
    url = channel.setting("url").rstrip("/")
    headers = {**JSON_TYPE, "Authorization": f"Bearer {secret}", "Intercom-Version": INTERCOM_VERSION}
    query = {"field": "email", "operator": "=", "value": message.address}
    found = await post(f"{url}/contacts/search", headers, _encode({"query": query, "pagination": {"per_page": 1}}))
    if not 200 <= found.status < 300:
        return found
    contacts = _decode(found).get("data")
    contact = contacts[0] if isinstance(contacts, list) and contacts and isinstance(contacts[0], Mapping) else None
    if contact is None:
        raise MessageRefused("Intercom has no contact with this e-mail address.")
    body: dict[str, object] = {
        "message_type": "email" if channel.kind is ChannelKind.EMAIL else "inapp",
        "body": message.html or message.text,
        "from": {"type": "admin", "id": channel.setting("adminId")},
        "to": {"type": str(contact.get("role", "user")), "id": str(contact.get("id"))},
    }
    if channel.kind is ChannelKind.EMAIL:
        body |= {"subject": message.subject or channel.name, "template": "plain"}
    return await post(f"{url}/messages", headers, _encode(body))


async def _send_activecampaign(
    post: Post, channel: Channel, secret: str, message: Rendered, watch: Stopwatch
) -> PostResponse:
    """Track an event of the contact who has the e-mail address; an automation of ActiveCampaign sends the mail."""
    form = {
        "actid": channel.setting("actid"),
        "key": secret,
        "event": channel.setting("event"),
        "eventdata": _encode(_properties(message)).decode(),
        "visit": _encode({"email": message.address}).decode(),
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await post(f"{channel.setting('url').rstrip('/')}/event", headers, urlencode(form).encode())
    content = _decode(answer)
    # The service answers 200 also for a contact that it does not have.
    if 200 <= answer.status < 300 and str(content.get("success", 1)) != "1":
        raise MessageRefused(f"ActiveCampaign did not track the event: {content.get('message', 'no reason given')}")
    return answer


_SENDERS: Mapping[Provider, Callable[[Post, Channel, str, Rendered, Stopwatch], Awaitable[PostResponse]]] = {
    Provider.HTTP: _send_http,
    Provider.BRAZE: _send_braze,
    Provider.MAILCHIMP: _send_mailchimp,
    Provider.INTERCOM: _send_intercom,
    Provider.ACTIVECAMPAIGN: _send_activecampaign,
}


def _properties(message: Rendered) -> dict[str, str]:
    """Return what a campaign of a service may show, as texts by name."""
    values = {
        "message_id": message.message_id,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "unsubscribe_url": message.unsubscribe_url,
        **message.names,
    }
    return {name: value for name, value in values.items() if value}


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _decode(answer: PostResponse) -> Mapping[str, object]:
    try:
        content = json.loads(answer.body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
