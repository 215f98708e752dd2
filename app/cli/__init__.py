"""The command `punchcard`."""
