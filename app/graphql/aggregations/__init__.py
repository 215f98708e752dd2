"""GraphQL types and operations of aggregations."""
