"""Value types: instants, decimals, text, windows, conditions, cursors."""
