"""The rules of questions about single customers removed, one at a time. A scene must catch each."""

from __future__ import annotations

from app.commands.insights import freshness
from app.store.workspace.removals import RemovalQueries
from workers.stages import erase, merge

from .mutants import Mutant

_MERGING = 'merging = await self._oldest(self._passes, "at", {"merging": {"$gte": 0}})\n'
_FIND = "    requested = await self._oldest(\n"
_COMPARE = "return await self.mark_customers() == before"

CUSTOMER_MUTANTS = (
    Mutant(
        name="question about customers does not look twice",
        owner=freshness,
        function="end_look",
        old="await ctx.workspace.removals.are_same_customers(look.marks)",
        new="True",
    ),
    Mutant(
        name="marks are read after what is missing",
        owner=freshness,
        function="look_at_customers",
        old="    marks = await ctx.workspace.removals.mark_customers()\n",
        new="    missing = await look_for_missing(ctx, end_ms)\n"
        "    marks = await ctx.workspace.removals.mark_customers()\n",
        then=(("await look_for_missing(ctx, end_ms))", "missing)"),),
    ),
    Mutant(
        name="second look does not compare the number of merges",
        owner=RemovalQueries,
        function="are_same_customers",
        old=_COMPARE,
        new="return (await self.mark_customers())._replace(merges=before.merges) == before",
    ),
    Mutant(
        name="second look does not compare the erasure epoch",
        owner=RemovalQueries,
        function="are_same_customers",
        old=_COMPARE,
        new="return (await self.mark_customers())._replace(erasure_epoch=before.erasure_epoch) == before",
    ),
    Mutant(
        name="merge that may have no tombstone is taken for finished",
        owner=RemovalQueries,
        function="are_same_customers",
        old=" or before.has_open_merge",
        new="",
    ),
    Mutant(
        name="second look does not find a pass that is being erased",
        owner=RemovalQueries,
        function="are_same_customers",
        old=" or await self.is_erasing()",
        new="",
    ),
    Mutant(
        name="second look reads the marks first",
        owner=RemovalQueries,
        function="are_same_customers",
        old=_FIND,
        new="    after = await self.mark_customers()\n" + _FIND,
        then=((_COMPARE, "return after == before"),),
    ),
    Mutant(
        name="marks of merged passes are read before tombstones",
        owner=RemovalQueries,
        function="pending",
        old="    found = await self._oldest(self._jobs",
        new=f"    {_MERGING}    found = await self._oldest(self._jobs",
        then=((f"    {_MERGING}    # If", "    # If"),),
    ),
    Mutant(
        name="merge is finished while its events wait on another merged pass",
        owner=merge,
        function="merge_once",
        old="if (merged_id := await _find_unforwarded(worker, alias)) is not None:",
        new="if (merged_id := None) is not None:",
    ),
    Mutant(
        name="merged pass is forgotten while its events wait on an erased pass",
        owner=erase,
        function="erase_once",
        old="if card.alias_of is not None and",
        new="if False and",
    ),
)
"""Rules of the two looks, and of the marks that they find."""
