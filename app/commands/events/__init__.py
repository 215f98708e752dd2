"""Commands that record events, define event types, and wait for the fold of recorded events."""
