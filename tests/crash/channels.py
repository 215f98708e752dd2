"""Load on the other channels during a crash run: single events, corrections, files, and webhooks of another system.

All of it concerns passes of which nothing is ever removed. So every process must accept every event, however old its
caches are.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

from app.domain.values.cursors import parse_feed_cursor

from .load import EVERY_TYPE, MERGING, PASSES, Load

SINGLE = """mutation Single($input: RecordEventInput!) {
  recordEvent(input: $input) { status event { id } userErrors { code message } }
}"""
IMPORT = """mutation Import($input: ImportEventsInput!) {
  importEvents(input: $input) { job { id } userErrors { code message } }
}"""
EXPORT = """mutation Export($input: ExportActivitiesInput!) {
  exportActivities(input: $input) { job { id } userErrors { code message } }
}"""
HOOK = """mutation Hook($input: CreateInboundHookInput!) {
  createInboundHook(input: $input) { hook { url } secret userErrors { code message } }
}"""
SHOP = {"fields": {"externalId": "no", "passExternalId": "who", "type": {"value": "purchase"}, "amount": "paid"}}
STABLE_PASSES = ["p0", *(f"p{number}" for number in range(PASSES - MERGING, PASSES))]
ACCEPTED = {"CREATED", "DUPLICATE"}


@dataclass
class OtherChannels:
    """Clients of the other channels, each running until the load stops. The load stores what they send."""

    load: Load

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._purchases: list[tuple[str, str, str]] = []
        self.exported = 0

    async def record_singles(self) -> None:
        """Record single purchases, some twice, and correct some under any external id of their pass."""
        load = self.load
        first = [{**self._event("first"), "passExternalId": name} for name in STABLE_PASSES]
        load.sent |= {event["externalId"]: event for event in first}
        await load.record(first)
        while not load.stopping:
            await asyncio.sleep(load.random.uniform(0.05, 0.3))
            await load.wait_for_room()
            event = {**self._event("till"), **load.choose_points()}
            if self._purchases and load.random.random() < 0.4:
                # The pass may be merged by now. Its old external id then stands for the survivor, which has the event.
                name, original, kind = load.random.choice(self._purchases)
                event |= {"passExternalId": name, "type": "refund", "amount": "0.01", "correctionOf": original}
                if kind == "checkout" and load.random.random() < 0.6:
                    event |= self._correct_checkout()
                elif load.random.random() < 0.5:
                    event |= self._correct_points()
            elif load.random.random() < 0.3:
                event["type"] = "checkout"
            load.sent[event["externalId"]] = event
            for _ in range(load.random.choice((1, 1, 2))):
                answer = (await load.execute(SINGLE, {"input": event}))["recordEvent"]
                if answer["status"] not in ACCEPTED:
                    load.errors.append(f"{event} was answered {answer}")
                    break
                load.acknowledged.add(event["externalId"])
            else:
                if event["type"] in ("purchase", "checkout"):
                    self._purchases.append((event["passExternalId"], answer["event"]["id"], event["type"]))

    def _correct_points(self) -> dict[str, Any]:
        """Return values that move the end of the points of an original, or take points back, dated long before it."""
        dated = {"type": "visit", "occurredAt": "2025-12-31T00:00:00Z", "points": "0", "pointsExpireAt": None}
        if self.load.random.random() < 0.5:
            return {**dated, "points": "-1"}
        return {**dated, "pointsExpireAt": self.load.choose_end()}

    def _correct_checkout(self) -> dict[str, Any]:
        """Return values that make the correction of a checkout a new total, or a reject of what is left."""
        if self.load.random.random() < 0.2:
            return {"type": "checkout_reject", "amount": None}
        return {"type": "checkout_update", "amount": f"{self.load.random.randrange(500, 5000) / 100:.2f}"}

    async def import_files(self) -> None:
        """Import small files, and wait for the end of each before the next."""
        load = self.load
        while not load.stopping:
            await load.wait_for_room()
            events = [self._event("file", channel="file", source="file") for _ in range(load.random.randint(5, 60))]
            load.sent |= {event["externalId"]: event for event in events}
            unsent = ("channel", "source")
            lines = [json.dumps({key: each for key, each in event.items() if key not in unsent}) for event in events]
            job = await self._import_lines("\n".join(lines))
            while job is not None and job["status"] == "FAILED" and load.meets_refusals:
                # The store refused a command of the job. The rows that were recorded are duplicates in the next file.
                job = await self._import_lines("\n".join(lines))
            if job is None:
                return
            if job["status"] != "SUCCEEDED" or job["progress"] != {"done": len(events), "failed": 0}:
                load.errors.append(f"a file of {len(events)} rows ended as {job}")
            load.acknowledged |= {event["externalId"] for event in events}
            await asyncio.sleep(load.random.uniform(0.5, 3))

    async def _import_lines(self, lines: str) -> dict[str, Any] | None:
        """Import a file and return the job when it has ended, or None if no job can start and the load stops."""
        load = self.load
        while (answer := await self._upload_file(lines))["job"] is None:
            if load.stopping:
                return None
            # Workers that crash all the time leave many jobs unfinished.
            if {error["code"] for error in answer.get("userErrors", ())} != {"LIMIT"}:
                load.errors.append(f"a file was answered {answer}")
                return None
            await asyncio.sleep(0.5)
        return await load.wait_for_job(answer["job"]["id"])

    async def export_feed(self) -> None:
        """Export the feed at times, each time from where the last file ended; the positions must be dense."""
        load, seen, cursor = self.load, 0, None
        while not load.stopping:
            await asyncio.sleep(load.random.uniform(1, 4))
            export = {"after": cursor, "filter": {"types": EVERY_TYPE, "includeSilent": True}}
            answer = (await load.execute(EXPORT, {"input": export}))["exportActivities"]
            if answer["job"] is None:
                continue
            job = await load.wait_for_job(answer["job"]["id"])
            # An erasure cancels exports and removes files. A job fails if the store refuses a command again and again.
            text = await self._download(job["downloadUrl"]) if job["status"] == "SUCCEEDED" else None
            if text is None:
                continue
            found = [parse_feed_cursor(json.loads(line)["cursor"]).position for line in text.splitlines()]
            if found != list(range(seen + 1, seen + 1 + len(found))) or job["result"]["rows"] != len(found):
                load.errors.append(f"the export after {seen} has {found[:3]} to {found[-3:]}: {job}")
                return
            seen, cursor = seen + len(found), job["result"]["cursor"]
            self.exported = seen

    async def _download(self, address: str) -> str | None:
        """Return the content of a file, or None if it was removed. A file that breaks off is read again."""
        while True:
            url = httpx.URL(self.load.random.choice(self.load.addresses)).join(address)
            with contextlib.suppress(httpx.TransportError):
                async with httpx.AsyncClient(timeout=60) as http:
                    response = await http.get(url)
                    if response.status_code < 500:
                        return response.text if response.status_code == 200 else None
            await self.load.pause()

    async def post_webhooks(self) -> None:
        """Post the messages of a shop's system to an inbound hook, some of them twice."""
        load = self.load
        hook_input = {"name": "Shop", "source": "shop", "mapping": SHOP, "createMissingPasses": True}
        hook = (await load.execute(HOOK, {"input": hook_input}))["createInboundHook"]
        path = httpx.URL(hook["hook"]["url"]).path
        while not load.stopping:
            await asyncio.sleep(load.random.uniform(0.05, 0.4))
            event = self._event("shop", channel="hook", source="shop")
            load.sent[event["externalId"]] = event
            body = json.dumps({"no": event["externalId"], "who": event["passExternalId"], "paid": event["amount"]})
            for _ in range(load.random.choice((1, 1, 2))):
                await self._post_message(path, hook["secret"], event["externalId"], body.encode())
            load.acknowledged.add(event["externalId"])

    async def _post_message(self, path: str, secret: str, message_id: str, body: bytes) -> None:
        """Sign and post a message until an API accepts it."""
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
            # After an election, the first reads may not show a hook that was just created: 401.
            retried = (401, 500, 503) if self.load.meets_refusals else (503,)
            if response is not None and response.status_code not in retried:
                self.load.errors.append(f"{message_id} was answered {response.status_code} {response.text}")
                return
            await self.load.pause()

    async def _upload_file(self, lines: str) -> Any:
        """Upload a file until an API accepts it, and return the answer."""
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
            if not self.load.may_retry({error["extensions"]["code"] for error in answer.get("errors", ())}):
                return {"job": None, **answer}
            await self.load.pause()

    def _event(self, prefix: str, **extra: str) -> dict[str, Any]:
        return {
            "passExternalId": self.load.random.choice(STABLE_PASSES),
            "type": "purchase",
            "amount": f"{self.load.random.randrange(1, 5000) / 100:.2f}",
            "externalId": f"{prefix}-{next(self._numbers)}",
            **extra,
        }
