"""Fields of the document of a pass that only serve finding it: tokens, the sort key of its name, its last event."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.domain.passes.passes import Pass
from app.domain.passes.search_tokens import build_tokens, name_key, with_beginnings
from app.domain.values.instants import EARLIEST, from_ms
from app.store.mongo.queries import Doc

FIND_PROJECTION: Doc = {"tokens": 0, "split": 0, "months": 0, "active": 0}
"""What a read of passes leaves out: nothing is decided by it. Writes of the profile make the first two anew, sealing the
others."""
NO_EVENT = EARLIEST - timedelta(milliseconds=1)
"""What is stored as the instant of the last event of a pass without one, so that one index orders all passes."""


def find_part_to_doc(card: Pass) -> Doc:
    """Return all fields by which lists find the pass. Without `searchable`, the pass has no tokens yet."""
    last_event = {"last_event": _instant(card.last_event_ms)}
    return last_event if card.searchable is None else {**last_event, **_text_part(card), **_split_part(card)}


def update_find_part(before: Pass, after: Pass, changes: Doc, unset: Doc) -> None:
    """Add those of the fields that differ. A pass without tokens gets all of them."""
    if after.searchable is not None and (
        after.profile is not before.profile or after.searchable != before.searchable or before.searchable is None
    ):
        changes |= {**_text_part(after), **_split_part(after)}
        if "split" not in changes and _split_part(before):
            unset["split"] = ""
    if after.last_event_ms != before.last_event_ms or before.searchable is None:
        changes["last_event"] = _instant(after.last_event_ms)


def _text_part(card: Pass) -> Doc:
    searchable = card.searchable or ()
    tokens = with_beginnings(build_tokens(card.profile, card.external_id, searchable))
    return {"tokens": tokens, "name_key": name_key(card.profile), "searched": list(searchable)}


def _split_part(card: Pass) -> Doc:
    """Return the fields of the pass with keys split at their points, if one has a point: filters read them by paths."""
    profile = card.profile
    return {} if profile.split_fields is profile.fields else {"split": profile.split_fields}


def _instant(ms: int | None) -> Any:
    return NO_EVENT if ms is None else from_ms(ms)
