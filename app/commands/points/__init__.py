"""Points that move between passes."""
