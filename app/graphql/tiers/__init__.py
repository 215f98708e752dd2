"""GraphQL types of the tier program and of the tier of a pass."""
