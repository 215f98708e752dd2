"""Batches: lists of operations in one request, which the API refuses unless PUNCHCARD_MAX_BATCH allows them."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.business import Business
from tests.graphql.serving import Api, run_api

TYPENAME = {"query": "{ __typename }"}
CREATE = {"query": 'mutation { createPass(input: {externalId: "a"}) { pass { externalId } } }'}
READ = {"query": '{ pass(externalId: "a") { externalId } }'}
INVALID = {"query": "{ nope }"}
FOLLOW = {"query": "subscription { activity { __typename } }"}


async def test_batch_is_refused_if_batches_are_not_configured(api: Api) -> None:
    response = await api.post(json.dumps([TYPENAME]))
    assert (response.status_code, response.json()["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")


async def test_each_operation_of_a_batch_has_its_own_response_in_order(business: Business) -> None:
    resources = business.ctx.resources
    settings = replace(resources.settings, max_batch=6)
    ctx = replace(business.ctx, resources=replace(resources, settings=settings))
    async with run_api(replace(business, ctx=ctx)) as api:
        response = await api.post(json.dumps([READ, CREATE, INVALID, READ, FOLLOW, 1]))
        assert response.status_code == 200
        before, created, invalid, after, followed, number = response.json()
        assert before["data"] == {"pass": None}
        assert created["data"]["createPass"]["pass"] == after["data"]["pass"] == {"externalId": "a"}
        codes = [answer["errors"][0]["extensions"]["code"] for answer in (invalid, followed, number)]
        assert codes == ["GRAPHQL_VALIDATION_FAILED", "BAD_REQUEST", "BAD_REQUEST"]
        assert (await api.post(json.dumps([TYPENAME]), accept="text/event-stream")).json()[0]["data"]
        for batch in ([], [TYPENAME] * 7):
            assert (await api.post(json.dumps(batch))).status_code == 400
        api.secret = "wrong"
        assert (await api.post(json.dumps([TYPENAME]))).status_code == 401
