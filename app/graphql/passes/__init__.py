"""GraphQL types and operations of passes."""
