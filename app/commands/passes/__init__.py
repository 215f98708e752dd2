"""Commands that create, change, merge and erase passes."""
