"""Data that a walk needs from the store.

Pure code finds it beforehand, so that a worker reads it for many passes at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.definitions import ActiveDefinitions, Definitions
from app.domain.events.events import RULE_RETRIED, Event
from app.domain.passes.merges import is_profile_of_alias, tier_of_alias
from app.domain.passes.passes import Pass
from app.domain.passes.profiles import rebuilds_profile
from app.domain.state.aggregates import Aggregates
from app.domain.state.expiring import Expiring, group_expiring
from app.domain.state.from_rows import rows_of
from app.domain.state.measures import Measure
from app.domain.state.points_in_order import needs_history
from app.domain.state.refilling import cut_page, page_end_ms, page_start_ms


@dataclass(frozen=True, slots=True)
class WindowPage:
    """Next events to leave a window, as (ms, weight) in ascending order, read from after `after_ms`.

    `has_more` is true if more events of the window follow.
    """

    after_ms: int
    expiring: Sequence[Expiring]
    has_more: bool


def build_page(card: Pass, measure: Measure, after_ms: int, counted: Iterable[Event]) -> WindowPage:
    """Return the page of a window after an instant, from all events that count in the pass."""
    later = sorted((e for e in counted if e.occurred_ms > after_ms), key=lambda e: e.occurred_ms)
    end_ms = page_end_ms(card.measures.get(measure.key), after_ms)
    return WindowPage(after_ms, *cut_page(group_expiring(measure, later), end_ms))


@dataclass(frozen=True, slots=True)
class Family:
    """Members of a family that count in the pass.

    - `is_split`: one that counted lies on another pass.
    - `coming`: those that counted in a merged pass, and do not count here yet.
    """

    members: Sequence[Event]
    is_split: bool = False
    coming: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Data that a walk needs: the whole history of the pass, the next events to leave some windows, and families.

    `windows` maps the key of a measure to the measure and the instant in ms after which to read. `families` has the roots
    of the families that corrections belong to.
    """

    history: bool = False
    windows: Mapping[str, tuple[Measure, int]] = field(default_factory=dict)
    families: frozenset[str] = frozenset()


def effective_ms(event: Event, at_ms: int) -> int:
    """Return the effective instant of an event, for a pass that was evaluated until `at_ms`.

    An event that is on time counts when it occurred, and a correction not before the event that it corrects occurred. A
    late or historical event counts at the latest of that instant, `recorded_ms` and `at_ms`.
    """
    order_ms = event.order_ms
    if is_profile_of_alias(event.id) and (tier := tier_of_alias(event.changes)) is not None:
        # The survivor takes the tier over when the merged pass reached it, before the moved events of that instant count.
        return max(at_ms, order_ms, tier.since_ms)
    if event.historical or order_ms <= at_ms:
        return max(event.recorded_ms, at_ms, order_ms)
    return order_ms


def find_prefetch(card: Pass, definitions: Definitions, events: Sequence[Event], limit_ms: int) -> Prefetch:
    """Return the data that `advance` needs for this pass."""
    history = any(e.removes is not None or rebuilds_profile(e, card.evaluated_until_ms) for e in events)
    if not history and card.has_counted:
        history = needs_history(card.lots, card.pending_points, events, card.evaluated_until_ms)
        existing_keys = definitions.active_for(card.revision, card.profile).measure_keys
        for version in definitions.after(card.revision):
            active = definitions.active_for(version.revision, card.profile)
            for measure in active.measures:
                if (
                    measure.key not in existing_keys
                    and not measure.can_use_aggregates
                    and may_match(measure, card.aggregates, card.made_aggregates)
                ):
                    history = True
            # The walk drops a measure with the revision that stops using it. If a later revision uses the measure
            # again, the walk builds it from the history.
            existing_keys = active.measure_keys
    horizon = max([limit_ms, *(effective_ms(event, card.evaluated_until_ms) for event in events)])
    windows = {}
    for measure in definitions.active_for(card.revision, card.profile).measures:
        after_ms = page_start_ms(measure, card.measures.get(measure.key), card.evaluated_until_ms, horizon)
        if after_ms is not None:
            windows[measure.key] = (measure, after_ms)
    return Prefetch(history, windows, _find_families(card, definitions.latest_active, events))


def comes_first(event: Event, card: Pass) -> bool:
    """Return whether no correction of the event can have counted before the walk that counts the event.

    A correction counts no earlier than what it corrects is dated. So only a late event may follow its corrections.
    """
    return event.move is None and event.order_ms > card.evaluated_until_ms


def _find_families(card: Pass, active: ActiveDefinitions, events: Sequence[Event]) -> frozenset[str]:
    """Return the families of corrections and retries, and those of late events that rules are asked about."""
    found: set[str] = set()
    firsts = {event.id for event in events if comes_first(event, card)}
    for event in events:
        if event.type == RULE_RETRIED:
            found.add(event.family)
        elif event.correction_of is not None:
            # What is left of the corrected event decides whether a correction counts.
            if event.family not in firsts:
                found.add(event.family)
        elif event.id not in firsts and event.amount is not None and active.may_ask_about(event):
            found.add(event.id)
    return frozenset(found)


def may_match(measure: Measure, aggregates: Aggregates, made: Aggregates) -> bool:
    """Return whether events of these aggregates may count in the measure. `made` are those of events that rules made."""
    return any(
        measure.may_match(event_type, row.category, currency)
        for (event_type, currency), row in rows_of(measure, aggregates, made)
    )
