"""Types that all packages of the schema use: scalars, ids, paging, payloads."""
