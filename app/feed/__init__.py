"""Readers of the activity log that serve subscriptions."""
