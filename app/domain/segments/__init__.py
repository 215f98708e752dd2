"""Segments: criteria, definitions, evaluation, causes."""
