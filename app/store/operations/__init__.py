"""Queries of operators across workspaces: indexes, health, heartbeats, backlog, parked passes."""
