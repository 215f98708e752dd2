"""GraphQL types and operations of events."""
