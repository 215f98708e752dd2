"""Pages of every list: `first: 0` asks for the count alone."""

from __future__ import annotations

import pytest
from graphql import GraphQLNonNull, Undefined

from app.graphql.schema import schema
from app.store.mongo.paging import PageRequest, cut_page
from app.store.workspace.events import EventQueries
from tests.business import purchases
from tests.graphql.serving import Api

INFO = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount nodes { __typename }"

LISTS = (
    "events", "passes", "segments", "jobs", "apiKeys", "auditLog", "activity", "eventDefinitions", "inboundHooks",
    "webhookEndpoints", "rules", "ruleFirings", "rewards", "channels", "messages",
    "parkedEffects",
)  # fmt: skip


@pytest.mark.parametrize("argument", ["first", "last"])
async def test_page_of_size_zero_has_no_items_and_states_whether_there_are_any(api: Api, argument: str) -> None:
    await api.business.record({}, {"pass_external_id": "bob"})
    await api.business.create_segment("buyers", purchases(1))
    await api.business.run_worker()
    counted = 0
    for name in LISTS:
        found = (await api.fetch_data(f"{{ list: {name}({argument}: 0) {{ {INFO} }} }}"))["list"]
        has_more = found["pageInfo"].pop("hasNextPage" if argument == "first" else "hasPreviousPage")
        assert has_more == (found["totalCount"] > 0), name
        assert found["nodes"] == [], name
        assert set(found["pageInfo"].values()) == {False, None}, name
        counted += found["totalCount"]
    assert counted > 10
    groups = "groups { nodes { count } totalCount }"
    nested = await api.fetch_data(
        f"""{{ passes {{ nodes {{ memberships({argument}: 0) {{ {INFO} }} events({argument}: 0) {{ {INFO} }} }} }}
          aggregateEvents(input: {{function: COUNT, groupBy: [PASS], first: 0}}) {{ {groups} }} }}"""
    )
    for node in nested["passes"]["nodes"]:
        assert (node["memberships"]["nodes"], node["memberships"]["totalCount"]) == ([], 1)
        assert (node["events"]["nodes"], node["events"]["totalCount"]) == ([], 1)
    assert nested["aggregateEvents"]["groups"] == {"nodes": [], "totalCount": 2}


def test_lists_above_are_all_that_need_no_argument() -> None:
    root = schema.query_type
    assert root is not None
    lists = {
        name
        for name, field in root.fields.items()
        if "first" in field.args
        and not any(
            isinstance(argument.type, GraphQLNonNull) and argument.default_value is Undefined
            for argument in field.args.values()
        )
    }
    assert lists == set(LISTS)


async def test_count_alone_needs_no_page_that_the_filter_can_fill(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.business.record(*({"external_id": str(number)} for number in range(60)))
    monkeypatch.setattr(EventQueries, "max_examined", 5)
    query = 'events(filter: {currency: "CHF"}, first: %d) { totalCount pageInfo { hasNextPage } }'
    refused = await api.fetch_error("{ " + query % 1 + " }")
    assert refused["extensions"]["code"] == "BAD_USER_INPUT"
    found = (await api.fetch_data("{ " + query % 0 + " }"))["events"]
    assert found["totalCount"] == 0


async def test_page_size_outside_zero_to_the_limit_is_refused(api: Api) -> None:
    for argument in ("first: -1", "first: 251", "last: -1", "last: 251"):
        error = await api.fetch_error(f"{{ passes({argument}) {{ totalCount }} }}")
        assert error["extensions"]["problems"][0]["code"] == "OUT_OF_RANGE", argument


def test_cut_of_size_zero_is_empty_in_both_directions() -> None:
    for backward in (False, True):
        page = cut_page([1, 2, 3], lambda item: (item,), True, PageRequest(0, backward=backward))
        assert (page.items, page.has_more) == ([], True)
        assert cut_page([1, 2, 3], lambda item: (item,), True, PageRequest(9, backward=backward)).items == [1, 2, 3]
    assert cut_page([1, 2, 3], lambda item: (item,), False, PageRequest(2, backward=True)).items == [2, 1]


@pytest.mark.parametrize(("name", "wrong"), [("first", 251), ("after", "no cursor")])
async def test_paging_argument_of_an_input_is_refused_with_its_path_there(api: Api, name: str, wrong: object) -> None:
    top = "query ($i: TopPassesInput!) { topPasses(input: $i) { passes { nodes { rank } } } }"
    groups = "query ($i: AggregateInput!) { aggregateEvents(input: $i) { groups { nodes { count } } } }"
    for query, asked in (
        (top, {"by": "COUNT", "month": "2026-01"}),
        (groups, {"function": "COUNT", "groupBy": ["TYPE"]}),
    ):
        error = await api.fetch_error(query, i={**asked, name: wrong})
        assert error["extensions"]["problems"][0]["field"] == ["input", name]
