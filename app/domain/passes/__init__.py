"""Passes, their profiles and merges."""
