"""`punchcard demo`: loads three coffee bars, their guests and four months of visits through the API.

A second run sends the same events, and the API records nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from app.config.settings import Settings
from app.local.key_file import KeyFile

from .client import Client, with_client
from .demo_data import Guest, generate_events, generate_guests
from .demo_rewards import REWARDS_QUERY, create_rewards, redeem_rewards

RECENT = timedelta(days=3)
"""Events of these last days are recorded after the segments exist, so that events cause transitions in the feed."""
PROCESSING_TIMEOUT_SECONDS = 20
"""How long the command waits each time for the worker. A busy machine may take longer."""
TOP_GUESTS = 5

_PASSES = """mutation ($passes: [CreatePassInput!]!) { createPasses(input: { passes: $passes }) {
  created duplicate results { status pass { createdAt } userErrors { message } } userErrors { message } } }"""
_EVENTS = """mutation ($events: [RecordEventInput!]!) { recordEvents(input: { events: $events }) {
  created duplicate failed results { userErrors { message } } userErrors { message } } }"""
_SEGMENT = """mutation ($input: CreateSegmentInput!) { createSegment(input: $input) {
  segment { id } userErrors { code message } } }"""
_FIND = "query ($key: String!) { segment(key: $key) { id } }"
_RULE = """mutation ($input: CreateRuleInput!) { createRule(input: $input) {
  rule { id } userErrors { code message } } }"""
_TIERS = "{ tierProgram { version } }"
_SET_TIERS = """mutation ($input: SetTierProgramInput!) { setTierProgram(input: $input) { userErrors { message } } }"""
_RULES = """{ rules { nodes { name key statistics { fired pointsAwarded } } }
  passes { nodes { externalId holder { name } pointsBalance tier } } }"""
_STATE = """{ passes { totalCount } events { totalCount } activity { totalCount }
  segments { nodes { key name memberCount backfill { done } } }
  newest: segments(first: 1) { nodes { members(first: 0) { freshness { exact } } } } }"""
_CHANNEL = """mutation ($input: CreateChannelInput!) { createChannel(input: $input) {
  channel { id } userErrors { code message } } }"""

QUERIES = (
    (
        "Guests who are slipping away, and their last event:",
        '{ segment(key: "demo-slipping-away") { memberCount members(first: 5) { nodes { since\n'
        "    pass { externalId holder { name } events(first: 1) { nodes { type amount occurredAt } } } } } } }",
    ),
    (
        "One guest, with statistics, tier, segments and activities:",
        '{ pass(externalId: "guest-001") { holder { name } statistics { eventCount spend { currency net orders } }\n'
        "    tierStatus { name since until progress { nextTier remaining { measure needed } } }\n"
        "    memberships { nodes { segment { name } since } } activity(last: 5) { nodes { type occurredAt data } } } }",
    ),
    (
        "What a rule did, and for whom:",
        '{ rule(key: "demo-points") { statistics { fired pointsAwarded } firings(first: 5) { nodes {\n'
        "    occurredAt pass { holder { name } pointsBalance } event { type amount } effects { points } } } } }",
    ),
    REWARDS_QUERY,
    (
        "Mails that a rule sent, to the file mailbox.mbox in the data folder:",
        '{ messages(filter: { channelKey: "demo-mail" }, first: 5) { totalCount nodes {\n'
        "    status ruleKey sentAt pass { holder { name email } } } } }",
    ),
    (
        "The feed as it grows (record an event for a guest in another tab):",
        "subscription { activity { __typename ... on ActivityEdge { node { type occurredAt pass { externalId } data } } } }",
    ),
)


@click.command()
@with_client
def demo(settings: Settings, client: Client) -> None:
    """Load sample data: a coffee bar chain with 40 guests, their visits, segments, tiers, rules and rewards.

    The data goes into the workspace of the API key. A second run records nothing twice. Afterwards, paste the printed
    queries into GraphiQL.

    \b
    Example:
      punchcard demo
    """
    console = Console(markup=False, highlight=False)
    guests = list(generate_guests())
    first = _create_passes(client, [_pass_input(guests[0])])["results"][0]["pass"]
    if first is None:
        raise click.ClickException(
            "The workspace has a pass 'guest-001' that is not from the demo. Set --key to a key of another workspace."
        )
    until = datetime.fromisoformat(first["createdAt"]).replace(second=0, microsecond=0)
    _create_passes(client, [_pass_input(guest) for guest in guests[1:]])
    events = list(generate_events(guests, until))
    recent = [event for event in events if datetime.fromisoformat(event["occurredAt"]) > until - RECENT]
    recorded = _record_events(client, [event for event in events if event not in recent])
    _wait_until_done(client)
    _create_segments(client)
    _create_tiers(client)
    _create_rules(client)
    _wait_until_done(client)
    recorded += _record_events(client, recent)
    create_rewards(client)
    _wait_until_done(client)
    redeem_rewards(client)
    state = _wait_until_done(client)
    console.print(
        f"{recorded} events recorded now, {len(events) - recorded} were there before. In the workspace there are:"
    )
    table = Table("passes", "events", "activities", "segments")
    members = [f"{segment['name']}: {segment['memberCount']}" for segment in state["segments"]["nodes"]]
    counts = [str(state[noun]["totalCount"]) for noun in ("passes", "events", "activity")]
    table.add_row(*counts, "\n".join(members))
    console.print(table)
    if not _is_processed(state):
        console.print(
            "The worker is still busy, so these figures may change. Run the command again to see the final ones."
        )
    _print_points(console, client)
    path = KeyFile(settings.data_dir).path
    key = f"the key in {path}" if client.key == KeyFile(settings.data_dir).read() else "your API key"
    console.print(f"Open {client.address('/graphiql')}, enter {key}, and paste a query:", soft_wrap=True)
    for title, query in QUERIES:
        console.print(f"\n# {title}\n{query}", soft_wrap=True)
    console.print(f"\nOr read what happened this month: punchcard report --month {until:%Y-%m}", soft_wrap=True)


def _pass_input(guest: Guest) -> dict[str, Any]:
    email = f"{guest.external_id}@example.com"
    return {"externalId": guest.external_id, "holder": {"name": guest.name, "email": email}}


def _create_segments(client: Client) -> None:
    purchases = {"types": ["purchase"]}
    regulars = {"event": {**purchases, "value": "6", "within": {"days": 30}}}
    spenders = {"event": {**purchases, "metric": "SUM", "field": "amount", "value": "40", "within": {"days": 60}}}
    slipping = {"event": {"types": ["purchase", "check_in"], "metric": "DAYS_SINCE_LAST", "value": "30"}}
    _create_segment(client, "demo-regulars", "Regulars: 6 purchases in 30 days", regulars)
    good_id = _create_segment(client, "demo-good-guests", "Good guests: 40 spent in 60 days", spenders)
    slipping_id = _create_segment(client, "demo-slipping-away", "Slipping away: nothing for 30 days", slipping)
    both = {"all": [{"segment": {"id": good_id}}, {"segment": {"id": slipping_id}}]}
    _create_segment(client, "demo-win-back", "Win back: good guests who are slipping away", both)


def _create_segment(client: Client, key: str, name: str, criteria: Mapping[str, Any]) -> str:
    segment_input = {"key": key, "name": name, "criteria": criteria, "notify": "EMIT"}
    payload = client.ask(_SEGMENT, input=segment_input)["createSegment"]
    errors = payload["userErrors"]
    if errors and errors[0]["code"] != "TAKEN":
        raise click.ClickException(errors[0]["message"])
    segment = client.ask(_FIND, key=key)["segment"] if errors else payload["segment"]
    return str(segment["id"])


def _create_tiers(client: Client) -> None:
    """Set a tier program, unless the workspace has one."""
    if client.ask(_TIERS)["tierProgram"] is not None:
        return
    spent = {"types": ["purchase"], "metric": "SUM", "field": "amount", "within": {"days": 90}}
    tiers = [
        {"key": key, "name": name, "reach": {"event": {**spent, "value": value}}}
        for key, name, value in (("silver", "Silver", "40"), ("gold", "Gold", "120"))
    ]
    period = {"calendar": {"unit": "QUARTER", "plus": 1}}
    payload = client.ask(_SET_TIERS, input={"tiers": tiers, "period": period, "notify": "EMIT"})["setTierProgram"]
    if payload["userErrors"]:
        raise click.ClickException(payload["userErrors"][0]["message"])


def _create_rules(client: Client) -> None:
    """Create two rules. They fire for the events of the last days, although these occurred before."""
    trigger, past = {"event": {"types": ["purchase"]}}, {"historical": "FIRE"}
    points = [{"awardPoints": {"perAmount": {"points": 1, "each": 1}, "expiresAtEndOf": {"unit": "YEAR", "plus": 1}}}]
    _create_rule(client, "demo-points", "1 point for each unit spent", trigger=trigger, effects=points, **past)
    thanks = {"type": "free_coffee", "metadata": {"for": "{{ pass.holder.name | default: 'you' }}"}}
    effects = [{"recordEvent": thanks}, {"awardPoints": {"points": 50, "label": "Tenth purchase"}}]
    name = "Every 10th purchase: a coffee and 50 points"
    _create_rule(client, "demo-tenth", name, trigger=trigger, effects=effects, nth={"every": 10}, **past)
    if _create_channel(client):
        mail = {
            "channelKey": "demo-mail",
            "subject": "A coffee for you, {{ pass.holder.name | default: 'dear guest' }}",
            "template": "You have been here ten times more. Your next coffee at {{ event.metadata.bar }} is on us.",
        }
        name = "Every 10th purchase: a mail"
        sends = [{"sendMessage": mail}]
        _create_rule(client, "demo-mail", name, trigger=trigger, effects=sends, nth={"every": 10}, **past)


def _create_channel(client: Client) -> bool:
    """Create a channel that appends mails to a file, and return whether it exists.

    Only `punchcard up` and installations with PUNCHCARD_MAILBOX offer such channels.
    """
    settings = {"from": "bar@example.com", "fromName": "The coffee bar"}
    channel = {
        "key": "demo-mail",
        "name": "The coffee bar",
        "kind": "EMAIL",
        "provider": "MAILBOX",
        "settings": settings,
    }
    errors = client.ask(_CHANNEL, input=channel)["createChannel"]["userErrors"]
    return not errors or errors[0]["code"] == "TAKEN"


def _create_rule(client: Client, key: str, name: str, **definition: Any) -> None:
    errors = client.ask(_RULE, input={"key": key, "name": name, **definition})["createRule"]["userErrors"]
    if errors and errors[0]["code"] != "TAKEN":
        raise click.ClickException(errors[0]["message"])


def _print_points(console: Console, client: Client) -> None:
    """Print what the rules of the demo did, and the guests with the most points."""
    state = client.ask(_RULES)
    rules = Table("rule", "fired", "points awarded")
    for rule in state["rules"]["nodes"]:
        if rule["key"].startswith("demo-"):
            rules.add_row(rule["name"], str(rule["statistics"]["fired"]), rule["statistics"]["pointsAwarded"])
    console.print(rules)
    guests = sorted(state["passes"]["nodes"], key=lambda guest: Decimal(guest["pointsBalance"]), reverse=True)
    points = Table("guest", "points", "tier")
    for guest in guests[:TOP_GUESTS]:
        name = (guest["holder"] or {}).get("name") or guest["externalId"]
        points.add_row(name, guest["pointsBalance"], guest["tier"] or "")
    console.print(points)


def _create_passes(client: Client, passes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    payload: dict[str, Any] = client.ask(_PASSES, passes=passes)["createPasses"]
    _check(payload)
    return payload


def _record_events(client: Client, events: Sequence[Mapping[str, Any]]) -> int:
    created = 0
    for begin in range(0, len(events), 500):
        payload = client.ask(_EVENTS, events=events[begin : begin + 500])["recordEvents"]
        _check(payload)
        created += payload["created"]
    return created


def _check(payload: Mapping[str, Any]) -> None:
    errors = [*payload["userErrors"], *(error for result in payload["results"] for error in result["userErrors"])]
    if errors:
        raise click.ClickException(f"The API rejected the demo data: {errors[0]['message']}")


def _wait_until_done(client: Client) -> dict[str, Any]:
    """Return the workspace's counts when the worker has processed all events, or after 20 seconds."""
    deadline = time.monotonic() + PROCESSING_TIMEOUT_SECONDS
    previous: dict[str, Any] = {}
    while True:
        state = client.ask(_STATE)
        if (_is_processed(state) and state == previous) or time.monotonic() > deadline:
            return state
        previous = state
        time.sleep(0.5)


def _is_processed(state: Mapping[str, Any]) -> bool:
    """Return whether nothing waits to be evaluated. Before the first segment, that is not known, and true."""
    is_exact = all(segment["members"]["freshness"]["exact"] for segment in state["newest"]["nodes"])
    return is_exact and all(segment["backfill"]["done"] for segment in state["segments"]["nodes"])
