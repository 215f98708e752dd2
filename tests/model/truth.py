"""What must be true of a store when everything is done, whatever went on before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from app.domain.activities import (
    CREATED,
    CUSTOM_EVENT,
    DELETED,
    EMPTIED,
    ENTERED,
    POINTS_ADDED,
    POINTS_EXPIRED,
    UPDATED,
    Activity,
)
from app.domain.events.events import Event
from app.domain.events.tombstones import is_tombstone
from app.domain.passes.passes import Pass
from app.domain.state import aggregates
from app.domain.state.points import rebuild_account
from app.domain.values.decimals import plain
from app.domain.values.instants import to_ms
from app.store.codecs import events, passes
from app.store.workspace import activities
from tests import oracle

from .memory import Doc, Memory
from .script import CRITERIA, Script


class Truth:
    """The documents of a store, to be held against what was done and what was read."""

    def __init__(self, db: Memory, script: Script, now_ms: int) -> None:
        self._script = script
        self._now_ms = now_ms
        docs = [doc for doc in db["events"].docs.values() if not is_tombstone(doc["_id"])]
        self._events = [events.from_doc(doc) for doc in docs if "removed" not in doc]
        self._passes = [passes.from_doc(doc) for doc in db["passes"].docs.values()]
        self._of: dict[str, list[str]] = {}
        for doc in docs:
            self._of.setdefault(doc["pass"], []).append(doc["_id"])
        self._erased: dict[str, Doc] = db["erasures"].docs
        self._versions: list[Doc] = list(db["definitions"].docs.values())
        self._log = sorted(
            (activities.from_doc(doc) for doc in db["activities"].docs.values()), key=lambda a: a.position
        )

    def check(self, read: Sequence[Activity], *, instants: bool) -> int:
        """How many flips there were. Raises AssertionError.

        `instants` says that every flip must have the instant the oracle gives it: nothing was recorded late.
        """
        sent = {event_id for ids in self._script.sent.values() for event_id in ids}
        assert {event_id for ids in self._of.values() for event_id in ids} == sent
        gone = {
            e for pass_id, ids in self._of.items() for e in ids if e in self._script.gone or pass_id in self._erased
        }
        assert {event.id for event in self._events} == sent - gone, "an event was not removed, or one too many"
        assert [a.position for a in self._log] == list(range(1, len(self._log) + 1)), "the log has a hole"
        assert [a.id for a in read] == [a.id for a in self._log], "the reader missed or repeated something"
        for pass_id, left in self._erased.items():
            self._check_erased(left, [a for a in self._log if a.pass_id == pass_id])
        return sum(self._check_pass(card, instants=instants) for card in self._passes)

    def _check_erased(self, left: Doc, lines: Sequence[Activity]) -> None:
        assert left["_id"] not in {card.id for card in self._passes}
        assert [a.pass_sequence for a in lines] == list(range(1, left["n"] + 1)), (
            "an erased pass has a hole in its lines"
        )
        assert lines[-1].type == DELETED
        assert all(a.data == EMPTIED for a in lines), "something personal is left in the feed"
        for segment_id in self._script.segments.values():
            found = [a.type == ENTERED for a in lines if a.segment_id == segment_id]
            assert found == [True, False] * (len(found) // 2), "an erased pass has not left a segment"

    def _check_pass(self, card: Pass, *, instants: bool) -> int:
        if card.alias_of is not None:
            return self._check_alias(card)
        mine = [event for event in self._events if event.pass_id == card.id]
        assert not card.outbox, "something was not published"
        assert dict(card.aggregates) == dict(aggregates.fold({}, mine)), "an event was lost or counted twice"
        lines = [a for a in self._log if a.pass_id == card.id]
        assert [a.pass_sequence for a in lines] == list(range(1, card.last_activity + 1)), (
            "a pass has a hole in its lines, or lost their order"
        )
        family = {card.id, *self._merged_into(card.id)}
        whole = [a for a in self._log if a.pass_id in family]
        told = sorted(str(a.cause["event"]) for a in whole if a.type in (CUSTOM_EVENT, POINTS_ADDED))
        sent = [event_id for each in family for event_id in self._of.get(each, ())]
        if len(family) == 1:
            assert told == sorted(sent), "an event was not told, or told twice"
        assert sorted(set(told)) == told, "an event was told twice"
        assert {event.id for event in mine} <= set(told) <= set(sent), "an event was not told"
        removed = sorted(event_id for event_id in sent if event_id in self._script.gone)
        taken_back = sorted(str(a.data["removed"]) for a in whole if a.type == UPDATED)
        if len(family) == 1:
            assert taken_back == removed, "a removal was not told, or told twice"
        # What is removed while it moves counts nowhere by then: that the merged pass is gone told of it.
        assert sorted(set(taken_back)) == taken_back, "a removal was told twice"
        assert sum(a.type == CREATED for a in lines) == 1
        # What had ended before the events were removed was told, and stays told.
        self._check_points(card, mine, lines, instants=instants and not removed)
        flips = 0
        for segment_id in self._script.segments.values():
            found = [(to_ms(a.occurred_at), a.type == ENTERED) for a in lines if a.segment_id == segment_id]
            expected = self._expected(card, segment_id, sent)
            member = segment_id in card.memberships
            assert all(a[1] != b[1] for a, b in pairwise(found)), "two entries or two exits in a row"
            assert (found[-1][1] if found else False) == member, "the feed and the membership disagree"
            assert (expected[-1][1] if expected else False) == member, "who is in a segment is wrong"
            if instants:
                assert found == expected, f"{card.external_id} in {segment_id}: {found} instead of {expected}"
            flips += len(found)
        return flips

    def _merged_into(self, pass_id: str) -> list[str]:
        found = [card.id for card in self._passes if card.alias_of == pass_id]
        return [*found, *(each for alias in found for each in self._merged_into(alias))]

    def _check_alias(self, card: Pass) -> int:
        """Nothing is left of a merged pass but its name, and what it told."""
        assert card.id not in {event.pass_id for event in self._events}, "an event has not moved"
        assert not card.outbox
        lines = [a for a in self._log if a.pass_id == card.id]
        assert [a.pass_sequence for a in lines] == list(range(1, card.last_activity + 1)), (
            "a merged pass has a hole in its lines"
        )
        assert lines[-1].type == DELETED
        for segment_id in self._script.segments.values():
            found = [a.type == ENTERED for a in lines if a.segment_id == segment_id]
            assert found == [True, False] * (len(found) // 2), "a merged pass has not left a segment"
        return 0

    def _check_points(self, card: Pass, mine: Sequence[Event], lines: Sequence[Activity], *, instants: bool) -> None:
        purse, gone = rebuild_account(mine, self._now_ms)
        assert (card.points, card.lots) == (purse.balance, purse.lots), "points were lost, or outlived their end"
        if instants:
            told = [
                (a.data["points"], a.data["balance"], to_ms(a.occurred_at)) for a in lines if a.type == POINTS_EXPIRED
            ]
            expected = [(plain(lot.points), plain(lot.balance), lot.at_ms) for lot in gone]
            assert told == expected, f"{card.external_id}: {told} instead of {expected}"

    def _expected(self, card: Pass, segment_id: str, event_ids: Sequence[str]) -> list[tuple[int, bool]]:
        """Every flip of the pass in the segment, from one version of it to the next."""
        script = self._script
        happened = [oracle.Happening(*script.happened[e], gone=script.gone.get(e)) for e in event_ids]
        versions = sorted((v for v in self._versions if v["segment"] == segment_id), key=lambda v: v["version"])
        starts = [to_ms(version["at"]) for version in versions]
        joined = to_ms(card.created_at)
        found: list[tuple[int, bool]] = []
        member = False
        for version, start, end in zip(versions, starts, [*starts[1:], self._now_ms + 1], strict=True):
            for at, holds in self._steps(version, happened, joined, start, end):
                if holds != member and joined <= at < end:
                    found.append((at, holds))
                    member = holds
        return found

    def _steps(
        self, version: Mapping[str, object], happened: list[oracle.Happening], joined: int, start: int, end: int
    ) -> list[tuple[int, bool]]:
        """(from when, member?) while a version was in force."""
        if version["archived"]:
            return [(start, False)]
        number = version["version"]
        assert isinstance(number, int)
        _, verdict, days = CRITERIA[self._script.meant[str(version["segment"]), number]]
        whole = oracle.flips(happened, joined, end - 1, verdict, days)
        at_start = [member for at, member in [(0, False), *whole] if at <= start][-1]
        return [(max(start, joined), at_start), *((at, member) for at, member in whole if at > start)]
