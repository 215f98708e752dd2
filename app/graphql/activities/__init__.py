"""GraphQL types and operations of the activity feed."""
