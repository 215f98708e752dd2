"""Execution of GraphQL documents: limits, cost, persisted documents, deferral."""
