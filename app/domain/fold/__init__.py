"""The walk over a pass that applies events, the passing of time and new definitions."""
