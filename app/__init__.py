"""Punchcard: the request side."""
