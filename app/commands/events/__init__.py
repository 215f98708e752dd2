"""Commands that record events and define their types."""
