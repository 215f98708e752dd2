"""The walk over a pass that applies events, time and new definitions."""
