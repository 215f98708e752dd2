"""A local SMTP server that receives mails: it stores each mail and answers as the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

Answer = str | None
"""An answer of SMTP, such as "250 OK"; None: the server never answers."""


@dataclass(frozen=True)
class ReceivedMail:
    """One mail with its envelope."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    raw: bytes
    user: str | None = None

    @property
    def id(self) -> str:
        """The Message-ID without the brackets."""
        return str(self.message["Message-ID"])[1:-1]

    def text(self, kind: str = "plain") -> str:
        """Return the part of this kind, `plain` or `html`."""
        part = self.message.get_body((kind,))
        assert part is not None, f"the mail has no {kind} part"
        return str(part.get_content()).replace("\r\n", "\n")


@dataclass
class MailServer:
    """A server that accepts every mail unless `answer_recipient` or `answer_data` says otherwise.

    `mails` are the accepted ones. `connections` counts the connections.
    """

    port: int = 0
    mails: list[ReceivedMail] = field(default_factory=list)
    connections: int = 0
    answer_recipient: Callable[[str], Answer] = lambda _: "250 OK"
    hold_recipient: Callable[[str], Awaitable[str]] | None = None
    answer_data: Callable[[ReceivedMail], Answer] = lambda _: "250 OK"
    received: asyncio.Event = field(default_factory=asyncio.Event)
    protocols: list[SMTP] = field(default_factory=list)

    def abort(self) -> None:
        """End all connections without a word."""
        for protocol in self.protocols:
            if isinstance(protocol.transport, asyncio.Transport):
                protocol.transport.abort()

    async def handle_RCPT(  # the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer a recipient."""
        if self.hold_recipient is not None:
            await self.hold_recipient(address)
        answer = self.answer_recipient(address)
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Answer a mail, and keep it if it is accepted."""
        raw = envelope.content
        assert isinstance(raw, bytes)
        message = message_from_bytes(raw, policy=default)
        assert isinstance(message, EmailMessage)
        login: object = session.auth_data
        user = login.decode() if isinstance(login, bytes) else None
        mail = ReceivedMail(str(envelope.mail_from), list(envelope.rcpt_tos), message, raw, user=user)
        answer = self.answer_data(mail)
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        if answer.startswith("2"):
            self.mails.append(mail)
            self.received.set()
        return answer


@contextlib.asynccontextmanager
async def run_mail_server(
    *, tls: ssl.SSLContext | None = None, password: str | None = None
) -> AsyncIterator[MailServer]:
    """Run a server on a free port while the block runs. With `password`, it requires a login over STARTTLS."""
    handler = MailServer()

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        login, given = getattr(data, "login", b""), getattr(data, "password", b"")
        return AuthResult(success=password is not None and given == password.encode(), auth_data=login)

    def protocol() -> SMTP:
        handler.connections += 1
        served = SMTP(
            handler,
            hostname="mail.test",
            tls_context=tls,
            require_starttls=tls is not None,
            auth_required=password is not None,
            authenticator=authenticate if password is not None else None,
        )
        handler.protocols.append(served)
        return served

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    handler.port = server.sockets[0].getsockname()[1]
    try:
        yield handler
    finally:
        server.close()
