"""Versions of definitions as documents: each kind comes back as it was, and has the summary of its content."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.domain.definitions import DefinitionVersion
from app.domain.rewards.rewards import Reward, RewardVersion
from app.domain.rules.rules import OnCorrection, PerPassLimit
from app.domain.segments.criteria import Criteria
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import EMIT, TIER_PROGRAM, DefinitionKind, Version
from app.domain.tiers.programs import Downgrade, Tier, TierPeriod, TierProgramVersion
from app.domain.values.periods import PeriodUnit
from app.store.codecs.definitions import (
    definition_from_doc,
    definition_to_doc,
    has_summary,
    summary_from_doc,
    summary_of_whole,
)
from tests.store.generated import encode_and_decode

AT = datetime(2026, 3, 1, tzinfo=UTC)


def criteria(**leaf: Any) -> Criteria:
    return parse_criteria(leaf, "EUR")


SPENT = criteria(
    event={"metric": "SUM", "value": 500, "within": {"days": 365}, "metadata": [{"path": "a", "value": 1}]}
)
IN_SEGMENT = criteria(segment={"id": "seg_1"})
SEGMENT = Version(
    "seg_2", 3, 2, criteria=criteria(**{"pass": {"field": "tier", "value": "gold"}}), timezone="UTC", archived=False,
    notify="SILENT", at=AT,
)  # fmt: skip
PROGRAM = TierProgramVersion(
    4,
    2,
    AT,
    tiers=(
        Tier("silver", "Silver", SPENT),
        Tier("gold", "Gold", SPENT, keep=IN_SEGMENT, benefits={"lounge": [1, "a"]}),
    ),
    period=TierPeriod(unit=PeriodUnit.YEAR, plus=1),
    downgrade=Downgrade.ONE_DOWN,
    on_correction=OnCorrection.REVERSE,
    timezone="Europe/Berlin",
    notify=EMIT,
)
REWARD = RewardVersion(
    "rwd_1",
    "coffee",
    revision=6,
    version=2,
    at=AT,
    terms=Reward(
        Decimal("99.5"),
        SPENT,
        PerPassLimit(2, within_ms=86_400_000),
        total=10,
        per_request=2,
        active_to_ms=1_900_000_000_000,
        timezone="Europe/Berlin",
        code_pattern="A-######",
        metadata={"a.b": [1]},
    ),
    archived=True,
)
ENDED = TierProgramVersion(5, 3, AT, tiers=(), period=TierPeriod(days=30))


@pytest.mark.parametrize("version", [SEGMENT, replace(SEGMENT, fires_rules=True), PROGRAM, ENDED, REWARD])
def test_definition_comes_back_from_its_document(version: DefinitionVersion) -> None:
    assert definition_from_doc(encode_and_decode(definition_to_doc(version, "ws_1"))) == version


def test_summary_names_what_the_criteria_read() -> None:
    segment = summary_from_doc(definition_to_doc(SEGMENT, "ws_1"))
    assert (segment.kind, segment.references) == (DefinitionKind.SEGMENT, frozenset({TIER_PROGRAM}))
    program = summary_from_doc(definition_to_doc(PROGRAM, "ws_1"))
    assert (program.kind, program.subject_id, program.references) == (
        DefinitionKind.TIERS,
        TIER_PROGRAM,
        frozenset({"seg_1"}),
    )
    assert (program.comparisons, program.archived) == (5, False)
    assert summary_from_doc(definition_to_doc(ENDED, "ws_1")).archived


def test_summary_of_an_earlier_form_is_made_from_the_whole_version() -> None:
    doc = definition_to_doc(SEGMENT, "ws_1")
    assert has_summary(doc)
    del doc["summary"]
    assert not has_summary({**doc, "refs": []})
    assert summary_of_whole({**doc, "refs": []}) == summary_from_doc(doc)


def test_kind_of_a_later_version_is_refused() -> None:
    doc = {**definition_to_doc(PROGRAM, "ws_1"), "kind": "wishes"}
    with pytest.raises(ValueError, match="'wishes', which this version does not know"):
        definition_from_doc(doc)
