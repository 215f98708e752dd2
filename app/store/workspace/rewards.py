"""Named queries over the rewards of one workspace: their labels, with the versions of their definitions."""

from __future__ import annotations

from datetime import datetime

from app.domain.rewards.rewards import LabelledReward, RewardVersion
from app.store.codecs.rewards import reward_version_from_doc
from app.store.mongo.queries import Doc

from .labels import Labels
from .versioned import VersionedQueries


class RewardQueries(VersionedQueries[LabelledReward, RewardVersion]):
    """Rewards of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "rewards"

    @staticmethod
    def _version_of(doc: Doc) -> RewardVersion:
        return reward_version_from_doc(doc)

    @staticmethod
    def _build(labels: Labels, latest: RewardVersion, updated_at: datetime) -> LabelledReward:
        return LabelledReward(
            id=labels.id,
            key=labels.key,
            name=labels.name,
            description=labels.description,
            latest=latest,
            created_at=labels.created_at,
            updated_at=updated_at,
        )
