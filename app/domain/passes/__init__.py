"""Passes, their profiles, and what a merge hands over to the survivor."""
