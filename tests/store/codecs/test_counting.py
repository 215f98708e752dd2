"""Which stored events count: the store and the API decide alike."""

from __future__ import annotations

import itertools
from typing import Any

from app.domain.events.events import CHECKOUT_INCREASED, EVENT_REMOVED, RULE_CHANNEL
from app.store.codecs.counting import DECIDED, IS_ACTIVITY, IS_MADE, WAITS, is_made, may_count, waits
from tests.business import Business

FIELDS: dict[str, list[Any]] = {
    "pend": [None, 5, -6],
    "moved": [None, {"told": False}, {"told": True}],
    "outcome": [None, {"status": "ACCEPTED"}, {"status": "DECLINED"}],
    "guard": [None, {"gift": True}],
    "correction_of": [None, "event_1"],
    "origin": [{"channel": "API"}, {"channel": RULE_CHANNEL}],
    "type": ["refund", CHECKOUT_INCREASED, EVENT_REMOVED],
}


async def test_store_and_code_agree_on_what_waits_and_what_a_walk_made(business: Business) -> None:
    docs = [
        {"_id": number, **{name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}}
        for number, values in enumerate(itertools.product(*FIELDS.values()))
    ]
    collection = business.ctx.resources.db["events"]
    await collection.insert_many(docs)
    fields = {"waits": WAITS, "made": IS_MADE, "active": IS_ACTIVITY}
    found = {doc["_id"]: doc for doc in await collection.aggregate([{"$project": fields}]).to_list(None)}
    answers = {doc_id: (bool(doc["waits"]), bool(doc["made"])) for doc_id, doc in found.items()}
    assert answers == {doc["_id"]: (waits(doc), is_made(doc)) for doc in docs}
    activities = {doc["_id"] for doc in docs if may_count(doc) and not is_made(doc) and not waits(doc)}
    assert {doc_id for doc_id, doc in found.items() if doc["active"]} == activities
    decided = await collection.find(DECIDED, {"_id": 1}).to_list(None)
    assert sorted(doc["_id"] for doc in decided) == [doc["_id"] for doc in docs if not waits(doc)]
    assert {(True, False), (False, True), (True, True), (False, False)} == set(answers.values())
