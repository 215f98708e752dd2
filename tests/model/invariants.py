"""The rules that must hold for a store when all work is done, whatever happened before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from app.domain.activities import (
    CREATED,
    CUSTOM_EVENT,
    DELETED,
    ENTERED,
    ERASED_DATA,
    EVENT_DECLINED,
    POINTS_ADDED,
    POINTS_EXPIRED,
    UPDATED,
    Activity,
)
from app.domain.events.events import LIST_EVENTS, MERGE_FINISHED, RULE_RETRIED, Event
from app.domain.events.tombstones import is_tombstone
from app.domain.passes.passes import Pass
from app.domain.state import aggregates
from app.domain.state.accounts import rebuild_account
from app.domain.values.decimals import plain
from app.domain.values.instants import to_ms
from app.store.codecs import events, passes
from app.store.workspace import activities
from tests import oracle

from .guarded import GuardedInvariants
from .histories import check_history
from .memory import Doc, MemoryDatabase
from .rules import RuleInvariants
from .script import CRITERIA, Script

OWN_TYPES = frozenset({MERGE_FINISHED, RULE_RETRIED, *LIST_EVENTS})


def _find_stubs_of_made(docs: Sequence[Doc], script: Script) -> set[str]:
    """Return the ids of what remains of erased passes and is neither sent nor perhaps sent: rules made it."""
    sent = {event_id for ids in script.sent.values() for event_id in ids} | script.maybe_sent
    return {doc["_id"] for doc in docs if script.has_rules and "removed" in doc and doc["_id"] not in sent}


class Invariants:
    """The documents of a store, compared with what the script did and what the reader read."""

    def __init__(self, db: MemoryDatabase, script: Script, now_ms: int) -> None:
        self._db, self._script = db, script
        self._now_ms = now_ms
        docs = [doc for doc in db["events"].docs.values() if not is_tombstone(doc["_id"])]
        found = [events.from_doc(doc) for doc in docs if "removed" not in doc]
        # Events that rules made, and those that Punchcard recorded itself.
        self._made = [event for event in found if event.is_made or event.type in OWN_TYPES]
        made_ids = {event.id for event in self._made} | _find_stubs_of_made(docs, script)
        self._events = [event for event in found if event.id not in made_ids]
        docs = [doc for doc in docs if doc["_id"] not in made_ids]
        self._passes = [passes.from_doc(doc) for doc in db["passes"].docs.values() if "gone" not in doc]
        self._event_ids: dict[str, list[str]] = {}
        for doc in docs:
            self._event_ids.setdefault(doc["pass"], []).append(doc["_id"])
        self._erasures: dict[str, Doc] = db["erasures"].docs
        self._versions: list[Doc] = list(db["definitions"].docs.values())
        self._log = sorted(
            (activities.from_doc(doc) for doc in db["activities"].docs.values()), key=lambda a: a.position
        )

    def check(self, read: Sequence[Activity], *, instants: bool) -> int:
        """Check everything and return the number of transitions. Raises AssertionError.

        With `instants`, each transition must have the instant that the oracle computes: no event was recorded late.
        """
        sent = {event_id for ids in self._script.sent.values() for event_id in ids}
        stored = {event_id for ids in self._event_ids.values() for event_id in ids}
        assert stored - self._script.maybe_sent == sent, "an event is missing, or nobody sent it"
        removed = {
            event_id
            for pass_id, ids in self._event_ids.items()
            for event_id in ids
            if event_id in self._script.removed_at_ms or pass_id in self._erasures
        }
        assert {event.id for event in self._events} == sent - removed, "an event was not removed, or one too many"
        assert [a.position for a in self._log] == list(range(1, len(self._log) + 1)), "the log has a hole"
        assert [a.id for a in read] == [a.id for a in self._log], "the reader missed or repeated something"
        check_history(self._db, self._log, self._passes, self._erasures)
        for pass_id, erasure in self._erasures.items():
            self._check_erased(erasure, [a for a in self._log if a.pass_id == pass_id])
        return sum(self._check_pass(card, instants=instants) for card in self._passes)

    def _check_erased(self, erasure: Doc, log: Sequence[Activity]) -> None:
        assert erasure["_id"] not in {card.id for card in self._passes}
        assert [a.pass_sequence for a in log] == list(range(1, erasure["n"] + 1)), (
            "activities of an erased pass are missing"
        )
        assert log[-1].type == DELETED
        assert all(a.data == ERASED_DATA for a in log), "something personal is left in the feed"
        self._check_left_all_segments(log)

    def _check_left_all_segments(self, log: Sequence[Activity]) -> None:
        for segment_id in self._script.segments.values():
            found = [a.type == ENTERED for a in log if a.segment_id == segment_id]
            assert found == [True, False] * (len(found) // 2), "an erased or merged pass has not left a segment"

    def _check_pass(self, card: Pass, *, instants: bool) -> int:
        if card.alias_of is not None:
            self._check_alias(card)
            return 0
        counted = [event for event in self._events if event.pass_id == card.id and not event.outcome.is_declined]
        made = [event for event in self._made if event.pass_id == card.id]
        assert not card.outbox, "something was not published"
        own = [*counted, *(event for event in made if not event.is_made)]
        assert dict(card.aggregates) == dict(aggregates.fold_events({}, own)), "an event was lost or counted twice"
        assert dict(card.made_aggregates) == dict(aggregates.fold_events({}, [e for e in made if e.is_made])), (
            "what a rule made was lost or counted twice"
        )
        log = [a for a in self._log if a.pass_id == card.id]
        assert [a.pass_sequence for a in log] == list(range(1, card.last_activity + 1)), (
            "activities of a pass are missing or out of order"
        )
        family = {card.id, *self._find_aliases(card.id)}
        family_log = [a for a in self._log if a.pass_id in family]
        sent = [event_id for each in family for event_id in self._event_ids.get(each, ())]
        removed = self._check_published_once(family_log, sent, counted, is_merged=len(family) > 1)
        assert sum(a.type == CREATED for a in log) == 1
        # Points that expired before their event was removed stay published as expired.
        if self._script.has_rules:
            invariants = RuleInvariants([*self._events, *self._made], self._versions, self._script.rule_ids)
            invariants.check(card, exact=instants and not removed)
            self._check_made_published(made, family_log)
        elif self._script.has_guards:
            points = {event_id: each.points for event_id, each in self._script.points.items()}
            guards = GuardedInvariants(self._events, self._versions, points, self._script.guarded)
            guards.check(
                card, family_log, is_merged=len(family) > 1, exact=instants and not removed and len(family) == 1
            )
        else:
            self._check_points(card, counted, log, sent, instants=instants and not removed)
        transitions = 0
        for segment_id in self._script.segments.values():
            found = [(to_ms(a.occurred_at), a.type == ENTERED) for a in log if a.segment_id == segment_id]
            expected = self._expected_transitions(card, segment_id, sent)
            is_member = segment_id in card.memberships
            assert all(a[1] != b[1] for a, b in pairwise(found)), "two entries or two exits in a row"
            assert (found[-1][1] if found else False) == is_member, "the feed and the membership disagree"
            assert (expected[-1][1] if expected else False) == is_member, "a membership is wrong"
            if instants:
                assert found == expected, f"{card.external_id} in {segment_id}: {found} instead of {expected}"
            transitions += len(found)
        return transitions

    def _check_published_once(
        self, log: Sequence[Activity], sent: Sequence[str], counted: Sequence[Event], *, is_merged: bool
    ) -> list[str]:
        """Check the activities of events and removals, and return the removed events."""
        made = {event.id for event in self._made}
        log = [a for a in log if a.cause.get("event") not in made]
        declined = {str(a.cause["event"]) for a in log if a.type == EVENT_DECLINED}
        told = (CUSTOM_EVENT, EVENT_DECLINED)
        published = sorted(str(a.cause["event"]) for a in log if a.type in told)
        added = sorted(str(a.cause["event"]) for a in log if a.type == POINTS_ADDED)
        assert set(published) | set(added) <= set(sent), "an activity tells of an event that is not stored"
        assert added == [
            event_id for event_id in published if self._script.points[event_id].points > 0 and event_id not in declined
        ], "an event that adds points was not published as such once"
        if not is_merged:
            assert published == sorted(sent), "an event was not published, or published twice"
        assert sorted(set(published)) == published, "an event was published twice"
        assert {event.id for event in counted} <= set(published) <= set(sent), "an event was not published"
        removed = sorted(event_id for event_id in sent if event_id in self._script.removed_at_ms)
        updates = [a for a in log if a.type == UPDATED]
        assert all("removed" in a.data for a in updates), "an activity tells of an event that is not stored"
        published_removals = sorted(str(a.data["removed"]) for a in updates)
        # An event recorded on a merged pass may be removed before it counts anywhere. Then neither is published. The removal
        # of an event that was declined changes nothing.
        expected = [event_id for event_id in removed if event_id in published and event_id not in declined]
        assert published_removals == expected, "a removal was not published, or published twice"
        return removed

    def _check_made_published(self, made: Sequence[Event], log: Sequence[Activity]) -> None:
        """Check that each event that a rule made is published once, with the number that it carries."""
        # Its event may also cause a transition of the survivor of a merge, by chance under the same number.
        numbers = [(a.cause.get("event"), a.pass_sequence) for a in log if a.segment_id is None]
        for event in made:
            if event.is_made:
                assert numbers.count((event.id, event.step)) == 1, "what a rule made was not published once"

    def _find_aliases(self, pass_id: str) -> list[str]:
        found = [card.id for card in self._passes if card.alias_of == pass_id]
        return [*found, *(each for alias in found for each in self._find_aliases(alias))]

    def _check_alias(self, card: Pass) -> None:
        """Check that only the external id and the published activities of a merged pass remain."""
        assert card.id not in {event.pass_id for event in self._events}, "an event has not moved"
        assert not card.outbox
        log = [a for a in self._log if a.pass_id == card.id]
        assert [a.pass_sequence for a in log] == list(range(1, card.last_activity + 1)), (
            "activities of a merged pass are missing"
        )
        assert log[-1].type == DELETED
        self._check_left_all_segments(log)

    def _check_points(
        self, card: Pass, counted: Sequence[Event], log: Sequence[Activity], sent: Sequence[str], *, instants: bool
    ) -> None:
        seen = [replace(self._script.points[e], is_removed=e in self._script.removed_at_ms) for e in sent]
        state = oracle.points_until(seen, self._now_ms)
        left = {event_id: lot.remaining for event_id, lot in (card.lots or {}).items()}
        assert (card.points, left) == (state.balance, state.left), "points are not those of the oracle"
        account, expired_lots = rebuild_account(counted, self._now_ms)
        assert (card.points, card.lots) == (account.balance, account.lots), "points were lost, or did not expire"
        if instants:
            published = [
                (a.data["points"], a.data["balance"], to_ms(a.occurred_at)) for a in log if a.type == POINTS_EXPIRED
            ]
            expected = [(plain(lot.points), plain(lot.balance), lot.at_ms) for lot in expired_lots]
            assert published == expected, f"{card.external_id}: {published} instead of {expected}"

    def _expected_transitions(self, card: Pass, segment_id: str, event_ids: Sequence[str]) -> list[tuple[int, bool]]:
        """Return every transition of the pass in the segment, over all versions of the segment."""
        script = self._script
        occurred = [
            oracle.OracleEvent(*script.occurred[e], removed_at_ms=script.removed_at_ms.get(e))
            for e in event_ids
            if e in script.occurred
        ]
        versions = sorted((v for v in self._versions if v.get("segment") == segment_id), key=lambda v: v["version"])
        starts = [to_ms(version["at"]) for version in versions]
        joined = to_ms(card.created_at)
        found: list[tuple[int, bool]] = []
        is_member = False
        for version, start, end in zip(versions, starts, [*starts[1:], self._now_ms + 1], strict=True):
            for at, matches in self._memberships_in_version(version, occurred, joined, start=start, end=end):
                if matches != is_member and joined <= at < end:
                    found.append((at, matches))
                    is_member = matches
        return found

    def _memberships_in_version(
        self, version: Mapping[str, object], occurred: list[oracle.OracleEvent], joined: int, *, start: int, end: int
    ) -> list[tuple[int, bool]]:
        """Return (from which instant, member) while a version of the segment was in force."""
        if version["archived"]:
            return [(start, False)]
        number = version["version"]
        assert isinstance(number, int)
        _, criteria, days = CRITERIA[self._script.criteria_names[str(version["segment"]), number]]
        transitions = oracle.list_transitions(occurred, joined, end - 1, criteria, days)
        is_member_at_start = [member for at, member in [(0, False), *transitions] if at <= start][-1]
        return [
            (max(start, joined), is_member_at_start),
            *((at, member) for at, member in transitions if at > start),
        ]
