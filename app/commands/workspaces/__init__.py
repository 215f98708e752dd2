"""Commands for workspaces and their API keys."""
