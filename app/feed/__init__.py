"""Follower of the activity log for subscriptions."""
