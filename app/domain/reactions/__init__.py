"""Effects outside the pass that follow from entries of the activity log."""
