"""GraphQL types and operations of jobs."""
