"""Access to MongoDB collections: queries, paging, types, translation of errors."""
