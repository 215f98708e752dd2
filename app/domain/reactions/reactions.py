"""Reactions: what has to happen outside a pass because of an entry of its activity log. The stage `react` makes it.

Each reaction is one insert under an id that follows from the event of the entry and the index of the effect. So a repeat
changes nothing, and of several workers one makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from app.domain.activities import TRANSFERRED, Activity
from app.domain.ids import outward_id
from app.domain.values.decimals import plain


@dataclass(frozen=True, slots=True)
class ReceivePoints:
    """Points of an accepted transfer, for the pass that receives them. They go back if that pass is gone."""

    transfer_id: str
    receiver_id: str
    points: Decimal

    kind = "receivePoints"
    prefix = "event"
    outlives_pass = True
    """Whether it is made although the pass of the entry is erased: another pass has it."""

    def to_json(self) -> dict[str, object]:
        """Return the reaction as the store keeps it while it is parked."""
        return {"transfer": self.transfer_id, "receiver": self.receiver_id, "points": plain(self.points)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ReceivePoints:
        """Return the reaction as stored."""
        return cls(stored["transfer"], stored["receiver"], Decimal(stored["points"]))


Body = ReceivePoints
BODIES: Mapping[str, type[Body]] = MappingProxyType({each.kind: each for each in (ReceivePoints,)})


@dataclass(frozen=True, slots=True)
class Reaction:
    """One effect outside the pass.

    - `event_id`: event that the entry of the log tells about.
    - `index`: index of the effect among those of the event.
    - `pass_id`: pass of the entry. After a merge, its survivor answers for it.
    """

    event_id: str
    index: int
    pass_id: str
    activity_id: str
    body: Body

    @property
    def id(self) -> str:
        """The id under which the effect is inserted."""
        return outward_id(self.body.prefix, self.event_id, self.index)


def reactions_of(activity: Activity) -> tuple[Reaction, ...]:
    """Return what follows from an entry of the log, in order; nothing from the emptied entry of an erased pass."""
    find, event = _BODIES_OF.get(activity.type), activity.data.get("event")
    if find is None or not isinstance(event, Mapping) or "removed" in event:
        return ()
    bodies = find(event)
    return tuple(
        Reaction(event_id=str(event["id"]), index=index, pass_id=activity.pass_id, activity_id=activity.id, body=body)
        for index, body in bodies.items()
    )


def _received(event: Mapping[str, Any]) -> dict[int, Body]:
    """Return that the other pass receives the points, for the event of the pass that sends them."""
    points, receiver_id = Decimal(event["points"]), event["metadata"].get("to")
    return {0: ReceivePoints(str(event["id"]), str(receiver_id), -points)} if points < 0 else {}


_BODIES_OF: Mapping[str, Callable[[Mapping[str, Any]], Mapping[int, Body]]] = MappingProxyType({TRANSFERRED: _received})
REACTED_TYPES = frozenset(_BODIES_OF)
"""Types of activities from which something may follow."""
