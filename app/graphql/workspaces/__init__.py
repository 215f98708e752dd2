"""GraphQL types and operations of workspaces and API keys."""
