"""Generated domain objects, and the encoding of their documents to BSON and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import bson
from bson.codec_options import CodecOptions
from hypothesis import strategies as st

from app.domain.activities import CREATED, CUSTOM_EVENT, ENTERED, LEFT, UPDATED, Activity, Entry
from app.domain.events.events import TYPES, Category, Event, Origin
from app.domain.events.guards import Decision, Guard, Reason, RewardGuard
from app.domain.events.points_expiry import PointsExpiry
from app.domain.passes.consents import Consent
from app.domain.passes.passes import STATUSES, Membership, Pass, PassTier, Profile
from app.domain.state.aggregates import Aggregate
from app.domain.state.calendars import PeriodValues, Streak
from app.domain.state.completed import Completed
from app.domain.state.distinct import Distinct, ValueSet
from app.domain.state.extremes import Extremes
from app.domain.state.lots import Lot
from app.domain.state.measures import FirstAndLast, State, Total
from app.domain.state.numbers import Mean
from app.domain.state.windows import Window
from app.domain.values.instants import to_ms

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)


def encode_and_decode(doc: dict[str, Any]) -> dict[str, Any]:
    """Return the document as the store returns it."""
    return bson.decode(bson.encode(doc), OPTIONS)


names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
keys = names.filter(lambda name: not name.startswith("$"))
words = st.from_regex(r"[a-z0-9][a-z0-9_.:\-]{0,11}", fullmatch=True)
instants = st.integers(to_ms(datetime(1900, 1, 1, tzinfo=UTC)), to_ms(datetime(2199, 12, 31, tzinfo=UTC))).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
millis = instants.map(to_ms)
decimals = st.decimals(-(10**15) + 1, 10**15 - 1, places=2) | st.decimals(0, 1, places=6) | st.just(Decimal(0))
amounts = decimals.map(abs)
numbers = st.integers(0, 10**6) | decimals
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | names
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
json_objects = st.dictionaries(keys, json_values, max_size=4)
flags = st.booleans()
currencies = st.sampled_from(["USD", "EUR", "JPY"])

points_ends = st.builds(PointsExpiry, at_ms=millis) | st.builds(PointsExpiry, after_days=st.integers(1, 3650))
origins = st.builds(
    Origin,
    st.sampled_from(["API", "BATCH", "IMPORT", "WEBHOOK", "MANUAL", "RULE", "INTERNAL"]),
    st.none() | words,
    st.none() | words,
    st.none() | names,
    st.none() | words,
    st.none() | names,
)
guards = st.builds(
    Guard,
    min_balance=st.none() | decimals,
    reward=st.none()
    | st.builds(
        RewardGuard, reward_id=words, key=words, quantity=st.integers(1, 999), sold_out=flags, code=st.none() | names
    ),
    gift=flags,
)
decisions = st.builds(
    Decision,
    reasons=st.lists(st.builds(Reason, code=words, message=names), max_size=2).map(tuple),
    amount=st.none() | amounts,
    balance=st.none() | decimals,
    step=st.integers(0, 10**6),
)
events = st.builds(
    Event,
    id=words,
    pass_id=words,
    category=st.sampled_from(Category),
    type=st.sampled_from(sorted(TYPES)) | words,
    amount=st.none() | amounts,
    currency=st.none() | currencies,
    points=decimals,
    source=names,
    external_id=st.none() | names,
    metadata=json_objects,
    occurred_at=instants,
    recorded_at=instants,
    origin=origins,
    field_name=st.none() | names,
    old_value=st.none() | names,
    new_value=st.none() | names,
    correction_of=st.none() | words,
    corrected_order=st.none() | st.tuples(millis, st.integers(0, 99)),
    historical=flags,
    changes=json_objects,
    points_expiry=st.none() | points_ends,
    label=st.none() | names,
    definition_version=st.none() | st.integers(1, 99),
    guard=st.none() | guards,
    performed_at=st.none() | instants,
)

causes = st.fixed_dictionaries(
    {"kind": st.sampled_from(["EVENT", "TIME", "BACKFILL"])}, optional={"event": words, "version": st.integers(1, 99)}
)
values = st.lists(st.none() | st.booleans() | names | numbers, max_size=6).map(tuple)
entries = st.builds(
    Entry,
    number=st.integers(1, 10**6),
    type=st.sampled_from([CREATED, CUSTOM_EVENT, ENTERED, LEFT]),
    at_ms=millis,
    recorded_ms=millis,
    cause=causes,
    refs=st.fixed_dictionaries({"event": words})
    | st.fixed_dictionaries({"event": words, "points": decimals, "balance": decimals})
    | st.fixed_dictionaries({"segment": words, "version": st.integers(1, 99), "before": values, "after": values}),
    late=flags,
    silent=flags,
    historical=flags,
)
activities = st.builds(
    Activity,
    position=st.integers(1, 2**53),
    pass_sequence=st.integers(1, 10**6),
    pass_id=words.map(lambda word: f"pass_{word}"),
    type=st.sampled_from([CREATED, CUSTOM_EVENT, UPDATED, ENTERED, LEFT]),
    category=st.sampled_from(["ACTION", "EFFECT"]),
    occurred_at=instants,
    recorded_at=instants,
    cause=causes,
    data=st.dictionaries(keys, json_values | decimals | st.lists(decimals, max_size=3), max_size=4),
    segment_id=st.none() | words,
    late=flags,
    silent=flags,
    historical=flags,
)

profiles = st.builds(
    Profile,
    st.dictionaries(keys, st.none() | names, max_size=3),
    json_objects,
    json_objects,
    status=st.sampled_from(STATUSES),
    lists=st.dictionaries(
        words.filter(lambda name: "." not in name), st.sampled_from(["INCLUDE", "EXCLUDE"]), max_size=3
    ),
    consents=st.dictionaries(
        words,
        st.builds(Consent, given=st.booleans(), since_ms=millis, event_id=words, how=st.none() | names),
        max_size=3,
    ),
)
aggregates = st.dictionaries(
    st.tuples(words, st.none() | currencies),
    st.builds(
        Aggregate,
        category=st.sampled_from(Category),
        count=st.integers(1, 10**9),
        sum=decimals,
        min=st.none() | amounts,
        max=st.none() | amounts,
        first_ms=millis,
        last_ms=millis,
        spent=decimals,
    ),
    max_size=4,
)
expiring = st.lists(st.tuples(millis, numbers), max_size=8)
steps_taken = st.lists(st.none() | st.tuples(millis, st.integers(0, 99), words), min_size=2, max_size=5).map(tuple)
value_sets = st.just(ValueSet((), has_more=True)) | st.lists(
    st.from_regex(r"[A-Za-z0-9_-]{12}", fullmatch=True), min_size=1, max_size=4
).map(lambda hashes: ValueSet(tuple(sorted(hashes))))


def period_values(values: st.SearchStrategy[Any]) -> st.SearchStrategy[PeriodValues]:
    """Return states of calendar windows with values of one kind."""
    pairs = st.lists(st.tuples(st.integers(1, 10**6), values), min_size=1, max_size=4)
    return pairs.map(lambda listed: PeriodValues(*zip(*sorted(listed, key=lambda each: each[0]), strict=True)))


states: st.SearchStrategy[State] = (
    st.builds(Total, numbers)
    | st.builds(FirstAndLast, millis, millis)
    | st.builds(lambda total, count: Total(Mean(total, count)), decimals, st.integers(0, 10**6))
    | st.lists(st.tuples(millis, decimals, flags), min_size=1, max_size=4).map(
        lambda listed: Extremes(
            tuple(at for at, _, _ in listed),
            tuple(value for _, value, _ in listed),
            tuple(gap for _, _, gap in listed),
            is_greatest=True,
        )
    )
    | st.builds(Completed, steps_taken, steps_taken)
    | st.builds(Streak, st.integers(0, 10**6), st.integers(1, 2**62 - 1))
    | period_values(numbers)
    | period_values(st.builds(Mean, decimals, st.integers(1, 10**6)))
    | period_values(value_sets)
    | st.lists(st.tuples(words, millis), min_size=1, max_size=4).map(
        lambda listed: Distinct(*zip(*listed, strict=True))
    )
    | st.builds(
        lambda value, pairs, more: Window(
            value, tuple(at for at, _ in pairs), tuple(w for _, w in pairs), has_more=more
        ),
        numbers,
        expiring,
        flags,
    )
)
memberships = st.lists(
    st.builds(Membership, words, millis, st.integers(1, 10**6), causes), max_size=4, unique_by=lambda m: m.segment_id
).map(lambda listed: {member.segment_id: member for member in listed})
passes = st.builds(
    Pass,
    id=words,
    workspace_id=words,
    external_id=names,
    initial_profile=profiles,
    profile=profiles,
    installed_at=st.none() | instants,
    installed_by_event=flags,
    created_at=instants,
    updated_at=instants,
    evaluated_until_ms=millis,
    revision=st.integers(0, 10**6),
    points=decimals,
    aggregates=aggregates,
    measures=st.dictionaries(st.from_regex(r"[0-9a-f]{18}", fullmatch=True), states, max_size=4),
    memberships=memberships,
    version=st.integers(0, 10**9),
    write_id=words,
    last_folded_ids=st.lists(words, max_size=5).map(tuple),
    last_activity=st.integers(0, 10**9),
    outbox=st.lists(entries, max_size=3).map(tuple),
    next_due_ms=st.none() | millis,
    tier=st.none() | st.builds(PassTier, names, millis, st.none() | millis),
    lots=st.none() | st.dictionaries(words, st.builds(Lot, decimals, millis, points_ends), max_size=3),
    failures=st.integers(0, 4),
    historical=flags,
    decisions=st.dictionaries(words, decisions, max_size=3),
)
