"""The command `punchcard report`: what a workspace did in a month, as text or as one HTML page."""
