"""E-mail by SMTP: connections to checked addresses, one mail each to one recipient.

A name server cannot lead a connection elsewhere: the client resolves the name itself, checks all its addresses, connects
to one of them, and verifies the certificate against the name. TLS is required unless the channel says NONE.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import aiosmtplib

from app.domain.messages.channels import Channel
from app.domain.messages.rendering import Rendered

from .addresses import Allowed
from .http_client import RequestFailed, resolve_allowed
from .sending import SendOutcome, SendResult, Stopwatch

POLICY = SMTP.clone(cte_type="7bit")
"""How mails are written: in ASCII, since a server may not take other bytes."""
PERMANENT_STATUS = 500
"""SMTP statuses from here on say that a repeat gets the same answer. (Source: RFC 5321, section 4.2.1.)"""
ACCEPTED_STATUS = 250
MAX_IDLE_CONNECTIONS = 16
"""Connections to a server that wait for the next mail: one for each partition."""
QUIT_TIMEOUT_SECONDS = 2.0


class SmtpSender:
    """A sender of mails over one channel, any number at a time. It keeps connections for later mails.

    `tls` are the settings of TLS; by default, certificates are verified against those that the machine trusts.
    """

    def __init__(
        self, channel: Channel, password: str | None, allowed: Allowed, tls: ssl.SSLContext | None = None
    ) -> None:
        self._channel, self._password, self._allowed = channel, password, allowed
        self._tls = tls
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, mail: Rendered, now_ms: Callable[[], int], timeout_seconds: float) -> SendResult:
        """Send a mail once and return the result. A server that fails is a result, not an error.

        A server that refuses the recipient or the content for good has REFUSED the mail. All other answers, and no answer
        within `timeout_seconds`, are failures of the server.
        """
        watch = Stopwatch(now_ms)
        outcome, status, error = SendOutcome.ACCEPTED, None, None
        client: aiosmtplib.SMTP | None = None
        try:
            content = compose(self._channel, mail)
        except ValueError as fault:
            return SendResult(SendOutcome.REFUSED, watch.attempt(None, f"No mail can be written: {fault}"))
        try:
            async with asyncio.timeout(timeout_seconds):
                client, is_new = await self._connect(timeout_seconds)
                try:
                    await self._deliver(client, mail, content)
                except aiosmtplib.SMTPServerDisconnected:
                    if is_new:
                        raise
                    # The server closed an idle connection. If it took the mail before, it gets the same Message-ID again.
                    client, _ = await self._connect(timeout_seconds, fresh=True)
                    await self._deliver(client, mail, content)
                status = ACCEPTED_STATUS
        except aiosmtplib.SMTPRecipientsRefused as refused:
            first = refused.recipients[0]
            outcome, status, error = _outcome_of(first.code), first.code, first.message
        except (aiosmtplib.SMTPDataError, aiosmtplib.SMTPRecipientRefused) as refused:
            outcome, status, error = _outcome_of(refused.code), refused.code, refused.message
        except aiosmtplib.SMTPResponseException as failed:
            outcome, status, error = SendOutcome.FAILED, failed.code, failed.message
        except (TimeoutError, aiosmtplib.SMTPTimeoutError):
            outcome, error = SendOutcome.FAILED, f"The server did not answer within {timeout_seconds:g} s."
        except (aiosmtplib.SMTPException, OSError) as failed:
            outcome, error = SendOutcome.FAILED, str(failed) or type(failed).__name__
        except RequestFailed as failed:
            outcome, error = SendOutcome.FAILED, failed.message
        await self._keep_or_close(client, is_usable=outcome is not SendOutcome.FAILED)
        return SendResult(outcome, watch.attempt(status, error))

    async def aclose(self) -> None:
        """Close all connections. Call it when no mail is under way."""
        idle, self._idle = self._idle, []
        for client in idle:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await client.quit(timeout=QUIT_TIMEOUT_SECONDS)
            client.close()

    async def _connect(self, timeout_seconds: float, *, fresh: bool = False) -> tuple[aiosmtplib.SMTP, bool]:
        """Return a connection, and whether it is new."""
        while self._idle and not fresh:
            client = self._idle.pop()
            if client.is_connected:
                return client, False
        host, port = self._channel.setting("host"), int(self._channel.setting("port"))
        security, username = self._channel.setting("security"), self._channel.settings.get("username")
        client = aiosmtplib.SMTP(
            hostname=host,
            sock=await _open_socket(host, port, self._allowed),
            use_tls=security == "TLS",
            start_tls=security == "STARTTLS",
            username=None if username is None else str(username),
            password=self._password if username is not None else None,
            local_hostname="punchcard",
            timeout=timeout_seconds,
            tls_context=None if security == "NONE" else self._tls or _default_tls(),
        )
        try:
            await client.connect()
        except BaseException:
            client.close()
            raise
        return client, True

    async def _deliver(self, client: aiosmtplib.SMTP, mail: Rendered, content: bytes) -> None:
        await client.sendmail(self._channel.setting("from"), [_to_ascii(mail.address)], content)

    async def _keep_or_close(self, client: aiosmtplib.SMTP | None, *, is_usable: bool) -> None:
        if client is None:
            return
        if is_usable and client.is_connected and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(client)
        else:
            client.close()


def compose(channel: Channel, mail: Rendered) -> bytes:
    """Return a mail as SMTP sends it: text, and HTML if there is any. Equal arguments give equal headers.

    Raises ValueError for values that no header can hold; line breaks are among them.
    """
    message = EmailMessage(policy=POLICY)
    sender = channel.setting("from")
    message["From"] = Address(channel.setting("fromName"), addr_spec=sender)
    message["To"] = Address(addr_spec=_to_ascii(mail.address))
    message["Subject"] = mail.subject or channel.name
    message["Date"] = format_datetime(mail.sent_for)
    message["Message-ID"] = f"<{mail.message_id}@{sender.rpartition('@')[2]}>"
    if reply_to := channel.setting("replyTo"):
        message["Reply-To"] = Address(addr_spec=reply_to)
    # Receivers that read these headers send no automatic answers. (Source: RFC 3834, section 5.)
    message["Auto-Submitted"] = "auto-generated"
    if mail.unsubscribe_url is not None:
        # Both headers together ask for one click. (Source: RFC 8058, section 3.1.)
        message["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(mail.text)
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
        # A random boundary would make two attempts differ.
        message.set_boundary(f"=_{mail.message_id}")
    return message.as_bytes()


@asynccontextmanager
async def open_smtp(
    channel: Channel, password: str | None, allowed: Allowed, tls: ssl.SSLContext | None = None
) -> AsyncIterator[SmtpSender]:
    """Open a sender of mails for the block, and close its connections afterwards. Arguments as for SmtpSender."""
    async with contextlib.aclosing(SmtpSender(channel, password, allowed, tls=tls)) as sender:
        yield sender


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """Return the settings of TLS. They are created once, since that takes 20 ms."""
    return ssl.create_default_context()


def _to_ascii(address: str) -> str:
    """Return an e-mail address with its domain in ASCII. Raises ValueError if its local part is not in ASCII."""
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise ValueError("The part before the @ has letters that SMTP without extensions cannot send.")
    return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode()}"


def _outcome_of(status: int) -> SendOutcome:
    return SendOutcome.REFUSED if status >= PERMANENT_STATUS else SendOutcome.FAILED


async def _open_socket(host: str, port: int, allowed: Allowed) -> socket.socket:
    """Return a connection to one of the host's addresses. Raises RequestFailed, and OSError if none answers."""
    failure: OSError | None = None
    for address in await resolve_allowed(host, port, allowed):
        opened = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        opened.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(opened, (str(address), port))
        except OSError as error:
            failure = error
            opened.close()
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure or OSError("The host has no address.")
