"""Filters as the stores need them: stages by an index, and groups of ids for the router of a sharded MongoDB."""

from __future__ import annotations

import pytest

from app.store.mongo.queries import MAX_SHARD_KEYS, Doc, group_by_workspace, match_by_index


def test_ids_of_one_workspace_are_one_group_up_to_the_size() -> None:
    groups = group_by_workspace({f"e{number}": "w" for number in range(1_500)}, 1_000)
    assert [(workspaces, len(ids)) for workspaces, ids in groups] == [(["w"], 1_000), (["w"], 500)]


@pytest.mark.parametrize("workspaces", [1, 3, 100, 1_000])
def test_groups_hold_each_id_once_and_few_combinations(workspaces: int) -> None:
    workspace_ids = {f"e{number}": f"w{number % workspaces}" for number in range(1_000)}
    groups = group_by_workspace(workspace_ids, 1_000)
    assert sorted(each for _, ids in groups for each in ids) == sorted(workspace_ids)
    for names, ids in groups:
        assert {workspace_ids[each] for each in ids} == set(names)
        assert len(names) * len(ids) <= MAX_SHARD_KEYS
    assert len(groups) <= 10


@pytest.mark.parametrize(
    ("indexed", "stages"),
    [
        ({"workspace": "w", "pass": "p", "at": {"$gte": 1}}, [{"workspace": "w", "pass": "p", "at": {"$gte": 1}}]),
        (
            {"workspace": "w", "pass": {"$in": ["p"]}, "at": {"$gte": 1}},
            [{"workspace": "w", "pass": {"$in": ["p"]}}, {"at": {"$gte": 1}}],
        ),
        (
            {"workspace": "w", "pass": {"$in": ["p"]}, "period": {"$in": [1]}},
            [{"workspace": "w", "pass": {"$in": ["p"]}}, {"period": {"$in": [1]}}],
        ),
        ({"workspace": "w", "pass": {"$in": ["p"]}}, [{"workspace": "w", "pass": {"$in": ["p"]}}]),
    ],
)
def test_what_follows_a_list_of_values_is_a_stage_of_its_own(indexed: Doc, stages: list[Doc]) -> None:
    assert match_by_index(indexed) == [{"$match": stage} for stage in stages]
