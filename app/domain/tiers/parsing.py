"""Parser of tier programs, as setTierProgram takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.domain.errors import Code, InvalidInput, refuse_if
from app.domain.rules.reading import Problems, parse_body, parse_choice, parse_integer, parse_member
from app.domain.rules.rules import OnCorrection
from app.domain.segments.criteria import Criteria
from app.domain.segments.limits import check_criteria_size
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.satisfiability import find_constants
from app.domain.segments.segments import EMIT, SILENT, TIER_PROGRAM, find_references, parse_key
from app.domain.values.instants import EPOCH
from app.domain.values.periods import PeriodUnit
from app.domain.values.text import parse_object, parse_text
from app.domain.values.zones import parse_zone

from .programs import Downgrade, Tier, TierPeriod, TierProgramVersion

MAX_TIERS = 20
"""Tiers of a program."""
MAX_BENEFITS_BYTES = 4_096
"""Size of the benefits of one tier, as JSON in UTF-8."""
MAX_PLUS_PERIODS = 100
"""Calendar periods that a tier lasts beyond the present one."""
MAX_PERIOD_DAYS = 3_660
"""Days that a tier lasts."""
MAX_TIER_CRITERIA_BYTES = 16_384
"""Size of one criteria tree of a tier, as JSON in UTF-8."""


def parse_program(raw: Mapping[str, object], currency: str, timezone: str) -> TierProgramVersion:
    """Return a program as a version without identity: its numbers are 0.

    `currency` and `timezone` are the defaults, those of the workspace. Raises Refused with all problems of the input.
    """
    problems = Problems()
    tiers = problems.read(_parse_tiers, raw.get("tiers"), "tiers", currency=currency)
    if raw.get("tiers") is None:
        problems.add(Code.REQUIRED, "Give the tiers, the lowest first. An empty list ends all tiers.", "tiers")
    period = problems.read(_parse_period, raw.get("period"), "period")
    if raw.get("tiers") and raw.get("period") is None:
        problems.add(Code.REQUIRED, "Say how long a tier lasts: calendar, days or forever.", "period")
    version = TierProgramVersion(
        revision=0,
        version=0,
        at=EPOCH,
        tiers=tiers or (),
        period=period or TierPeriod(),
        downgrade=problems.read(parse_member, raw.get("downgrade"), "downgrade", members=Downgrade)
        or Downgrade.TO_QUALIFIED,
        on_correction=problems.read(parse_member, raw.get("onCorrection"), "onCorrection", members=OnCorrection)
        or OnCorrection.KEEP,
        timezone=problems.read(_parse_zone_name, raw.get("timezone"), "timezone") or timezone,
        notify=problems.read(_parse_notify, raw.get("notify"), "notify") or SILENT,
    )
    refuse_if(problems.found)
    return version


def _parse_tiers(raw: object, *path: str, currency: str) -> tuple[Tier, ...]:
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InvalidInput(Code.INVALID, "Give a list.", *path)
    if len(raw) > MAX_TIERS:
        raise InvalidInput(Code.TOO_MANY, f"Give at most {MAX_TIERS} tiers.", *path)
    problems = Problems()
    found = [problems.read(_parse_tier, item, *path, str(index), currency=currency) for index, item in enumerate(raw)]
    tiers = [tier for tier in found if tier is not None]
    for index, tier in enumerate(found):
        if tier is not None and any(other is not None and other.key == tier.key for other in found[:index]):
            problems.add(Code.TAKEN, "Another tier has this key; give each tier its own.", *path, str(index), "key")
    refuse_if(problems.found)
    return tuple(tiers)


def _parse_tier(raw: object, *path: str, currency: str) -> Tier:
    body = parse_body(raw, *path)
    problems = Problems()
    key = problems.require(parse_key, body, *path, "key", message="Give the tier a key.")
    name = problems.require(parse_text, body, *path, "name", message="Give the tier a name.")
    reach = problems.require(
        _parse_tree, body, *path, "reach", message="Say which passes reach the tier.", currency=currency
    )
    keep = problems.read(_parse_tree, body.get("keep"), *path, "keep", currency=currency)
    benefits = problems.read(_parse_benefits, body.get("benefits"), *path, "benefits")
    refuse_if(problems.found)
    assert key is not None
    assert name is not None
    assert reach is not None
    return Tier(key, name, reach, keep=keep, benefits=benefits or {})


def _parse_tree(raw: object, *path: str, currency: str) -> Criteria:
    if not isinstance(raw, Mapping):
        raise InvalidInput(Code.REQUIRED, "Give criteria.", *path)
    criteria = parse_criteria(raw, currency, *path)
    check_criteria_size(criteria, MAX_TIER_CRITERIA_BYTES, *path)
    # Criteria that name the tier are refused as a circle later, which says more than that they never change.
    if TIER_PROGRAM not in find_references(criteria):
        refuse_if(find_constants(criteria, *path))
    return criteria


def _parse_benefits(raw: object, *path: str) -> dict[str, object]:
    return parse_object(raw, *path, max_bytes=MAX_BENEFITS_BYTES)[0]


def _parse_period(raw: object, *path: str) -> TierPeriod:
    name, value = parse_choice(raw, *path, names=("calendar", "days", "forever"))
    if name == "days":
        return TierPeriod(days=parse_integer(value, *path, name, least=1, most=MAX_PERIOD_DAYS))
    if name == "forever":
        if value is not True:
            raise InvalidInput(Code.INVALID, "Only true is accepted; else give calendar or days.", *path, name)
        return TierPeriod()
    body = parse_body(value, *path, name)
    unit = parse_member(body.get("unit"), *path, name, "unit", members=PeriodUnit)
    plus = body.get("plus")
    if plus is not None:
        plus = parse_integer(plus, *path, name, "plus", least=0, most=MAX_PLUS_PERIODS)
    return TierPeriod(unit=unit, plus=1 if plus is None else plus)


def _parse_zone_name(raw: object, *path: str) -> str:
    return parse_zone(raw, *path).key


def _parse_notify(raw: object, *path: str) -> str:
    if str(raw) not in (SILENT, EMIT):
        raise InvalidInput(Code.UNKNOWN, f"`notify` is {SILENT} or {EMIT}.", *path)
    return str(raw)
