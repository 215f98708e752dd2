"""An erasure removes everything personal of a pass and of its aliases, wherever it was stored and however it is spelled.

Every personal value contains one word. Before the erasure the word is in all places that keep personal values. After
the erasure, no document that a query can read, no file, no key of Redis and no line of the log has it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import bson
import pytest

from app.clock import FixedClock
from app.resources import Resources
from tests.api.test_inbound import CREATE, Sender
from tests.business import open_business
from tests.commands.rewards.shop import create, redeem, roll_back
from tests.graphql.jobs.test_imports import import_file, run_job
from tests.graphql.passes.test_removals import DELETE, ERASE
from tests.graphql.serving import Api, run_api
from workers.stages.run_job import jobs

WORD = "zq7x"
ANN = f'{WORD} ann "é" <x@example.com>'
ALIAS = f'{WORD}\talias "ü"\\'.replace("\t", " ")
HOLDER = {"name": f"{WORD} Ann", "email": f"{WORD}@example.com", "phone": f"{WORD} 030"}
EXPECTED_PLACES = {
    "passes",
    "events",
    "activities",
    "inbound_deliveries",
    "job_files",
    "jobs",
    "message_templates",
    "local.oplog.rs",
    "redis",
}


@pytest.fixture
async def api(resources: Resources, clock: FixedClock) -> AsyncIterator[Api]:
    async with run_api(await open_business(resources, clock)) as running:
        yield running


async def test_erasure_leaves_nothing_of_a_pass_and_its_aliases_anywhere(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """WH1-22."""
    caplog.set_level(logging.DEBUG)
    await create_passes(api)
    await record_events(api)
    await send_documents(api)
    await deliver_messages(api)
    await import_files(api)
    await start_exports(api)
    await queue_messages(api)
    await redeem_rewards(api)
    assert set(await find_places(api)) == EXPECTED_PLACES
    answer = await api.fetch_data(ERASE, externalId=ANN)
    await api.business.run_worker()
    receipt = (await api.fetch_data(ERASE, id=answer["erasePass"]["receipt"]["passId"]))["erasePass"]["receipt"]
    assert receipt["state"] == "DONE"
    assert await find_places(api) == {}
    written = [record.getMessage() for record in caplog.records if not record.name.startswith(("pymongo", "httpx"))]
    assert [line for line in written if WORD in line] == []
    folder = api.business.ctx.resources.settings.data_dir
    assert [path for path in Path(folder).rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()] == []


async def test_erasure_keeps_what_names_other_passes(api: Api) -> None:
    """Only what cannot be attributed to any pass is removed with the erased one."""
    await create_passes(api)
    await api.business.create_passes("bob")
    hook, sender = await open_hook(
        api, {"fields": {"passExternalId": "who", "type": {"path": "what", "map": {"x": "y"}}}}
    )
    for number, body in enumerate(({"who": "bob", "what": "sale"}, {"who": "bob", "what": "sale", "note": ANN})):
        assert (await sender.send(body, f"other-{number}"))[0] == 202
    lost = {"fields": {"passExternalId": "nowhere", "type": {"value": "visit"}}}
    hook, sender = await open_hook(api, lost, name="lost")
    assert (await sender.send({"customer": {"id": "carl", "since": 2024}}, "other-3"))[0] == 202
    rows = "customer_id,type,amount,occurred_at\nbob,purchase,a lot,2025-01-01\n"
    job = await run_job(api, (await import_file(api, rows))["job"])
    await api.fetch_data(ERASE, externalId=ANN)
    await api.business.run_worker()
    db = api.business.ctx.resources.db
    kept = [doc["body"] async for doc in db["inbound_deliveries"].find({"status": "FAILED"})]
    assert len(kept) == 3
    report = await api.http.get(api.url.replace("/graphql", job["reportUrl"]), headers=api.headers)
    assert "a lot" in report.text
    assert hook["name"] == "lost"


async def create_passes(api: Api) -> None:
    """Create the pass and another one, with whole profiles, and merge the other one into it."""
    ids = []
    for external_id in (ANN, ALIAS):
        profile = {"holder": HOLDER, "fields": {"size": WORD}, "metadata": {"note": f"{WORD} VIP"}}
        sent = {"externalId": external_id, **profile}
        query = "mutation ($p: CreatePassInput!) { createPass(input: $p) { pass { id } userErrors { message } } }"
        query = query.replace("createPass(input: $p)", "createPasses(input: {passes: [$p]})").replace(
            "pass { id } userErrors { message }", "results { pass { id } userErrors { message } }"
        )
        ids.append((await api.fetch_data(query, p=sent))["createPasses"]["results"][0]["pass"]["id"])
    change = "mutation ($i: UpdatePassInput!) { updatePass(input: $i) { userErrors { message } } }"
    await api.fetch_data(
        change, i={"id": ids[0], "holder": {"name": f"{WORD} Ann Two"}, "fields": {"size": f"{WORD}2"}}
    )
    await api.business.record(
        *({"pass_external_id": each, "external_id": f"{WORD}-{each}", "metadata": {"m": WORD}} for each in (ANN, ALIAS))
    )
    await api.business.run_worker()
    merge = "mutation ($a: ID!, $b: ID!) { mergePasses(input: {survivorId: $a, mergedId: $b}) { userErrors { code } } }"
    assert (await api.fetch_data(merge, a=ids[0], b=ids[1]))["mergePasses"]["userErrors"] == []
    await api.business.run_worker()


async def redeem_rewards(api: Api) -> None:
    """Redeem a reward with a stock and a code, and roll it back."""
    await create(api.business, pointsCost=0, limits={"total": 3}, code={"pattern": "A-######"})
    done = await redeem(api.business, ANN, external_id=f"{WORD} red", metadata={"m": WORD})
    await redeem(api.business, ANN)
    assert (await roll_back(api.business, done.id, f"{WORD} spilled")).status.value == "ROLLED_BACK"


async def queue_messages(api: Api) -> None:
    """Record a consent, and queue a message whose text is personal."""
    create = """mutation { createChannel(input: {key: "mail", name: "Mail", kind: EMAIL, provider: SMTP, consentKey: "mail",
      settings: {host: "smtp.example.com", from: "shop@example.com"}}) { userErrors { message } } }"""
    assert (await api.fetch_data(create))["createChannel"]["userErrors"] == []
    consent = "mutation ($i: RecordConsentInput!) { recordConsent(input: $i) { userErrors { message } } }"
    sent = {"passExternalId": ANN, "channelKey": "mail", "given": True, "source": f"{WORD} form"}
    assert (await api.fetch_data(consent, i=sent))["recordConsent"]["userErrors"] == []
    send = "mutation ($i: SendOneMessageInput!) { sendMessage(input: $i) { userErrors { message } } }"
    text = {"passExternalId": ANN, "channelKey": "mail", "template": f"Dear {WORD}", "idempotencyKey": f"{WORD} key"}
    assert (await api.fetch_data(send, i=text))["sendMessage"]["userErrors"] == []
    await api.business.run_worker()


async def record_events(api: Api) -> None:
    """Record events that succeed, fail, repeat and conflict, and remove some of them."""
    record = """mutation ($events: [RecordEventInput!]!, $key: String!) {
      recordEvents(input: {idempotencyKey: $key, events: $events}) { created failed receipt { token } } }"""
    items: list[dict[str, Any]] = [
        {
            "type": "purchase",
            "amount": "3",
            "externalId": f"{WORD}-o",
            "metadata": {"item": WORD, "list": [{"a": WORD}]},
        },
        {"type": "field_updated", "fieldName": "size", "oldValue": WORD, "newValue": f"{WORD} new"},
        {"type": "purchase", "amount": f"{WORD} amount"},
        {"type": "visit", "externalId": f"{WORD}-o"},
    ]
    for external_id in (ANN, ALIAS):
        sent = [{"passExternalId": external_id, **item} for item in items]
        await api.fetch_data(record, events=sent, key=f"{WORD} {external_id}")
    removed = {"passExternalId": ANN, "externalId": f"{WORD}-o", "sources": ["api"]}
    await api.fetch_data(DELETE, filter=removed)
    for _ in range(3):
        for waiting in await api.business.worker.job_leases.open(10**14):
            await jobs(api.business.worker, waiting.job_id)
        await api.business.run_worker()
    segment = """mutation { createSegment(input: {key: "size", name: "Size", notify: EMIT, criteria:
      {pass: {field: "fields.size", operator: EXISTS}}}) { segment { id } } }"""
    await api.fetch_data(segment)
    await api.business.run_worker()


async def send_documents(api: Api) -> None:
    """Send a persisted document whose text has the external id, escaped."""
    document = f"{{ pass(externalId: {json.dumps(ANN)}) {{ id }} }}"
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": sha256(document.encode()).hexdigest()}}
    answer = await api.post(json.dumps({"query": document, "extensions": extensions}))
    assert "errors" not in answer.json(), answer.text


async def open_hook(api: Api, mapping: dict[str, Any], name: str = "Shop") -> tuple[dict[str, Any], Sender]:
    """Create a hook with a mapping, and return it with its sender."""
    created = (await api.fetch_data(CREATE, input={"name": name, "source": name, "mapping": mapping}))[
        "createInboundHook"
    ]
    assert created["userErrors"] == []
    hook = created["hook"]
    return hook, Sender(api, hook["url"], created["secret"])


async def deliver_messages(api: Api) -> None:
    """Deliver messages that fail in every way, and one that succeeds."""
    mapping = {
        "items": "lines",
        "fields": {"passExternalId": "who", "type": {"path": "what", "map": {"sale": "purchase"}}},
    }
    _, sender = await open_hook(api, mapping)
    bodies: list[object] = [
        {"lines": [{"who": ANN, "what": "sale", "note": WORD}]},
        {"lines": [{"who": ANN, "what": "gift"}]},
        {"lines": [{"who": ALIAS, "what": "gift", "note": WORD}]},
        {"lines": [{"who": f"  {ANN} ", "what": "gift"}]},
        {"rows": [{"who": ANN, "what": "sale", "note": WORD}]},
        {"lines": json.dumps([{"customer": ALIAS, "what": "sale", "note": WORD}])},
        {"lines": [{"nobody": 1, "note": f"Order of {ALIAS}"}, {"who": "carl", "customer": ALIAS}]},
        {"lines": [{"nobody": n, "a": f"filler {n}", "b": WORD} for n in range(900)]},
        json.dumps({"lines": [{"who": ANN, "note": WORD}]}).encode()[:-3],
        json.dumps({"lines": [{"who": "unknown", "customer": ANN, "note": WORD}]}, ensure_ascii=False).encode(),
    ]
    for number, body in enumerate(bodies):
        await sender.send(body, f"message-{number}", x_customer=ALIAS.encode("ascii", "replace").decode())
    db = api.business.ctx.resources.db
    assert await db["inbound_deliveries"].count_documents({"status": "FAILED"}) == len(bodies) - 1


async def import_files(api: Api) -> None:
    """Import files whose rows fail in every way, and in every spelling of the external ids."""
    rows = ["note,type,amount,occurred_at,customer_id"]
    for external_id in (ANN, ALIAS):
        quoted = external_id.replace('"', '""')
        rows.append(f'{WORD},purchase,a lot,2025-01-01,"{quoted}"')
        rows.append(f'{WORD},purchase,1,never," {quoted} "')
        # The report keeps the first 1,000 characters of a row. Here the id lies behind them.
        rows.append(f'{WORD} {"x" * 1_100},purchase,a lot,2025-01-01,"{quoted}"')
        rows.append(f'"{quoted} {"x" * 1_100}",purchase,a lot,2025-01-01,bob')
    rows.append(f'"{WORD} open,purchase,1,2025-01-01,x" y')
    await run_job(api, (await import_file(api, "\n".join(rows) + "\n"))["job"])
    lines = [
        json.dumps({"passExternalId": ANN, "type": "purchase", "amount": "zzz", "metadata": {"n": WORD}}),
        json.dumps(
            {"metadata": {"m": WORD, "n": "x" * 1_200}, "passExternalId": ALIAS, "type": "visit", "amount": "q"}
        ),
        json.dumps({"type": "purchase", "amount": "zzz", "note": [{"customer": ANN}]}),
        f'{{"passExternalId": "{WORD}", "type": ',
        f'["{WORD}"]',
    ]
    await run_job(api, (await import_file(api, "\n".join(lines) + "\n", "lines.jsonl", format="JSONL"))["job"])
    constants = [
        {"field": "passExternalId", "value": ANN}, {"field": "type", "value": "visit"},
        {"field": "occurredAt", "column": "occurred_at"}, {"field": "metadata.note", "value": WORD},
    ]  # fmt: skip
    values = "occurred_at\n2025-01-01\nnever\n"
    await run_job(api, (await import_file(api, values, "constants.csv", columns=constants))["job"])


async def start_exports(api: Api) -> None:
    """Finish one export, and leave one unfinished whose filter names the pass."""
    query = "mutation ($i: ExportEventsInput!) { exportEvents(input: $i) { job { id } userErrors { message } } }"
    await run_job(api, (await api.fetch_data(query, i={}))["exportEvents"]["job"])
    await api.fetch_data(query, i={"filter": {"passExternalId": ANN, "externalId": f"{WORD}-o", "sources": ["api"]}})


async def find_places(api: Api) -> dict[str, str]:
    """Return the collections with a document that has the word, "local.oplog.rs" and "redis", with one example each."""
    resources, found = api.business.ctx.resources, dict[str, str]()
    for name in await resources.db.list_collection_names():
        async for doc in resources.db[name].find({}):
            if WORD.encode() in bson.encode(doc):
                found[name] = str(doc)
    async for doc in resources.db.client["local"]["oplog.rs"].find({}):
        if WORD.encode() in bson.encode(doc):
            found["local.oplog.rs"] = str(doc)
    async for key in resources.redis.scan_iter():
        if WORD.encode() in key + (await resources.redis.dump(key) or b""):
            found["redis"] = key.decode()
    return found
