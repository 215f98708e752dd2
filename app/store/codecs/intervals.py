"""Intervals of segments as documents, and back; `from_doc(to_doc(x)) == x`."""

from __future__ import annotations

from app.domain.segments.history import Ending, Interval
from app.store.mongo.queries import Doc


def to_doc(interval: Interval, workspace_id: str) -> Doc:
    """Return the document of an interval."""
    return {
        "_id": interval.id,
        "workspace": workspace_id,
        "segment": interval.segment_id,
        **({} if interval.pass_id is None else {"pass": interval.pass_id}),
        "n": interval.number,
        "entered": interval.entered_at,
        "enter": dict(interval.cause),
        **({} if interval.version is None else {"enter_version": interval.version}),
        **({} if interval.ending is None else ending_to_doc(interval.ending)),
    }


def ending_to_doc(ending: Ending) -> Doc:
    """Return the fields of the document of an interval that its end sets."""
    version = {} if ending.version is None else {"leave_version": ending.version}
    return {"left": ending.at, "leave": dict(ending.cause), **version}


def from_doc(doc: Doc) -> Interval:
    """Return the interval of a document."""
    return Interval(
        id=doc["_id"],
        segment_id=doc["segment"],
        pass_id=doc.get("pass"),
        number=doc["n"],
        entered_at=doc["entered"],
        cause=doc["enter"],
        version=doc.get("enter_version"),
        ending=Ending(doc["left"], doc["leave"], doc.get("leave_version")) if "left" in doc else None,
    )
