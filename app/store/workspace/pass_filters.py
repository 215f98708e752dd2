"""Filters of lists of passes as the store reads them, and which of their conditions an index holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context
from types import MappingProxyType

from bson import Decimal128

from app.domain.passes.pass_queries import PassQuery
from app.domain.passes.search_tokens import INDEXED_LENGTHS, Alternative, indexed_beginning
from app.domain.values.conditions import Condition
from app.domain.values.instants import EARLIEST
from app.store.mongo.conditions import between, condition_to_filter
from app.store.mongo.decimal128 import MAX_DIGITS, to_decimal128
from app.store.mongo.queries import Doc

from .activities import any_of

MAX_TERMS_COUNTED = 3
"""Words of a search whose passes are counted, to find a rare one."""
LAST_EVENT, NAME, POINTS, TOKENS, SEGMENT = "last_event", "name_key", "points", "tokens", "memberships.s"
EVERY_POINTS: Doc = {"$gte": Decimal128("-" + MAX_DIGITS * "9")}
"""Condition that every balance meets. Stubs and aliases have none."""
NO_PART: Mapping[str, object] = MappingProxyType({})
_END_OF_TEXTS = "\U0010ffff"
"""Text that follows, after the same word, every other text that a token may have there."""
_DOUBLE = Context(prec=15, Emin=-20)
"""Digits that a double keeps: the embedded server compares decimals as doubles at the end of a range in an index."""
_SPLIT: Doc = {"split": {"$exists": True}}


def conditions_of(query: PassQuery, part: Mapping[str, object] = NO_PART) -> Doc:
    """Return the conditions of a query without the workspace, each by its field if an index may hold it.

    A term of the search is left out if the condition `part` on the tokens says the same.
    """
    where: Doc = {}
    if query.created_after or query.created_before:
        where |= between("created_at", query.created_after or EARLIEST, query.created_before)
    if query.last_event_after or query.last_event_before:
        where |= between(LAST_EVENT, query.last_event_after or EARLIEST, query.last_event_before)
    bounds: Doc = {}
    if query.points_min is not None:
        bounds["$gte"] = to_decimal128(query.points_min)
    if query.points_max is not None:
        # With $lte, the embedded server omits passes with just this balance. What the range has too much goes below.
        bounds["$lt"] = Decimal128(_DOUBLE.next_plus(query.points_max))
    if bounds:
        where[POINTS] = {**EVERY_POINTS, **bounds}
    if query.segment_ids is not None:
        where[SEGMENT] = any_of(query.segment_ids)
    for name, values in (("profile.status", query.statuses), ("tier", query.tier_keys)):
        if values is not None:
            where[name] = any_of(values)
    implied = ((part.get(TOKENS),),)
    further = [_term_to_filter(term) for term in query.search.terms if term != implied]
    if query.points_max is not None:
        further.append({POINTS: {"$not": {"$gt": to_decimal128(query.points_max)}}})
    if query.not_in_segment_ids:
        further.append({SEGMENT: {"$nin": list(query.not_in_segment_ids)}})
    if query.consent is not None:
        further.append({"profile.consents": {"$elemMatch": {"key": query.consent, "given": True}}})
    further += map(_field_filter, query.fields)
    return {**where, "$and": further} if further else where


def indexed_parts(query: PassQuery, where: Doc) -> list[tuple[Doc, ...]]:
    """Return the conditions that an index holds, the most promising first. A term of a search has one for each alternative.

    A word is promising if its beginning has digits, or many letters.
    """
    terms: list[list[str]] = []
    for term in query.search.terms:
        rarest = [max(filter(None, map(indexed_beginning, words)), key=_promise, default="") for words in term]
        if all(rarest):
            terms.append(list(dict.fromkeys(rarest)))
    terms.sort(key=lambda starts: min(map(_promise, starts)), reverse=True)
    parts: list[tuple[Doc, ...]] = [tuple({TOKENS: start} for start in starts) for starts in terms[:MAX_TERMS_COUNTED]]
    return parts + [({name: where[name]},) for name in (SEGMENT, "created_at", LAST_EVENT, POINTS) if name in where]


def _promise(start: str) -> tuple[float, int]:
    digits = sum(map(str.isdigit, start))
    return digits + min(6, len(start) - digits) / 2, digits


def _term_to_filter(term: Sequence[Alternative]) -> Doc:
    alternatives: list[Doc] = [{"$and": [_word_to_filter(word) for word in words]} for words in term]
    return alternatives[0] if len(alternatives) == 1 else {"$or": alternatives}


def _word_to_filter(word: str) -> Doc:
    """Return the filter for passes with a token that begins with the word."""
    if len(word) in INDEXED_LENGTHS:
        return {TOKENS: word}
    return {TOKENS: {"$elemMatch": {"$gte": word, "$lt": word + _END_OF_TEXTS}}}


def _field_filter(condition: Condition) -> Doc:
    """Return the filter for a condition on the fields of a pass. Keys with points are read from the split copy."""
    split, plain = (condition_to_filter(condition, root) for root in ("split", "profile.fields"))
    return {"$or": [{"$and": [_SPLIT, split]}, {"$and": [{"$nor": [_SPLIT]}, plain]}]}
