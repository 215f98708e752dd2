"""Messages during a crash run: a rule that sends an e-mail for each event of some passes, and the mail server.

At times the server refuses an e-mail, or takes it and answers an error, as a server does whose answer gets lost. The checks
read what is stored, without the code that sends.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

from app.commands.context import Context
from app.commands.messages.channels import create_channel
from app.commands.passes.passes import create_passes
from app.commands.rules.rules import create_rule
from app.domain.ids import event_id, message_outcome_id, outward_id
from app.domain.passes.inputs import PassInput
from app.store.mongo.queries import Database
from tests.mail_server import MailServer, ReceivedMail

from .load import EMAIL, RECORD, Load

READERS = tuple(f"reader{number}" for number in range(4))
"""External ids of the passes whose holders get e-mails."""
LETTER: dict[str, Any] = {
    "key": "letters",
    "name": "Letters",
    "trigger": {"event": {"types": ["letter"]}},
    "effects": [
        {
            "sendMessage": {
                "channelKey": "mail",
                "subject": "{{ event.externalId }}",
                "template": "Dear {{ pass.holder.name }}",
                "validForHours": 720,
            }
        }
    ],
}


async def open_mail(ctx: Context, server: MailServer) -> None:
    """Create the passes with their addresses, the channel to the server, and the rule."""
    holders = [{"name": name, "email": f"{name}@home.test"} for name in READERS]
    await create_passes(ctx, [PassInput(name, holder=holder) for name, holder in zip(READERS, holders, strict=True)])
    settings = {"host": "127.0.0.1", "port": server.port, "security": "NONE", "from": "shop@shop.test"}
    await create_channel(
        ctx, {"key": "mail", "name": "Mail", "kind": "EMAIL", "provider": "SMTP", "settings": settings}
    )
    await create_rule(ctx, LETTER)


class Mail:
    """The client whose events cause e-mails, and what the server received."""

    def __init__(self, load: Load, server: MailServer) -> None:
        self._load, self._server = load, server
        self._numbers = itertools.count()
        self.letters: set[str] = set()
        self.received: Counter[str] = Counter()
        """How often each message arrived, by its id, with or without a good answer."""
        self.subjects: dict[str, str] = {}
        server.answer_data = self._answer

    def _answer(self, mail: ReceivedMail) -> str:
        """Refuse every tenth e-mail when it comes for the first time, and lose the answer to another tenth."""
        message_id, subject = mail.id.partition("@")[0], str(mail.message["Subject"])
        is_first, number = message_id not in self.subjects, len(self.subjects) % 10
        self.subjects[message_id] = subject
        if is_first and number == 3:
            return "451 try again"
        self.received[message_id] += 1
        return "451 try again" if is_first and number == 7 else "250 OK"

    async def write(self) -> None:
        """Record letters until the load stops, some of them twice. Each causes one e-mail."""
        load = self._load
        while not load.stopping:
            name = f"letter-{next(self._numbers)}"
            event = {"passExternalId": load.random.choice(READERS), "type": "letter", "externalId": name}
            for _ in range(load.random.choice((1, 1, 2))):
                await load.execute(RECORD, {"input": {"events": [event]}})
            self.letters.add(name)
            await asyncio.sleep(load.random.uniform(0, 0.2))

    async def find_problems(self, db: Database) -> list[str]:
        """Return every e-mail that was not sent, or whose outcome was not recorded and published exactly once."""
        [workspace] = await db["workspaces"].find({}, {"_id": 1}).to_list(None)
        fired = {
            doc["origin"]["cause"]: doc["_id"]
            async for doc in db["events"].find({"type": "rule_fired", "source": f"rule:{LETTER['key']}"})
        }
        messages = {doc["_id"]: doc async for doc in db["messages"].find({})}
        outcomes = {
            doc["_id"] async for doc in db["events"].find({"type": {"$in": ["message_sent", "message_failed"]}})
        }
        told = Counter([doc["cause"]["event"] async for doc in db["activities"].find({"type": {"$in": list(EMAIL)}})])
        found: list[str] = []
        for name in self.letters:
            firing = fired.get(event_id(workspace["_id"], "api", name))
            message_id = "" if firing is None else outward_id("msg", firing, 0)
            message = messages.pop(message_id, None)
            if message is None or message["status"] != "SENT":
                found.append(f"{name} has the message {message}")
                continue
            if self.subjects.get(message_id) != name or not self.received[message_id]:
                found.append(f"the mail server did not get {name}")
            outcome_id = message_outcome_id(message_id, message["generation"])
            outcomes.discard(outcome_id)
            if told.pop(outcome_id, 0) != 1:
                found.append(f"the feed does not tell once that {name} was sent")
        if messages or outcomes or told:
            found.append(
                f"nothing caused the messages {set(messages)}, the outcomes {outcomes} and the activities {set(told)}"
            )
        if unknown := self.received.keys() - {outward_id("msg", each, 0) for each in fired.values()}:
            found.append(f"the mail server got {unknown}, which nobody wrote")
        return found
