"""Inbound hooks: mapping of other systems' messages to events."""
