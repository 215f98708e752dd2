"""Conversion between domain objects and MongoDB documents."""
