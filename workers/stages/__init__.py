"""Stages of the flow, each a function that is safe to repeat."""
