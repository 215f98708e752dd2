"""The contents of a store, and the outcomes that calls may have then, computed without the code of the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus

CREATED, DUPLICATE, CONFLICT, REJECTED = (
    RecordStatus.CREATED,
    RecordStatus.DUPLICATE,
    RecordStatus.CONFLICT,
    RecordStatus.REJECTED,
)


@dataclass(frozen=True)
class Item:
    """One item of a call. It names its pass by external id, or `by_id`: by the id last seen under that external id."""

    name: str
    external_id: str | None
    amount: int
    by_id: bool = False
    corrects: str | None = None


@dataclass(frozen=True)
class Call:
    """A call that any process may repeat."""

    items: tuple[Item, ...]
    mode: str
    key: str | None = None


@dataclass
class AcknowledgedEvent:
    """An event that a call acknowledged.

    `pass_id` is the pass on which it was recorded. `may_go` and `must_go`: it may or must be removed at the end.
    """

    amount: int
    kind: str
    corrects: str | None
    pass_id: str
    may_go: bool = False
    must_go: bool = False

    @classmethod
    def from_input(cls, sent: EventInput, pass_id: str) -> AcknowledgedEvent:
        """Return the event of an input that was recorded on a pass."""
        corrects = None if sent.correction_of is None else str(sent.correction_of)
        return cls(int(str(sent.amount)), str(sent.type), corrects, pass_id=pass_id)

    def has_content_of(self, sent: EventInput) -> bool:
        """Return whether the input has the same content, whatever its pass."""
        other = AcknowledgedEvent.from_input(sent, self.pass_id)
        return (self.amount, self.kind, self.corrects) == (other.amount, other.kind, other.corrects)


@dataclass(frozen=True)
class StoreSnapshot:
    """The store at one moment.

    `pass_ids` are by external id, `survivors` by merged pass. `erased` are passes whose erasure is under way. `live`
    gives the pass of each event that is not removed; `stubs` are the removed events.
    """

    pass_ids: Mapping[str, str]
    survivors: Mapping[str, str]
    erased: frozenset[str]
    live: Mapping[str, str]
    stubs: frozenset[str]

    def survivor_of(self, pass_id: str) -> str | None:
        """Return the pass behind all merges, or None if it is erased or its erasure is under way."""
        last = self.last_survivor_of(pass_id)
        return last if last in self.pass_ids.values() and last not in self.erased else None

    def is_being_erased(self, pass_id: str) -> bool:
        """Return whether the erasure of the pass is under way. The erasure also removes events recorded meanwhile."""
        return self.last_survivor_of(pass_id) in self.erased

    def last_survivor_of(self, pass_id: str) -> str:
        """Return the pass behind all merges, whether it exists or not."""
        while pass_id in self.survivors:
            pass_id = self.survivors[pass_id]
        return pass_id

    def pass_id_of(self, sent: EventInput) -> str:
        """Return the pass that an input names, or "new ..." if no pass has its external id."""
        if sent.pass_id is not None:
            return str(sent.pass_id)
        return self.pass_ids.get(str(sent.pass_external_id), f"new {sent.pass_external_id}")

    def expected_outcomes(
        self, inputs: Sequence[EventInput], event_ids: Sequence[str], acknowledged: Mapping[str, AcknowledgedEvent]
    ) -> list[set[RecordStatus]]:
        """Return which outcomes each item of a call may have."""
        found: list[set[RecordStatus]] = []
        so_far = dict(acknowledged)
        uncertain: set[str] = set()
        for sent, event_id in zip(inputs, event_ids, strict=True):
            lacks_original = sent.correction_of is not None and self._lacks_original(sent, acknowledged)
            outcomes = (
                set(RecordStatus)
                if event_id in uncertain
                else self._outcomes(sent, event_id, so_far.get(event_id), lacks_original=lacks_original)
            )
            if outcomes == {CREATED, REJECTED}:
                uncertain.add(event_id)
            if outcomes == {CREATED}:
                so_far[event_id] = AcknowledgedEvent.from_input(sent, self.pass_id_of(sent))
            found.append(outcomes)
        return found

    def _outcomes(
        self, sent: EventInput, event_id: str, before: AcknowledgedEvent | None, *, lacks_original: bool
    ) -> set[RecordStatus]:
        pass_id = self.pass_id_of(sent)
        survivor = self._survivor(pass_id)
        if before is None:
            if survivor is None and self.is_being_erased(pass_id):
                return {REJECTED, CREATED}
            return {REJECTED} if survivor is None or lacks_original else {CREATED}
        if event_id in self.stubs:
            return {REJECTED}
        survivor_before = self._survivor(before.pass_id)
        if survivor_before is None:
            # The erasure is under way: the process may still read the event, or not any more.
            is_same_pass = self.last_survivor_of(pass_id) == self.last_survivor_of(before.pass_id)
            return {REJECTED, DUPLICATE if before.has_content_of(sent) and is_same_pass else CONFLICT}
        if survivor is None:
            return {REJECTED, CONFLICT}
        if before.has_content_of(sent) and survivor == survivor_before:
            return {DUPLICATE}
        return {CONFLICT, REJECTED} if lacks_original else {CONFLICT}

    def _lacks_original(self, sent: EventInput, acknowledged: Mapping[str, AcknowledgedEvent]) -> bool:
        """Return whether the original of a correction is not on the correction's pass."""
        original = acknowledged.get(str(sent.correction_of))
        survivor = self._survivor(self.pass_id_of(sent))
        if original is None or survivor is None or str(sent.correction_of) in self.stubs:
            return True
        return self._survivor(original.pass_id) != survivor

    def _survivor(self, pass_id: str) -> str | None:
        return pass_id if pass_id.startswith("new ") else self.survivor_of(pass_id)
