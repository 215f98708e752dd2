"""Retries of failed effects: an effect is made once, at the instant of the retry, by the version in force."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from app.domain.events.events import RULE_RETRIED, Category, Event
from app.domain.rules.effects import RecordEvent, UpdatePass
from app.domain.rules.rules import RuleStatus
from app.domain.rules.triggers import EventTrigger, SegmentTrigger
from app.templates.rendering import LiquidTexts

from .rule_walks import RuleSimulation, defined, fixed, removal, rule, segment
from .test_advance import START, count_criteria, purchase_event
from .test_rebuild import check_rebuild

GREETING = UpdatePass(fields={"greeting": "{{ pass.metadata.name }}"})
THANKS = RecordEvent("thanks", points=Decimal(3), metadata={"to": "{{ pass.metadata.name }}"})
NAMED = {"metadata": {"name": "Ann"}}


def retry(i: int, at_ms: int, fired: Event) -> Event:
    """Return the event that retryRuleFirings records."""
    event = purchase_event(i, at_ms)
    return replace(
        event, type=RULE_RETRIED, category=Category.CUSTOM, amount=None, currency=None, root=fired.family,
        metadata={"firing": fired.id},
    )  # fmt: skip


def rename(i: int, at_ms: int) -> Event:
    """Return an update of the pass that sets the value which the texts lack."""
    event = purchase_event(i, at_ms)
    return replace(
        event, type="pass_updated", category=Category.FIELD_CHANGE, amount=None, currency=None, changes=NAMED
    )


def simulate(*versions: object) -> RuleSimulation:
    """Return a simulation whose texts are rendered as in production."""
    simulation = RuleSimulation(defined(*versions))  # type: ignore[arg-type]
    simulation.texts = LiquidTexts()
    return simulation


def test_retry_makes_failed_effects_once_under_the_id_that_they_would_have_had() -> None:
    happy = simulate(rule("greet", fixed(1), THANKS, GREETING))
    happy.play(rename(0, START), purchase_event(1, START + 10, Decimal(5)))
    simulation = simulate(rule("greet", fixed(1), THANKS, GREETING))
    bought = purchase_event(1, START + 10, Decimal(5))
    simulation.play(bought)
    [fired] = simulation.fired
    assert [result["status"] for result in fired.metadata["effects"]] == ["SUCCEEDED", "FAILED", "FAILED"]  # type: ignore[attr-defined]
    simulation.play(retry(2, START + 20, fired))
    assert [event.type for event in simulation.made] == ["rule_fired", "point_add"], "the value is still missing"
    simulation.play(rename(3, START + 30), retry(4, START + 40, fired), retry(5, START + 40, fired))
    simulation.play(retry(6, START + 50, fired))
    thanks, greeting = simulation.made[2:]
    assert {event.id for event in simulation.made} == {event.id for event in happy.made}
    assert (thanks.metadata, greeting.changes) == ({"to": "Ann"}, {"fields": {"greeting": "Ann"}})
    assert {event.occurred_ms for event in (thanks, greeting)} == {START + 40}
    assert {event.root for event in simulation.made} == {bought.id}
    assert (simulation.balance, simulation.card.profile.fields["greeting"]) == (4, "Ann")
    check_rebuild(simulation)


def test_retry_of_a_firing_for_an_entry_reads_the_family_of_the_firing() -> None:
    entered = SegmentTrigger("seg_buyers", entered=True)
    simulation = simulate(segment("buyers", count_criteria(1)), rule("greet", THANKS, trigger=entered))
    simulation.play(purchase_event(1, START + 10, Decimal(5)))
    [fired] = simulation.fired
    simulation.play(rename(2, START + 20), retry(3, START + 30, fired), retry(4, START + 40, fired))
    assert [(event.type, event.root) for event in simulation.made[1:]] == [("thanks", fired.id)]
    check_rebuild(simulation)


def test_retry_makes_nothing_that_a_merge_brings_and_that_waits_to_be_counted() -> None:
    """An earlier retry made the effect on the merged pass."""
    simulations = [simulate(rule("greet", THANKS)), simulate(rule("greet", THANKS))]
    for each in simulations:
        each.play(purchase_event(1, START + 10, Decimal(5)), rename(2, START + 20))
    merged, survivor = simulations
    merged.play(retry(3, START + 30, merged.fired[0]))
    read = survivor.read_family
    survivor.read_family = lambda root: replace(read(root), coming=merged.made[1:])  # type: ignore[method-assign]
    survivor.play(retry(4, START + 40, survivor.fired[0]))
    assert [event.type for event in merged.made] == ["rule_fired", "thanks"]
    assert [event.type for event in survivor.made] == ["rule_fired"]


def test_what_a_retry_makes_is_asked_about() -> None:
    simulation = simulate(rule("greet", THANKS), rule("more", fixed(7), trigger=EventTrigger(("thanks",))))
    simulation.play(purchase_event(1, START + 10, Decimal(5)))
    [fired] = simulation.fired
    simulation.play(rename(2, START + 20), retry(3, START + 30, fired))
    assert simulation.balance == 10
    check_rebuild(simulation)


def test_retry_follows_the_version_in_force_and_makes_nothing_for_a_paused_rule() -> None:
    mended = RecordEvent("thanks", metadata={"to": '{{ pass.metadata.name | default: "you" }}'})
    paused = replace(rule("other", THANKS, version=2, at_ms=START + 15), status=RuleStatus.PAUSED)
    simulation = simulate(
        rule("greet", THANKS), rule("other", THANKS),
        rule("greet", mended, version=2, at_ms=START + 15), paused,
    )  # fmt: skip
    simulation.pending.append(purchase_event(1, START + 10, Decimal(5)))
    simulation.fold(START + 10)
    for i, fired in enumerate(simulation.fired):
        simulation.play(retry(10 + i, START + 20 + i, fired))
    assert [(event.metadata, event.origin.rule_version) for event in simulation.made[2:]] == [({"to": "you"}, 2)]


def test_retry_makes_nothing_if_the_cause_was_removed() -> None:
    simulation = simulate(rule("greet", THANKS))
    bought = purchase_event(1, START + 10, Decimal(5))
    simulation.play(bought)
    [fired] = simulation.fired
    simulation.play(rename(2, START + 20), removal(bought, START + 30), retry(3, START + 40, fired))
    assert len(simulation.made) == 1
    check_rebuild(simulation)
