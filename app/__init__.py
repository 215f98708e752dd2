"""Punchcard: what customers do on their passes, folded, judged to the instant, and told to everyone who asked.

Follow an event from the mutation to the feed; every step is one file, and the table of them is `app/flow.py`:

1.  `graphql/` takes the mutation apart and puts the answer together; `auth.py` says whose workspace it is.
2.  `commands/record.py` checks each item (`domain/drafts.py`, and `domain/event_types.py` for what the workspace defined),
    finds or makes its pass (`commands/missing.py`), and inserts it with `pend`: from here on the event is its own outbox;
    `commands/fates.py` tells repeats from conflicts. `bus.py` wakes the fold; losing that costs a second.
    `commands/receipts.py` stands before that: a call repeated under its key is answered again, and each has a receipt.
    Foreign systems post to `hooks.py`; `commands/inbound.py` makes the same items of what they say (`domain/mappings.py`).
3.  `workers/fold.py` reads what is pending; `workers/settle.py` walks each pass over it (`domain/transitions.py`, pure) and
    saves aggregates, memberships, outbox and the ids just counted in one compare-and-set, then marks the events.
4.  `workers/due.py` and `workers/backfill.py` do the same without events: for what time alone flips or ends (points), and
    for definitions that changed (`commands/segments.py`).
5.  `workers/publish.py` appends the outboxes to `activities`, a log with dense positions in each workspace.
6.  `workers/deliver.py` sends the log to webhook endpoints (`commands/webhooks.py`): `courier.py` is one run at one of them,
    `app/outbound.py` one try of one message; what is sent when is `domain/lanes.py`, `domain/deliveries.py`.
7.  `feed.py` tails the log once for each workspace and hands it to subscriptions; queries read the same log.

Removals are events too: `commands/removals.py` inserts tombstones, the fold builds the pass anew without what they name
(`domain/derived.py`), and `workers/erase.py` empties what is left of an erased pass. A merge begins in the same way
(`commands/merges.py`); then `workers/merge.py` moves the events to the pass that answers for both.

What takes long is a job: `commands/imports.py`, `exports.py` and `replays.py` store one, `workers/jobs.py` claims it, and
the carrier of its kind (`workers/imports.py`, `exports.py`, `removals.py`, `replays.py`) works on it a turn at a time
(`turns.py`), whatever dies in between. Files lie in the store, part by part; `downloads.py` hands them out.

Operators look in through `probes.py` (health, readiness, metrics) and `access.py` (a line and an id for each request);
`metrics.py`, `tracing.py` and `logs.py` are what the others tell, `draining.py` and `server.py` how the API goes away,
`connections.py` how it parts from clients that stopped reading. Addresses that callers name are asked by `egress.py` only.

Mongo alone holds the truth (`store/`); Redis only wakes; `workers/sweep.py` makes every lost wake-up harmless.
"""
