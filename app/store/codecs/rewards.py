"""Versions of rewards as documents, and back; `reward_version_from_doc(reward_version_to_doc(x)) == x`."""

from __future__ import annotations

from app.domain.rewards.parsing import parse_reward
from app.domain.rewards.rewards import RewardVersion
from app.domain.rewards.writing import reward_to_dict
from app.domain.segments.criteria import meaning_of
from app.domain.values.conditions import MEANING
from app.store.mongo.queries import Doc

from .criteria import ANY_CURRENCY


def reward_version_to_doc(version: RewardVersion) -> Doc:
    """Return what a reward has beside the fields of every definition."""
    criteria = version.terms.criteria
    return {
        "key": version.key,
        "reward": reward_to_dict(version.terms),
        "meaning": MEANING if criteria is None else meaning_of(criteria),
    }


def reward_version_from_doc(doc: Doc) -> RewardVersion:
    """Return the version of a reward from the document of a definition."""
    return RewardVersion(
        reward_id=doc["subject"],
        key=doc["key"],
        revision=doc["rev"],
        version=doc["version"],
        at=doc["at"],
        terms=parse_reward(doc["reward"], ANY_CURRENCY, doc["timezone"], stored_meaning=doc["meaning"]),
        archived=doc["archived"],
    )
