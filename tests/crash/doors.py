"""The other doors by which events come while everything dies: a till, corrections, files, and another system's webhooks.

All of it is about passes of which nothing is ever removed, so each must be taken, whichever process is asked and whatever
it has not heard of.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

from .load import JOINING, PASSES, Load

SINGLE = """mutation Single($input: RecordEventInput!) {
  recordEvent(input: $input) { status event { id } userErrors { code message } }
}"""
IMPORT = """mutation Import($input: ImportEventsInput!) {
  importEvents(input: $input) { job { id } userErrors { code message } }
}"""
JOB = "query Job($id: ID!) { job(id: $id) { status error progress { done failed } finishedAt } }"
HOOK = """mutation Hook($input: CreateInboundHookInput!) {
  createInboundHook(input: $input) { hook { url } secret userErrors { code message } }
}"""
SHOP = {"fields": {"externalId": "no", "passExternalId": "who", "type": {"value": "purchase"}, "amount": "paid"}}
KEPT = ["p0", *(f"p{number}" for number in range(PASSES - JOINING, PASSES))]
RECORDED = {"CREATED", "DUPLICATE"}


@dataclass
class Doors:
    """Who comes by the other doors, each until told to stop. What they send is noted in the load."""

    load: Load

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._bought: list[tuple[str, str]] = []

    async def sell(self) -> None:
        """Single purchases, each sent twice at times; now and then one is corrected, under any name of its pass."""
        load = self.load
        first = [{**self._event("first"), "passExternalId": name} for name in KEPT]
        load.sent |= {event["externalId"]: event for event in first}
        await load.record(first)
        while not load.stopping:
            await asyncio.sleep(load.random.uniform(0.05, 0.3))
            event = self._event("till")
            if self._bought and load.random.random() < 0.4:
                # Wherever it is by now: the name that it was recorded under is one of the pass that answers.
                name, original = load.random.choice(self._bought)
                event |= {"passExternalId": name, "type": "refund", "amount": "0.01", "correctionOf": original}
            load.sent[event["externalId"]] = event
            for _ in range(load.random.choice((1, 1, 2))):
                answer = (await load.ask(SINGLE, {"input": event}))["recordEvent"]
                if answer["status"] not in RECORDED:
                    load.faults.append(f"{event} was answered {answer}")
                    break
                load.acknowledged.add(event["externalId"])
            else:
                if event["type"] == "purchase":
                    self._bought.append((event["passExternalId"], answer["event"]["id"]))

    async def upload(self) -> None:
        """Small files; each is carried to its end before the next."""
        load = self.load
        while not load.stopping:
            events = [self._event("file", door="file", source="file") for _ in range(load.random.randint(5, 60))]
            load.sent |= {event["externalId"]: event for event in events}
            own = ("door", "source")
            lines = [json.dumps({name: each for name, each in event.items() if name not in own}) for event in events]
            answer = await self._imported("\n".join(lines))
            if answer["job"] is None:
                load.faults.append(f"a file was answered {answer}")
                return
            done: dict[str, Any] = {"finishedAt": None}
            while done["finishedAt"] is None:
                await asyncio.sleep(0.2)
                done = (await load.ask(JOB, {"id": answer["job"]["id"]}))["job"]
            if done["status"] != "SUCCEEDED" or done["progress"] != {"done": len(events), "failed": 0}:
                load.faults.append(f"a file of {len(events)} rows ended as {done}")
            load.acknowledged |= {event["externalId"] for event in events}
            await asyncio.sleep(load.random.uniform(0.5, 3))

    async def hear(self) -> None:
        """Messages of a shop's system; some come twice, as such systems do."""
        load = self.load
        asked = {"name": "Shop", "source": "shop", "mapping": SHOP, "createMissingPasses": True}
        hook = (await load.ask(HOOK, {"input": asked}))["createInboundHook"]
        path = httpx.URL(hook["hook"]["url"]).path
        while not load.stopping:
            await asyncio.sleep(load.random.uniform(0.05, 0.4))
            event = self._event("shop", door="hook", source="shop")
            load.sent[event["externalId"]] = event
            body = json.dumps({"no": event["externalId"], "who": event["passExternalId"], "paid": event["amount"]})
            for _ in range(load.random.choice((1, 1, 2))):
                await self._told(path, hook["secret"], event["externalId"], body.encode())
            load.acknowledged.add(event["externalId"])

    async def _told(self, path: str, secret: str, message_id: str, body: bytes) -> None:
        """Sends a message until somebody takes it."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        while True:
            at = int(time.time())
            content = f"{message_id}.{at}.".encode() + body
            signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
            headers = {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}
            headers["content-type"] = "application/json"
            response = await self.load.post(path, content=body, headers=headers)
            if response is not None and response.status_code == 200:
                return
            if response is not None and response.status_code != 503:
                self.load.faults.append(f"{message_id} was answered {response.status_code} {response.text}")
                return
            await self.load.later()

    async def _imported(self, lines: str) -> Any:
        """The answer to an upload, sent until somebody takes it."""
        operations = {"query": IMPORT, "variables": {"input": {"file": None, "format": "JSONL", "source": "file"}}}
        form = {"operations": json.dumps(operations), "map": json.dumps({"0": ["variables.input.file"]})}
        while True:
            response = await self.load.post(
                "/graphql",
                data=form,
                files={"0": ("sales.jsonl", lines)},
                headers={"graphql-require-preflight": "1"},
            )
            answer = {} if response is None else response.json()
            if "data" in answer and "errors" not in answer:
                return answer["data"]["importEvents"]
            if {error["extensions"]["code"] for error in answer.get("errors", ())} - {"UNAVAILABLE"}:
                return {"job": None, **answer}
            await self.load.later()

    def _event(self, name: str, **own: str) -> dict[str, Any]:
        return {
            "passExternalId": self.load.random.choice(KEPT),
            "type": "purchase",
            "amount": f"{self.load.random.randrange(1, 5000) / 100:.2f}",
            "externalId": f"{name}-{next(self._numbers)}",
            **own,
        }
