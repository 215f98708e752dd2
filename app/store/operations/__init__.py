"""Queries of operators across workspaces: indexes, health, backlog."""
