"""Effects outside passes that were not made: clients list them and let workers make them again."""

from __future__ import annotations

from app.commands.passes.merges import merge_passes
from app.graphql.types.ids import to_global_id
from tests.graphql.serving import Api
from tests.parking import park_transfer

LIST = """query List($f: ParkedEffectFilter) { parkedEffects(filter: $f) { totalCount nodes {
  id kind code reason attemptCount nextAttemptAt event { type points } pass { externalId } } } }"""
RETRY = """mutation Retry($i: RetryParkedEffectsInput!) {
  retryParkedEffects(input: $i) { count userErrors { code field } } }"""


async def test_parked_transfer_is_listed_and_reaches_its_receiver_after_a_retry(api: Api) -> None:
    parked_id = to_global_id("ParkedEffect", await park_transfer(api.business))
    found = (await api.fetch_data(LIST))["parkedEffects"]
    assert found == {
        "totalCount": 1,
        "nodes": [
            {
                "id": parked_id,
                "kind": "TRANSFER",
                "code": "UNAVAILABLE",
                "reason": "Not now.",
                "attemptCount": 1,
                "nextAttemptAt": None,
                "event": {"type": "points_transferred", "points": "-30"},
                "pass": {"externalId": "ann"},
            }
        ],
    }
    retry = {"i": {"ids": [parked_id]}}
    for count in (1, 1):
        assert (await api.fetch_data(RETRY, **retry))["retryParkedEffects"] == {"count": count, "userErrors": []}
    await api.business.run_worker()
    assert (await api.business.read_pass("bob")).points == 30
    assert (await api.fetch_data(LIST))["parkedEffects"]["totalCount"] == 0
    assert (await api.fetch_data(RETRY, **retry))["retryParkedEffects"] == {"count": 0, "userErrors": []}
    [entry, *_] = (await api.fetch_data("{ auditLog(first: 1) { nodes { action } } }"))["auditLog"]["nodes"]
    assert entry == {"action": "retryParkedEffects"}


async def test_parked_effects_are_selected_by_kind_code_and_pass(api: Api) -> None:
    """The pass that answers for a merged one shows its effects. A retry of a kind takes all of them."""
    await park_transfer(api.business, "REFUSED")
    ids = await api.business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(api.business.ctx, ids["bob"], ids["ann"])
    await api.business.run_worker()
    for sent, count in (
        ({"kinds": ["TRANSFER", "STOCK"]}, 1),
        ({"kinds": ["MESSAGE"]}, 0),
        ({"codes": ["REFUSED"]}, 1),
        ({"codes": ["UNAVAILABLE"]}, 0),
        ({"passId": ids["bob"]}, 1),
        ({"passId": ids["ann"]}, 1),
        ({"passId": "pass_none"}, 0),
    ):
        assert (await api.fetch_data(LIST, f=sent))["parkedEffects"]["totalCount"] == count, sent
    for wrong, code in (({}, "INVALID"), ({"ids": []}, "REQUIRED"), ({"ids": ["x"] * 1_001}, "TOO_MANY")):
        [error] = (await api.fetch_data(RETRY, i=wrong))["retryParkedEffects"]["userErrors"]
        assert (error["code"], error["field"][:1]) == (code, ["ids"])
    assert (await api.fetch_data(RETRY, i={"kind": "TRANSFER"}))["retryParkedEffects"]["count"] == 1
