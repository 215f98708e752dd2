"""Events: types, validation, corrections, receipts, tombstones."""
