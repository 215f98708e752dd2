"""Reactions: what has to happen outside a pass because of an entry of its activity log. The stage `react` makes it.

Each reaction is one insert under an id that follows from the event of the entry and the index of the effect. So a repeat
changes nothing, and of several workers one makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from app.domain.activities import REDEMPTION_FAILED, ROLLED_BACK, RULE_WAS_FIRED, TRANSFERRED, UPDATED, Activity
from app.domain.ids import outward_id
from app.domain.values.decimals import plain
from app.domain.values.instants import format_instant, parse_instant


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


@dataclass(frozen=True, slots=True)
class IssueReward:
    """Reward that a rule gives to the customer. `source` is that of the firing's event."""

    reward_key: str
    source: str

    kind = "issueReward"
    prefix = "event"
    outlives_pass = False

    def to_json(self) -> dict[str, object]:
        """Return the reaction as the store keeps it while it is parked."""
        return {"reward": self.reward_key, "source": self.source}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> IssueReward:
        """Return the reaction as stored."""
        return cls(stored["reward"], stored["source"])


@dataclass(frozen=True, slots=True)
class FreeUnits:
    """Units of a redemption that does not hold them any more: it was declined, rolled back or removed.

    `is_declined` is true if it was declined. Then its code is free, too, and if a rule gave the reward, its firing notes
    the `reasons`.
    """

    redemption_event_id: str
    is_declined: bool = False
    reasons: tuple[tuple[str, str], ...] = ()

    kind = "freeUnits"
    prefix = "free"
    outlives_pass = True

    def to_json(self) -> dict[str, object]:
        """Return the reaction as the store keeps it while it is parked."""
        reasons = [list(each) for each in self.reasons]
        return {"redemption": self.redemption_event_id, "declined": self.is_declined, "reasons": reasons}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FreeUnits:
        """Return the reaction as stored."""
        reasons = tuple((code, message) for code, message in stored["reasons"])
        return cls(stored["redemption"], stored["declined"], reasons)


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """Message that a rule sends. `event_id` is the event for which it fired, if it fired for one; `at` when it fired."""

    channel_key: str
    template_id: str
    valid_for_hours: int
    rule_id: str
    rule_key: str
    event_id: str | None
    at: datetime

    kind = "queueMessage"
    prefix = "msg"
    outlives_pass = False

    def to_json(self) -> dict[str, object]:
        """Return the reaction as the store keeps it while it is parked."""
        return {
            "channel": self.channel_key, "template": self.template_id, "hours": self.valid_for_hours,
            "rule": self.rule_id, "rule_key": self.rule_key, "event": self.event_id, "at": format_instant(self.at),
        }  # fmt: skip

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> QueueMessage:
        """Return the reaction as stored."""
        return cls(
            stored["channel"], stored["template"], stored["hours"],
            rule_id=stored["rule"], rule_key=stored["rule_key"], event_id=stored["event"],
            at=parse_instant(stored["at"]),
        )  # fmt: skip


Body = ReceivePoints | IssueReward | FreeUnits | QueueMessage
BODIES: Mapping[str, type[Body]] = MappingProxyType({
    each.kind: each for each in (ReceivePoints, IssueReward, FreeUnits, QueueMessage)
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reaction:
    """One effect outside the pass.

    - `event_id`: event that the entry of the log reports.
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
    find = _BODIES_OF.get(activity.type)
    if find is None or "erased" in activity.data:
        return ()
    event_id, bodies = find(activity)
    return tuple(
        Reaction(event_id=event_id, index=index, pass_id=activity.pass_id, activity_id=activity.id, body=body)
        for index, body in bodies.items()
    )


def _received(activity: Activity) -> _Found:
    """Return that the other pass receives the points, for the event of the pass that sends them."""
    event = _event_of(activity)
    if event is None or (points := Decimal(event["points"])) >= 0:
        return _NOTHING
    return event["id"], {0: ReceivePoints(event["id"], str(event["metadata"].get("to")), -points)}


def _effects(activity: Activity) -> _Found:
    """Return the effects outside the pass of a firing."""
    event = _event_of(activity)
    if event is None:
        return _NOTHING
    bodies: dict[int, Body] = {}
    for result in event["metadata"].get("effects", ()):
        match result.get("outward"):
            case {"issueReward": {"rewardKey": str(key)}}:
                bodies[result["index"]] = IssueReward(key, event["source"])
            case {"sendMessage": {"channelKey": str(key), "templateId": str(template), "rule": str(rule)} as sent}:
                bodies[result["index"]] = QueueMessage(
                    key,
                    template,
                    sent["validForHours"],
                    rule_id=rule,
                    rule_key=event["source"].removeprefix("rule:"),
                    event_id=sent.get("event"),
                    at=activity.occurred_at,
                )
    return event["id"], bodies


def _declined(activity: Activity) -> _Found:
    event = _event_of(activity)
    if event is None:
        return _NOTHING
    reasons = tuple((each["code"], each["message"]) for each in activity.data.get("reasons", ()))  # type: ignore[attr-defined]
    return event["id"], {0: FreeUnits(event["id"], is_declined=True, reasons=reasons)}


def _rolled_back(activity: Activity) -> _Found:
    event = _event_of(activity)
    if event is None or event["correctionOf"] is None:
        return _NOTHING
    return event["id"], {0: FreeUnits(event["correctionOf"])}


def _removed(activity: Activity) -> _Found:
    """Return that the units of a removed event are free: the entry does not say whether it was a redemption."""
    removed = activity.data.get("removed")
    return _NOTHING if removed is None else (str(removed), {0: FreeUnits(str(removed))})


def _event_of(activity: Activity) -> Mapping[str, Any] | None:
    """Return the event of an entry; None if it was removed before the entry was published."""
    event = activity.data.get("event")
    return event if isinstance(event, Mapping) and "removed" not in event else None


_Found = tuple[str, Mapping[int, Body]]
_NOTHING: _Found = ("", MappingProxyType({}))
_BODIES_OF: Mapping[str, Callable[[Activity], _Found]] = MappingProxyType({
    TRANSFERRED: _received, RULE_WAS_FIRED: _effects, REDEMPTION_FAILED: _declined, ROLLED_BACK: _rolled_back,
    UPDATED: _removed,
})  # fmt: skip
REACTED_TYPES = frozenset(_BODIES_OF)
"""Types of activities from which something may follow."""
