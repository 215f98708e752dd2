"""Sealed months of passes compared with the events that count, and their protocol with one rule removed."""

from __future__ import annotations

from app.domain.fold import advance, saving
from app.domain.fold.derived import Derived
from app.domain.rollups.periods import PassPeriod, sum_months, sum_years
from app.store.codecs import events, pass_writes, passes
from app.store.codecs.guards import is_declined
from app.store.stages import pass_periods, saves
from app.store.stages.pass_periods import PassPeriodQueries, SealedPass, valid_sums

from .memory import Doc, MemoryDatabase
from .mutants import Mutant

MONTH_MUTANTS = (
    Mutant(
        name="counted events mark no month",
        owner=saving,
        function="build_pass",
        old="dirty_months=derived.dirty_months",
        new="dirty_months=walk.card.dirty_months",
        also=(advance,),
        runs=("months",),
    ),
    Mutant(
        name="removed events mark no month",
        owner=Derived,
        function="remove_events",
        old="self._note_months(removed)",
        new="pass",
        runs=("months",),
    ),
    Mutant(
        name="a month that was marked when the pass was read is not marked anew",
        owner=pass_writes,
        function="update_pass_operation",
        old="after.dirty_months is not before.dirty_months",
        new="after.dirty_months != before.dirty_months",
        also=(saves,),
        runs=("months", "late"),
    ),
    Mutant(
        name="sums are named whatever the version of the pass",
        owner=PassPeriodQueries,
        function="_commit_operation",
        old='conditions = {"v": equal_to(card.version), "fid": equal_to(card.write_id)}',
        new="conditions = {}",
        runs=("months",),
    ),
    Mutant(
        name="sums of each version have the same token",
        owner=pass_periods,
        function="token_of",
        old="write_id.encode()",
        new='b""',
        runs=("months",),
    ),
    Mutant(
        name="sums lack the events in the outbox",
        owner=PassPeriodQueries,
        function="sums",
        old="_sum(card.made_events, month) for card",
        new="{} for card",
        runs=("months", "rules"),
    ),
)


def check_months(db: MemoryDatabase) -> None:
    """Check that each pass names the sums of its events, and nothing else. Raises AssertionError."""
    by_pass: dict[str, list[Doc]] = {}
    for doc in db["pass_periods"].docs.values():
        by_pass.setdefault(doc["pass"], []).append(doc)
    for doc in db["passes"].docs.values():
        if "created_at" not in doc:
            assert not doc.keys() & {"months", "active", "dirty_months"}, "an ended pass names sums"
            continue
        assert "dirty_months" not in doc, "a month was not sealed"
        card = passes.from_doc(doc)
        stored = [
            events.from_doc(each)
            for each in db["events"].docs.values()
            if each["pass"] == card.id and events.is_event(each) and not is_declined(each)
        ]
        expected = sum_months(stored)
        expected |= sum_years(expected)
        tokens = {int(period): token for period, token in doc.get("months", {}).items()}
        found = valid_sums(SealedPass(card, tokens), by_pass.get(card.id, ()))
        assert tokens.keys() == found.keys(), "sums that a pass names are missing"
        assert _comparable(found) == _comparable(expected), "sums are not those of the events"
        assert set(doc.get("active", ())) == {period for period, sums in expected.items() if sums.count}


def _comparable(found: dict[int, PassPeriod]) -> object:
    return {
        period: (sums.count, sums.earned, sums.spent, sums.values(), sorted(map(str, (*sums.aggregates, *sums.made))))
        for period, sums in found.items()
    }
