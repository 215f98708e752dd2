"""Value types and their parsers: instants, decimals, currencies, text, windows, conditions, cursors."""
