"""Commands that start and cancel jobs."""
