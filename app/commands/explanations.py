"""Explanations of memberships: why a pass is in a segment or not, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.definitions import Definitions
from app.domain.errors import Code, InvalidInput, LimitExceeded, NotFound, Unavailable
from app.domain.explanation.explaining import DRAFT_ID, Explanation, explain_membership, with_draft
from app.domain.explanation.outlook import MAX_OUTLOOK_DAYS
from app.domain.explanation.sentences import sentence_of
from app.domain.explanation.trees import iter_parts
from app.domain.fold.copies import TooMuchToRead, walk_until
from app.domain.passes.passes import Pass
from app.domain.segments.criteria import Criteria, SegmentCriterion
from app.domain.segments.segments import TIER_PROGRAM, find_references
from app.domain.values.instants import DAY_MS, parse_instant, to_ms
from app.store.mongo.points import charge_points
from app.templates.rendering import LiquidTexts

from .context import Context
from .copies import MAX_ATTEMPTS, CopyReader, read_definitions
from .segment_zones import parse_segment_zone, parse_zone_field
from .segments import parse_segment_criteria

MAX_EVENTS_AHEAD = 1_000
"""Events that an explanation reads to look ahead."""
MAX_EVENTS_OF_CRITERIA = 20_000
"""Events of a pass that an explanation reads for criteria of no segment."""


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation, with the sentence of it."""

    explanation: Explanation
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Criteria that no segment has, their time zone, and the field of a pass that names its own zone."""

    criteria: Criteria
    timezone: str
    zone_field: str | None = None


async def parse_draft(
    ctx: Context, criteria: Mapping[str, object], timezone: object, zone_field: object = None
) -> Draft:
    """Return checked criteria to be explained. Raises Refused, with the path of the criterion at fault."""
    tree = await parse_segment_criteria(ctx, criteria)
    return Draft(tree, await parse_segment_zone(ctx, timezone), parse_zone_field(zone_field, tree))


async def explain(ctx: Context, pass_id: str, subject: str | Draft, at: object = None) -> Explained | None:
    """Return why a pass is in a segment or not; None if there is no such pass, or no such live segment.

    `subject` is the id of a segment, or criteria. `at` lies at most 5 years ahead; None is now. The answer is that of one
    version of the pass: if a worker writes the pass meanwhile, the explanation begins anew. Raises InvalidInput,
    LimitExceeded and Unavailable; safe to repeat.
    """
    now_ms = to_ms(await ctx.resources.clock.elapsed())
    at_ms = now_ms if at is None else _parse_at(at, to_ms(await ctx.now()))
    for _ in range(MAX_ATTEMPTS):
        card = await ctx.workspace.passes.complete(pass_id)
        if card is None:
            return None
        reader = CopyReader(ctx.workspace)
        found = await _explain(ctx, reader, card, subject, at_ms=at_ms)
        if not reader.has_read or await ctx.workspace.passes.version(card.id) == card.version:
            return found
    raise Unavailable("workers")


async def _explain(
    ctx: Context, reader: CopyReader, card: Pass, subject: str | Draft, *, at_ms: int
) -> Explained | None:
    definitions = await read_definitions(ctx, [card])
    at_ms = max(at_ms, card.evaluated_until_ms)
    segment_id = subject if isinstance(subject, str) else DRAFT_ID
    if isinstance(subject, Draft):
        _check_references(definitions, subject.criteria)
        definitions = with_draft(definitions, subject.criteria, subject.timezone, subject.zone_field, at_ms=at_ms)
    texts = LiquidTexts()
    try:
        walked = await reader.run(walk_until(card, definitions, at_ms, texts), MAX_EVENTS_OF_CRITERIA)
    except TooMuchToRead:
        raise _too_much(card) from None
    explaining = explain_membership(walked, definitions, segment_id, at_ms, texts=texts)
    explanation = await reader.run(explaining, MAX_EVENTS_AHEAD)
    if explanation is None:
        return None
    await charge_points(explanation.outlook.instants)
    return Explained(explanation, await _sentence(ctx, explanation, segment_id))


async def _sentence(ctx: Context, explanation: Explanation, segment_id: str) -> str:
    named = {
        part.criteria.segment_id for part in iter_parts(explanation.tree) if isinstance(part.criteria, SegmentCriterion)
    }
    labels = await ctx.workspace.segments.labels({segment_id, *named} - {DRAFT_ID})
    names = {each: found.name for each, found in labels.items()}
    return sentence_of(explanation, names.get(segment_id), names)


def _check_references(definitions: Definitions, criteria: Criteria) -> None:
    live = definitions.latest_active.by_segment
    if any(each not in live for each in find_references(criteria) - {TIER_PROGRAM}):
        raise NotFound("live segment", "criteria")


def _parse_at(raw: object, now_ms: int) -> int:
    at_ms = to_ms(parse_instant(raw, "at"))
    if at_ms < now_ms:
        message = "An explanation of the past is not available. Leave `at` out, and read the activity of the pass."
        raise InvalidInput(Code.UNSUPPORTED, message, "at")
    if at_ms > now_ms + MAX_OUTLOOK_DAYS * DAY_MS:
        raise InvalidInput(Code.OUT_OF_RANGE, "Give an instant of the next 5 years.", "at")
    return at_ms


def _too_much(card: Pass) -> LimitExceeded:
    message = (
        f"The pass {card.external_id} has more than {MAX_EVENTS_OF_CRITERIA:,} events to read. Give an earlier `at`, or "
        "create the segment and ask for its explanation."
    )
    return LimitExceeded(message, "criteria")
