"""Local servers and child processes of `punchcard up`."""
