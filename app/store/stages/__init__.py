"""Queries of the workers across workspaces."""
