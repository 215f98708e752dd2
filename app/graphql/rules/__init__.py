"""GraphQL types and operations of rules."""
