"""Running values of a pass: aggregates, measures, points, statistics."""
