"""Embedded servers and child processes of `punchcard up`."""
