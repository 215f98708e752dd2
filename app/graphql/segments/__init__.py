"""GraphQL types and operations of segments."""
