"""Named queries that cannot leave one workspace."""
