"""Effects outside passes in the schema."""
