"""Sealed months of passes compared with the events that count, and their protocol with one rule removed."""

from __future__ import annotations

from app.domain.fold import advance, saving
from app.domain.fold.derived import Derived
from app.domain.rollups import twelve_months
from app.domain.rollups.periods import PassPeriod, is_month, sum_months, sum_years
from app.domain.rollups.twelve_months import sum_twelve_months
from app.store.codecs import events, pass_writes, passes
from app.store.codecs.guards import is_declined
from app.store.codecs.pass_periods import periods_of_pass
from app.store.stages import pass_periods, saves
from app.store.stages.pass_periods import PassPeriodQueries, SealedPass, valid_sums
from workers.stages import seal_passes

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
        seed=3,
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
        seed=4,
        owner=PassPeriodQueries,
        function="sums",
        old="_sum(card.made_events, month) for card",
        new="{} for card",
        runs=("months", "rules"),
    ),
    Mutant(
        name="an earlier month that changes leaves the sums of twelve months as they are",
        owner=twelve_months,
        function="months_to_sum",
        old="max(dirty) >= first",
        new="max(dirty) >= clean[-1]",
        also=(seal_passes,),
        runs=("months",),
    ),
    Mutant(
        name="sums of twelve months lack the months before the last one",
        owner=twelve_months,
        function="months_to_sum",
        old="[month for month in clean if month >= first]",
        new="clean[-1:]",
        also=(seal_passes,),
        runs=("months",),
    ),
    Mutant(
        name="a month that becomes the last one gets no sums of twelve months",
        owner=seal_passes,
        function="_build_sealing",
        old="month in twelve or month in computed.keys() & of_years",
        new="month in computed.keys() & of_years",
        runs=("months",),
    ),
    Mutant(
        name="a month that was the last one keeps its sums of twelve months",
        owner=seal_passes,
        function="_sum_twelve_months",
        old="_sealed_months(each)[-1:] if month in needed",
        new="()",
        runs=("months",),
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
        last = max(filter(is_month, expected), default=None)
        twelve = sum_twelve_months({month: sums.values() for month, sums in expected.items() if is_month(month)})
        stored_twelve = periods_of_pass(doc, by_pass.get(card.id, ())).twelve
        assert stored_twelve == ({last: twelve} if twelve else {}), "sums of twelve months are not those of the months"
        assert set(doc.get("active", ())) == {period for period, sums in expected.items() if sums.count}


def _comparable(found: dict[int, PassPeriod]) -> object:
    return {
        period: (sums.count, sums.earned, sums.spent, sums.values(), sorted(map(str, (*sums.aggregates, *sums.made))))
        for period, sums in found.items()
    }
