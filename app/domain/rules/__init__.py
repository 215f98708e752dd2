"""Rules: what a business wants to happen when something happens to a pass."""
