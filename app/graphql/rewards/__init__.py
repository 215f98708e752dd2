"""GraphQL types and operations of rewards and their redemptions."""
