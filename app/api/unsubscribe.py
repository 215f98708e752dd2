"""The route `/unsubscribe/<token>`: links in messages by which customers take a consent back.

A mail program posts to the link at one click (RFC 8058), and a browser shows a page with a button. Reading the page changes
nothing, because programs that check mails for harmful links read them, too.

| status | meaning |
|---|---|
| 200 | the page, or the consent is taken back |
| 404 | the link is not valid: it was changed, or the pass or the channel does not exist any more |
| 503 | the store does not answer; repeat the request |
"""

from __future__ import annotations

import html

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.commands.messages.consents import find_unsubscription, unsubscribe
from app.domain.errors import STORE_FAILURES
from app.resources import Resources

RETRY_AFTER_SECONDS = 5
MAX_CONCURRENT_REQUESTS = 20
"""Requests that are answered at once. They need no key."""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body><h1>{title}</h1><p>{text}</p>{form}</body></html>
"""
FORM = '<form method="post"><button>Unsubscribe</button></form>'
POLICY = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


class UnsubscribeLinks:
    """Receiver of requests to links in messages; one for each application."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._running = 0

    async def __call__(self, request: Request) -> Response:
        """Answer a GET by a page with a button, and a POST by taking the consent back."""
        if self._running >= MAX_CONCURRENT_REQUESTS:
            return _busy()
        self._running += 1
        try:
            return await self._answer(request.method, request.path_params["token"])
        except STORE_FAILURES:
            return _busy()
        finally:
            self._running -= 1

    async def _answer(self, method: str, token: str) -> Response:
        if method == "POST":
            if await unsubscribe(self._resources, token):
                return _page(200, "You are unsubscribed", "You get no more of these messages.")
        elif (found := await find_unsubscription(self._resources, token)) is not None:
            text = f"Do you want no more messages of {html.escape(found[0].name)}?"
            return _page(200, "Unsubscribe", text, FORM)
        return _page(404, "This link is not valid", "The link was changed, or what it names does not exist any more.")


def _busy() -> Response:
    answer = _page(503, "Please try again", "This did not work just now. Please try again in a moment.")
    answer.headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    return answer


def _page(status: int, title: str, text: str, form: str = "") -> Response:
    headers = {"cache-control": "no-store", "content-security-policy": POLICY, "x-robots-tag": "noindex"}
    return HTMLResponse(PAGE.format(title=title, text=text, form=form), status, headers)
