"""2,000 malformed operations that are generated from the schema: none ends in an internal error."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from app.commands.workspaces.keys import create_api_key
from app.domain.actors import SCOPES
from app.feed.tailer import Feed
from app.graphql.context import RequestContext
from app.graphql.errors import RequestRefused
from app.graphql.execution.engine import Engine
from app.graphql.execution.requests import Request, encode_json
from app.graphql.schema import schema
from app.graphql.types.ids import to_global_id
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases
from workers.main import STAGES

from .malformed import Malformed

COUNT = int(os.environ.get("MALFORMED_OPERATIONS", "2000"))
"""Number of operations. For a long run by hand set MALFORMED_OPERATIONS=100000 and another MALFORMED_SEED each time."""
SEED = int(os.environ.get("MALFORMED_SEED", "20260101"))
CONCURRENCY = 8


SETUP = (
    """mutation { recordEvents(input: {events: [{passExternalId: "ann", type: "purchase", externalId: "2", amount: 3}],
    idempotencyKey: "k"}) { results { event { id pass { id externalId } } userErrors { message } } receipt { token } } }""",
    """mutation { defineEventType(input: {key: "tasting", label: "Tasting", attributes: [{name: "wine.name", type: TEXT}]})
    { userErrors { message } } }""",
    """mutation { createInboundHook(input: {name: "shop", source: "shop", mapping: {fields: {passExternalId: "id",
    type: {value: "purchase"}}}}) { hook { id url } userErrors { message } } }""",
    """mutation { createWebhookEndpoint(input: {url: "https://hooks.invalid/"}) { endpoint { id }
    userErrors { message } } }""",
    "mutation { exportEvents(input: {}) { job { id } userErrors { message } } }",
    "mutation { exportActivities(input: {}) { job { id } userErrors { message } } }",
    """{ events { edges { cursor node { id externalId } } } activity { edges { cursor node { id type } } }
    passes { edges { cursor node { id } } } segments { edges { cursor node { id key } } } viewer { workspace { id } } }""",
)
"""Operations that fill the workspace first. Malformed operations use the texts of their responses as values."""


def collect_texts(answer: Any) -> list[str]:
    """Return all texts in the data of a response."""
    match answer:
        case str():
            return [answer]
        case dict():
            return [text for item in answer.values() for text in collect_texts(item)]
        case list():
            return [text for item in answer for text in collect_texts(item)]
    return []


async def execute(engine: Engine, context: RequestContext, request: Request) -> dict[str, Any]:
    """Execute a request of any kind, and return its first response."""
    try:
        prepared = engine.prepare(request)
        async with contextlib.aclosing(engine.stream(prepared, context)) as bodies:
            return await anext(bodies)
    except RequestRefused as refusal:
        return refusal.body


# If a field fails at once, graphql-core drops the coroutines of its sibling fields without awaiting them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_no_malformed_operation_is_an_internal_error(business: Business) -> None:
    key, _ = await create_api_key(business.ctx, "fuzz", SCOPES)
    ctx = replace(business.ctx, actor=replace(business.ctx.actor, key_id=key.id))
    await business.create_segment("buyers", purchases(1), notify="EMIT")
    await business.record({"external_id": "1", "source": "till", "metadata": {"store": "north"}})
    await business.run_worker()
    engine, feed = Engine(schema), Feed(ctx.resources.bus)
    existing = [to_global_id("ApiKey", key.id)]
    for document in SETUP:
        body = await execute(engine, RequestContext(ctx, feed, 0.05), Request(document, None, {}))
        assert "errors" not in body, body
        existing += collect_texts(body["data"])
    await business.run_worker()
    source = Malformed(schema, seed=SEED, existing=sorted(set(existing)))
    codes: Counter[str] = Counter()

    async def run_some() -> None:
        for _ in range(COUNT // CONCURRENCY):
            request = source.request()
            body = await execute(engine, RequestContext(ctx, feed, 0.05), request)
            encode_json(body)
            found = [error["extensions"]["code"] for error in body.get("errors", ())]
            assert "INTERNAL_SERVER_ERROR" not in found, f"{request}\n{body['errors']}"
            codes.update(found or ["answered"])

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(run_some())
    # The workers can finish all work that the API accepted: no event stays pending and no pass is parked.
    for job in (await ctx.workspace.jobs.page(PageRequest(COUNT))).items:
        await STAGES["jobs"](business.worker, job.id)
    await business.run_worker()
    db = ctx.resources.db
    assert await db["events"].count_documents({"pend": {"$exists": True}}) == 0
    assert await db["passes"].count_documents({"parked": {"$exists": True}}) == 0
    # The test is worth something only if many operations reach the resolvers.
    assert codes["answered"] > COUNT / 10, codes
    assert codes["BAD_USER_INPUT"] > COUNT / 10, codes
