"""Versions of tier programs as documents, and back; `program_from_doc(program_to_doc(x)) == x`."""

from __future__ import annotations

from app.domain.rules.rules import OnCorrection
from app.domain.tiers.programs import Downgrade, Tier, TierPeriod, TierProgramVersion
from app.domain.values.periods import PeriodUnit
from app.store.mongo.queries import Doc

from .criteria import criteria_from_doc, criteria_to_doc


def program_to_doc(program: TierProgramVersion) -> Doc:
    """Return what a program has beside the fields of every definition."""
    period = program.period
    return {
        "tiers": [_tier_to_doc(tier) for tier in program.tiers],
        "period": {
            "unit": None if period.unit is None else period.unit.value,
            "plus": period.plus,
            "days": period.days,
        },
        "downgrade": program.downgrade.value,
        "on_correction": program.on_correction.value,
        "notify": program.notify,
    }


def program_from_doc(doc: Doc) -> TierProgramVersion:
    """Return the version of a program from the document of a definition."""
    unit = doc["period"]["unit"]
    return TierProgramVersion(
        revision=doc["rev"],
        version=doc["version"],
        at=doc["at"],
        tiers=tuple(map(_tier_from_doc, doc["tiers"])),
        period=TierPeriod(
            unit=None if unit is None else PeriodUnit(unit), plus=doc["period"]["plus"], days=doc["period"]["days"]
        ),
        downgrade=Downgrade(doc["downgrade"]),
        on_correction=OnCorrection(doc["on_correction"]),
        timezone=doc["timezone"],
        notify=doc["notify"],
    )


def _tier_to_doc(tier: Tier) -> Doc:
    return {
        "key": tier.key,
        "name": tier.name,
        "reach": criteria_to_doc(tier.reach),
        "keep": None if tier.keep is None else criteria_to_doc(tier.keep),
        "benefits": dict(tier.benefits),
    }


def _tier_from_doc(doc: Doc) -> Tier:
    return Tier(
        key=doc["key"],
        name=doc["name"],
        reach=criteria_from_doc(doc["reach"]),
        keep=None if doc["keep"] is None else criteria_from_doc(doc["keep"]),
        benefits=doc["benefits"],
    )
