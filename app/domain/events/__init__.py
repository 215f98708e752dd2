"""Events: their types, validation, corrections, receipts and tombstones."""
