"""Access to MongoDB collections: queries, paging, types, error translation."""
