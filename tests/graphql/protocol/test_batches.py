"""Lists of operations in one request: off, unless a number is configured."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.business import Business
from tests.graphql.serving import Api, serving

ONE = {"query": "{ __typename }"}
MAKE = {"query": 'mutation { createPass(input: {externalId: "a"}) { pass { externalId } } }'}
FIND = {"query": '{ pass(externalId: "a") { externalId } }'}
BAD = {"query": "{ nope }"}
FOLLOW = {"query": "subscription { activity { __typename } }"}


async def test_batches_are_refused_unless_they_are_configured(api: Api) -> None:
    response = await api.post(json.dumps([ONE]))
    assert (response.status_code, response.json()["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")


async def test_each_operation_of_a_batch_has_its_own_fate_in_order(business: Business) -> None:
    resources = business.ctx.resources
    settings = replace(resources.settings, max_batch=6)
    ctx = replace(business.ctx, resources=replace(resources, settings=settings))
    async with serving(replace(business, ctx=ctx)) as api:
        response = await api.post(json.dumps([FIND, MAKE, BAD, FIND, FOLLOW, 1]))
        assert response.status_code == 200
        before, made, bad, after, followed, nonsense = response.json()
        assert before["data"] == {"pass": None}
        assert made["data"]["createPass"]["pass"] == after["data"]["pass"] == {"externalId": "a"}
        codes = [answer["errors"][0]["extensions"]["code"] for answer in (bad, followed, nonsense)]
        assert codes == ["GRAPHQL_VALIDATION_FAILED", "BAD_REQUEST", "BAD_REQUEST"]
        assert (await api.post(json.dumps([ONE]), accept="text/event-stream")).json()[0]["data"]
        for batch in ([], [ONE] * 7):
            assert (await api.post(json.dumps(batch))).status_code == 400
        api.secret = "wrong"
        assert (await api.post(json.dumps([ONE]))).status_code == 401
