"""Named queries, each confined to one workspace."""
