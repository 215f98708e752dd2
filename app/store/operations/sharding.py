"""Sharding: how the large collections are divided over the shards of a MongoDB. `punchcard migrate --shard` divides them."""

from __future__ import annotations

from collections.abc import Mapping

SHARD_KEYS: Mapping[str, Mapping[str, int | str]] = {
    "events": {"workspace": 1, "_id": "hashed"},
    "passes": {"workspace": 1, "_id": "hashed"},
    "pass_names": {"workspace": 1, "_id": "hashed"},
    # Positions and ids of a log are unique in the workspace, so a log lies on one shard.
    "activities": {"workspace": "hashed"},
}
"""The shard key of each collection that is divided. The other collections lie on one shard."""
