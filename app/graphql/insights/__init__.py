"""Queries that answer questions about all customers."""
