"""GraphQL types and operations of inbound hooks."""
