"""GraphQL types and operations of webhook endpoints."""
