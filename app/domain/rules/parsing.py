"""Parser of rules: of the input of createRule and updateRule, and of stored definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from app.domain.errors import Code, Problem, refuse_if
from app.domain.segments.criteria import Criteria
from app.domain.segments.lists import parse_list
from app.domain.segments.parsing import parse_criteria
from app.domain.values.conditions import Condition, parse_metadata_condition
from app.domain.values.instants import EPOCH
from app.domain.values.text import parse_text
from app.domain.values.windows import parse_between
from app.domain.values.zones import parse_zone

from .effects import AwardPoints
from .parsing_effects import parse_effects
from .parsing_triggers import parse_limits, parse_nth, parse_trigger, parse_when
from .reading import Problems, parse_integer, parse_member
from .rules import OnCorrection, OnHistorical, RuleStatus, RuleVersion
from .texts import Texts
from .triggers import EventTrigger
from .writing import rule_to_dict

MAX_RULE_BYTES = 65_536
"""Size of one rule, as JSON in UTF-8."""
MAX_PRIORITY = 1_000_000
MAX_GROUP_CHARACTERS = 64
_UNREADABLE = EventTrigger(())


def parse_rule(
    raw: Mapping[str, object], currency: str, timezone: str, *, texts: Texts, stored_meaning: int | None = None
) -> RuleVersion:
    """Return the definition of a rule as a version without identity: its ids are empty and its numbers are 0.

    `currency` and `timezone` are the defaults, those of the workspace. Templates are checked by `texts`. Checks that are
    newer than a stored definition do not apply to it. Raises Refused with all problems of the input.
    """
    problems = Problems()
    trigger = problems.require(parse_trigger, raw, "trigger", message="Say what the rule waits for.")
    effects = problems.require(parse_effects, raw, "effects", message="Give at least one effect.", texts=texts)
    active_from_ms, active_to_ms = problems.read(_parse_active, raw.get("active"), "active") or (None, None)
    conditions = problems.read(
        _parse_conditions, raw.get("conditions"), "conditions", currency=currency, stored_meaning=stored_meaning
    )
    event_metadata = problems.read(
        _parse_metadata, raw.get("eventMetadata"), "eventMetadata", is_stored=stored_meaning is not None
    )
    percent = problems.read(
        parse_integer, raw.get("controlGroupPercent"), "controlGroupPercent", least=0, most=100
    )  # fmt: skip
    priority = problems.read(parse_integer, raw.get("priority"), "priority", least=-MAX_PRIORITY, most=MAX_PRIORITY)
    version = RuleVersion(
        rule_id="",
        key="",
        revision=0,
        version=0,
        at=EPOCH,
        first_at=EPOCH,
        status=problems.read(parse_member, raw.get("status"), "status", members=RuleStatus) or RuleStatus.ACTIVE,
        trigger=trigger or _UNREADABLE,
        effects=effects or (),
        conditions=conditions,
        event_metadata=event_metadata or (),
        nth=problems.read(parse_nth, raw.get("nth"), "nth"),
        when=problems.read(parse_when, raw.get("when"), "when"),
        per_pass=problems.read(parse_limits, raw.get("limits"), "limits"),
        active_from_ms=active_from_ms,
        active_to_ms=active_to_ms,
        timezone=problems.read(_parse_zone_name, raw.get("timezone"), "timezone") or timezone,
        priority=priority or 0,
        group=problems.read(parse_text, raw.get("group"), "group", max_length=MAX_GROUP_CHARACTERS),
        on_correction=problems.read(parse_member, raw.get("onCorrection"), "onCorrection", members=OnCorrection)
        or OnCorrection.REVERSE,
        historical=problems.read(parse_member, raw.get("historical"), "historical", members=OnHistorical)
        or OnHistorical.IGNORE,
        control_percent=percent or 0,
    )
    if trigger is not None:
        problems.found.extend(_find_misfits(version))
    refuse_if(problems.found)
    return _with_currency(version, currency)


def check_size(version: RuleVersion) -> None:
    """Raise Refused: TOO_LONG if a rule takes more than 64 KB."""
    size = len(json.dumps(rule_to_dict(version), ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_RULE_BYTES:
        message = (
            f"This rule takes {size:,} bytes; give at most {MAX_RULE_BYTES:,}. Shorten its texts and lists of values, or "
            "put conditions into a segment that the rule names."
        )
        refuse_if([Problem(Code.TOO_LONG, message)])


def _find_misfits(version: RuleVersion) -> Iterator[Problem]:
    """Yield the problems of values that do not fit the trigger."""
    if isinstance(version.trigger, EventTrigger):
        return
    if version.event_metadata:
        message = "Only a rule on events has event metadata; leave it out, or use conditions."
        yield Problem(Code.UNSUPPORTED, message, ("eventMetadata",))
    if version.nth is not None:
        yield Problem(Code.UNSUPPORTED, "Only a rule on events counts events; leave nth out, or use limits.", ("nth",))
    for index, effect in enumerate(version.effects):
        if isinstance(effect, AwardPoints) and effect.per_amount is not None:
            message = "Only an event has an amount; give points instead, or let the rule wait for an event."
            yield Problem(Code.UNSUPPORTED, message, ("effects", str(index), "awardPoints", "perAmount"))


def _with_currency(version: RuleVersion, currency: str) -> RuleVersion:
    """Return the version with the currency of the workspace, if it compares amounts and names no currency."""
    trigger = version.trigger
    if not isinstance(trigger, EventTrigger) or trigger.currency is not None:
        return version
    computes = any(isinstance(effect, AwardPoints) and effect.per_amount is not None for effect in version.effects)
    if not computes and trigger.amount_min is None and trigger.amount_max is None:
        return version
    return replace(version, trigger=replace(trigger, currency=currency))


def _parse_conditions(raw: object, *path: str, currency: str, stored_meaning: int | None) -> Criteria:
    return parse_criteria(raw, currency, *path, stored_meaning=stored_meaning)


def _parse_metadata(raw: object, *path: str, is_stored: bool) -> tuple[Condition, ...]:
    items = parse_list(raw, path[:-1], path[-1])
    return tuple(parse_metadata_condition(item, *path, str(index), is_stored=is_stored) for index, item in items)


def _parse_active(raw: object, *path: str) -> tuple[int | None, int | None]:
    return parse_between(raw, path)


def _parse_zone_name(raw: object, *path: str) -> str:
    return parse_zone(raw, *path).key
