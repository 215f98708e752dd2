"""What a store holds, and which answers are right beside it: by arithmetic that shares no code with the commands."""

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
    """One item of a call: on the pass of a name, or (`by_id`) on the latest pass ever seen under it."""

    name: str
    external_id: str | None
    amount: int
    by_id: bool = False
    corrects: str | None = None


@dataclass(frozen=True)
class Call:
    """A call that may be repeated, by whichever process. `passes` are the ids that its items named, once it was sent."""

    items: tuple[Item, ...]
    mode: str
    key: str | None = None


@dataclass
class Kept:
    """What is known of an identity that was acknowledged: what it says, where it was recorded, and what became of it."""

    amount: int
    kind: str
    corrects: str | None
    home: str
    may_go: bool = False
    must_go: bool = False

    @classmethod
    def of(cls, sent: EventInput, home: str) -> Kept:
        """What an input says, recorded on a pass."""
        corrects = None if sent.correction_of is None else str(sent.correction_of)
        return cls(int(str(sent.amount)), str(sent.type), corrects, home)

    def says(self, sent: EventInput) -> bool:
        """Whether the input says the same, but for the pass."""
        other = Kept.of(sent, self.home)
        return (self.amount, self.kind, self.corrects) == (other.amount, other.kind, other.corrects)


@dataclass(frozen=True)
class Truth:
    """The store as it is: who is there, who answers for whom, who is being erased, and which events are live."""

    names: Mapping[str, str]
    heirs: Mapping[str, str]
    erased: frozenset[str]
    live: Mapping[str, str]
    stubs: frozenset[str]

    def answering(self, pass_id: str) -> str | None:
        """The pass that answers for one; None where that is, or is being, erased."""
        heir = self.last(pass_id)
        return heir if heir in self.names.values() and heir not in self.erased else None

    def leaving(self, pass_id: str) -> bool:
        """Whether the pass is being erased: what is still recorded there goes with the rest."""
        return self.last(pass_id) in self.erased

    def last(self, pass_id: str) -> str:
        """The pass behind all merges, there or not."""
        while pass_id in self.heirs:
            pass_id = self.heirs[pass_id]
        return pass_id

    def named(self, sent: EventInput) -> str:
        """The pass that an input names; "new ..." for a name that nobody has."""
        if sent.pass_id is not None:
            return str(sent.pass_id)
        return self.names.get(str(sent.pass_external_id), f"new {sent.pass_external_id}")

    def fates(
        self, inputs: Sequence[EventInput], identities: Sequence[str], kept: Mapping[str, Kept]
    ) -> list[set[RecordStatus]]:
        """Which fates each item of a call may have."""
        found: list[set[RecordStatus]] = []
        so_far = dict(kept)
        unsure: set[str] = set()
        for sent, identity in zip(inputs, identities, strict=True):
            astray = sent.correction_of is not None and self._is_astray(sent, kept)
            fate = (
                set(RecordStatus)
                if identity in unsure
                else self._fate(sent, identity, so_far.get(identity), astray=astray)
            )
            if fate == {CREATED, REJECTED}:
                unsure.add(identity)
            if fate == {CREATED}:
                so_far[identity] = Kept.of(sent, self.named(sent))
            found.append(fate)
        return found

    def _fate(self, sent: EventInput, identity: str, before: Kept | None, *, astray: bool) -> set[RecordStatus]:
        named = self.named(sent)
        here = self._heir(named)
        if before is None:
            if here is None and self.leaving(named):
                return {REJECTED, CREATED}
            return {REJECTED} if here is None or astray else {CREATED}
        if identity in self.stubs:
            return {REJECTED}
        there = self._heir(before.home)
        if there is None:
            # Being erased: the event is still read as it was, or not any more.
            again = before.says(sent) and self.last(named) == self.last(before.home)
            return {REJECTED, DUPLICATE if again else CONFLICT}
        if here is None:
            return {REJECTED, CONFLICT}
        if before.says(sent) and here == there:
            return {DUPLICATE}
        return {CONFLICT, REJECTED} if astray else {CONFLICT}

    def _is_astray(self, sent: EventInput, kept: Mapping[str, Kept]) -> bool:
        """Whether the original of a correction is not on its pass."""
        original, here = kept.get(str(sent.correction_of)), self._heir(self.named(sent))
        gone = original is None or here is None or str(sent.correction_of) in self.stubs
        return gone or (original is not None and self._heir(original.home) != here)

    def _heir(self, named: str) -> str | None:
        return named if named.startswith("new ") else self.answering(named)
