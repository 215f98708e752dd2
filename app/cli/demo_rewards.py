"""Rewards of `punchcard demo`: two of them, and one redemption of each by the first guest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .client import Client

GUEST = "guest-001"
REWARDS_QUERY = (
    "What a guest can redeem now, and why not the rest; and what the guest redeemed:",
    f'{{ pass(externalId: "{GUEST}") {{ pointsBalance\n'
    "    rewards { reward { name pointsCost } available reasons { message } }\n"
    "    redemptions(first: 5) { nodes { rewardKey status code reasons { message } } } } }",
)
"""What the demo says about the rewards, and the query."""
_REWARDS: tuple[Mapping[str, Any], ...] = (
    {"key": "demo-coffee", "name": "A free coffee", "pointsCost": "10", "code": {"pattern": "COFFEE-######"}},
    {"key": "demo-machine", "name": "An espresso machine", "pointsCost": "10000", "limits": {"total": 3}},
)
_CREATE = """mutation ($input: CreateRewardInput!) { createReward(input: $input) {
  reward { id } userErrors { code message } } }"""
_REDEEM = """mutation ($input: RedeemRewardInput!) { redeemReward(input: $input) {
  redemption { id } userErrors { message } } }"""


def create_rewards(client: Client) -> None:
    """Create the rewards. One that exists stays as it is. Raises ClickException if the API refuses one."""
    for reward in _REWARDS:
        errors = client.ask(_CREATE, input=reward)["createReward"]["userErrors"]
        if errors and errors[0]["code"] != "TAKEN":
            raise click.ClickException(errors[0]["message"])


def redeem_rewards(client: Client) -> None:
    """Let the first guest redeem each reward once: the coffee succeeds, the machine costs too much.

    A repeat redeems nothing. Raises ClickException if the API refuses a redemption.
    """
    for reward in _REWARDS:
        asked = {
            "passExternalId": GUEST, "rewardKey": reward["key"], "externalId": f"{reward['key']}-1", "source": "demo",
        }  # fmt: skip
        errors = client.ask(_REDEEM, input=asked)["redeemReward"]["userErrors"]
        if errors:
            raise click.ClickException(errors[0]["message"])
