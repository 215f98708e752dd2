"""Rewards: what a customer can redeem, for how many points, and why a redemption is declined."""
