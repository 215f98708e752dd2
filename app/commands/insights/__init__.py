"""Questions about all customers: what they read."""
