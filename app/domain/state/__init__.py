"""Values that a pass derives from its events: aggregates, measures, points and statistics."""
