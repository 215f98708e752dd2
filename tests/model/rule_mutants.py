"""The protocol of rules with one of its rules removed. Random runs with rules must catch each mutant."""

from __future__ import annotations

from app.domain import ids
from app.domain.fold import advance, families, instant, replaying, retries
from app.domain.passes import profiles
from app.domain.passes.passes import Pass
from app.domain.rules import made
from app.domain.rules.made import Maker
from workers.stages import fold, merge, publish

from .mutants import Mutant

RULES = ("rules",)
LATE, MERGING = ("rules", "late"), ("rules", "merging")
_PULL = (
    "    await worker.publish_queries.published(\n"
    "        {pass_id: entry.number for pass_id, entry in entries}, workspace_id=workspace_id\n"
    "    )\n"
)
_INSERT = "    await worker.publish_queries.insert_made(workspace_id, made)\n"

RULE_MUTANTS = (
    Mutant(
        name="made events in the outbox are not counted",
        owner=Pass,
        function="made_events",
        old="for entry in self.outbox if",
        new="for entry in () if",
        runs=RULES,
    ),
    Mutant(
        name="made events are inserted after the pull",
        seed=4,
        owner=publish,
        function="_publish_entries",
        old=_INSERT,
        new="",
        then=((_PULL, _PULL + _INSERT),),
        runs=RULES,
    ),
    Mutant(
        name="id of a made event does not name the effect",
        owner=ids,
        function="made_event_id",
        old="str(effect)",
        new='"0"',
        also=(made,),
        runs=RULES,
    ),
    Mutant(
        name="latest version of a rule takes points back",
        seed=5,
        owner=families,
        function="differences_of",
        old="        members = walk.family_members(root)\n",
        new="        members = walk.family_members(root)\n"
        "        latest = {rule.rule_id: rule for rule in walk.active.rules}\n"
        "        for fired in members or ():\n"
        "            for each in fired.metadata.get('effects', ()):\n"
        "                per = latest[fired.origin.rule].effects[each['index']]\n"
        "                if getattr(per, 'per_amount', None):\n"
        "                    each['terms']['per'][1] = str(per.per_amount.each)\n",
        also=(instant,),
        runs=RULES,
    ),
    Mutant(
        name="each correction is taken alone",
        owner=families,
        function="_differences",
        old="        due = award.terms.points(net, is_removed=target is None)\n",
        new="        alone = by_id.get(cause)\n"
        "        due = award.terms.points(net, is_removed=target is None)\n"
        "        due = due if alone is None else subtract(given, award.terms.points(alone.amount))\n",
        runs=RULES,
    ),
    Mutant(
        name="removed correction stays",
        seed=1,
        owner=instant,
        function="remove_events",
        old="for event in removed}",
        new="for event in removed if event.correction_of is None}",
        also=(advance,),
        runs=RULES,
    ),
    Mutant(
        name="rebuild fires again",
        seed=1,
        owner=instant,
        function="remove_events",
        old="Happened(differences, transitions)",
        new="Happened([*differences, *(e for e in derived.counted if not e.is_made)], transitions)",
        also=(advance,),
        runs=RULES,
    ),
    Mutant(
        name="points are awarded when the worker ran",
        owner=Maker,
        function="new_event",
        old="at = from_ms(self.at_ms)",
        new="at = from_ms(self.recorded_ms)",
        runs=RULES,
    ),
    Mutant(
        name="end of a merge is not recorded",
        owner=merge,
        function="merge_once",
        old="if (end := end_for_survivor(alias, now)) is not None:",
        new="if (end := end_for_survivor(alias, now)) is not None and not end:",
        runs=MERGING,
    ),
    Mutant(
        name="family is read before the pass",
        owner=fold,
        function="read_passes",
        old="    found = await worker.fold_queries.passes(backlog.by_pass, workspace_ids=workspace_ids)\n",
        new="    queries = worker.fold_queries\n"
        "    families = type(queries).families.__get__(queries)\n"
        "    roots = frozenset(item.event.family for items in backlog.by_pass.values() for item in items)\n"
        "    before = await queries.passes(backlog.by_pass, workspace_ids=workspace_ids)\n"
        "    early = await families([(card, roots) for card in before.values()])\n"
        "    async def read(named):\n"
        "        now = await families(named)\n"
        "        old = {p: {r: f for r, f in of.items() if r in now.get(p, ())} for p, of in early.items()}\n"
        "        return {p: {**of, **old.get(p, {})} for p, of in now.items()}\n"
        "    queries.families = read\n"
        "    found = await queries.passes(backlog.by_pass, workspace_ids=workspace_ids)\n",
        runs=MERGING,
    ),
    Mutant(
        name="effect of a retry is made although it exists",
        owner=retries,
        function="_make",
        old=" and made.id not in done",
        new="",
        runs=RULES,
    ),
    Mutant(
        name="retry makes the effect without reading the family",
        owner=retries,
        function="make_retried_effects",
        old="    if unread:\n        raise DataMissing(families=frozenset(unread))\n",
        new="",
        also=(instant,),
        then=(("walk.family_members(retry.family)", "walk.derived.families.get(retry.family)"),),
        runs=RULES,
    ),
    Mutant(
        name="effect of a retry has an id of its own",
        owner=Maker,
        function="make_again",
        old="return self._perform(rule, cause, index, effect).made",
        new="return replace(self._perform(rule, cause, index, effect).made, id=f'event_{self.at_ms}_{cause.id}')",
        runs=RULES,
    ),
    Mutant(
        name="change of a list by a rule does not survive a rebuild",
        owner=profiles,
        function="replay_profile",
        old="event.type in FIELD_EVENTS",
        new="event.type in FIELD_EVENTS and not event.is_made",
        also=(replaying,),
        runs=LATE,
    ),
)
